"""Packs that become one: what two machines compact at the same moment, and what must not be carried on."""

import threading

import pytest
from tests.fakes import packs
from tests.fakes.machine import KEY, Machine
from tests.fakes.packs import Forgery
from tests.fakes.registry import FakeRegistry

from chandlery.content.store import Store
from chandlery.oci import reference
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.volume import compaction, publishing, remote_head
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.remote_registry import RegistryRemote

# a module that is whole or absent, and files that stand alone
UNIT = "mod/example.com/{0}@v1.0.0"
MEETINGS = ("volume.compacting", "volume.blob-published", "volume.head-published")


@pytest.fixture(params=["directory", "registry"])
def connect(request, tmp_path):
    """Makes a connection to one remote, for each machine its own."""
    if request.param == "directory":
        yield lambda: DirectoryRemote(str(tmp_path / "share"), KEY)
        return
    clients = []
    with FakeRegistry() as fake:

        def registry():
            clients.append(RegistryClient(RegistrySettings(insecure=(fake.host,))))
            return RegistryRemote(clients[-1], reference.parse(f"{fake.host}/caches"), KEY)

        yield registry
        for client in clients:
            client.close()


def files_of(name):
    unit = UNIT.format(name)
    return {f"{name}.jar": name.encode() * 3000, f"{unit}/go.mod": b"module " + name.encode(), f"{unit}/a/{name}.go": name.encode() * 2000}


class Meeting:
    """Makes two threads wait for each other where they first come by each of some points."""

    def __init__(self, *points):
        self._barriers = {point: threading.Barrier(2, timeout=20) for point in points}
        self._been = threading.local()

    def reach(self, point):
        been = self._been.__dict__.setdefault("points", set())
        if point in self._barriers and point not in been:
            been.add(point)
            self._barriers[point].wait()


@pytest.mark.parametrize("point", MEETINGS)
def test_two_machines_that_compact_at_the_same_moment_lose_nothing_and_converge(tmp_path, monkeypatch, connect, point):
    expected = {}
    for number in range(6):
        with Machine(tmp_path / f"w{number}", connect()) as writer:
            writer.build(files_of(f"w{number}"))
            expected |= files_of(f"w{number}")
    assert len(remote_head.read_all(connect()).head.packs) >= compaction.FEW_PACKS, "there is something to compact"
    with Machine(tmp_path / "left", connect()) as left, Machine(tmp_path / "right", connect()) as right:
        # with the same packs in hand, whoever comes later
        meeting = Meeting("volume.compacting", point)
        monkeypatch.setattr(publishing, "reach", meeting.reach)
        merged = {}

        def winners(victims, tombstones, find=compaction.winners):
            merged.setdefault(threading.get_ident(), {reader.ref.digest for reader in victims})
            return find(victims, tombstones)

        monkeypatch.setattr(compaction, "winners", winners)
        failures = []

        def build(machine, name):
            # a store's connection to its database is its thread's
            try:
                with Store.open(machine.root) as machine.store:
                    machine.build(files_of(name))
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=build, args=pair) for pair in ((left, "left"), (right, "right"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        monkeypatch.undo()
    expected |= {**files_of("left"), **files_of("right")}
    # what is left of the two packs depends on who publishes again, and when
    first, second = merged.values()
    assert first & second, "both have made a pack of the same ones"
    for name in ("fresh", "left", "right", "fresh-2"):
        with Machine(tmp_path / name, connect()) as machine:
            assert machine.sees() == expected
            assert machine.warnings == []
            machine.build({f"{name}.index": b"1"})
            expected[f"{name}.index"] = b"1"
    seen = remote_head.read_all(connect())
    assert (len(seen.heads), seen.leftovers, seen.warnings) == (1, (), ())
    with Machine(tmp_path / "last", connect()) as last:
        assert last.sees() == expected


def settled(path, remote, secrets=()):
    """Builds of another machine, until the packs that were there are one with its own."""
    with Machine(path, remote) as machine:
        for number in range(8):
            machine.commit({f"{number}.jar": b"%d" % number * 1000})
            publishing.publish(machine.store, remote, KEY, secrets=secrets)


def test_what_an_older_version_published_of_credentials_is_not_carried_on(tmp_path):
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    planted = {"settings.xml": b"<password>hunter2</password>" * 10, "a/x.jar": b"x" * 5000, ".docker/config.json": b"{}" * 500}
    blob, ref = Forgery(str(tmp_path / "pack"), planted).seal()
    packs.publish(remote, tmp_path, blob, ref)
    settled(tmp_path / "other", remote)
    named = remote_head.read_all(remote).head.packs
    assert ref not in named
    with Machine(tmp_path / "fresh", remote) as fresh:
        found = fresh.sees()
    assert found["a/x.jar"] == planted["a/x.jar"]
    assert {"settings.xml", ".docker/config.json"}.isdisjoint(found)


@pytest.mark.parametrize("size", [100, 400_000, 9_000_000])
def test_what_somebody_published_of_a_secret_is_not_carried_on_by_who_knows_it(tmp_path, size):
    """Also where it lies across two frames."""
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    secret = b"the-deploy-token"
    at = min(size - len(secret), (4 << 20) - 600)
    content = bytearray(size)
    content[at : at + len(secret)] = secret
    blob, ref = Forgery(str(tmp_path / "pack"), {"a/log": bytes(content), "a/x.jar": b"x" * 5000, "a/big.jar": b"b" * 400_000}).seal()
    packs.publish(remote, tmp_path, blob, ref)
    settled(tmp_path / "other", remote, (secret + b"\n",))
    named = remote_head.read_all(remote).head.packs
    assert ref not in named
    with Machine(tmp_path / "fresh", remote) as fresh:
        found = fresh.sees()
    assert "a/log" not in found
    assert (found["a/x.jar"], found["a/big.jar"]) == (b"x" * 5000, b"b" * 400_000)

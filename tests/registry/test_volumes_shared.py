"""Cache volumes through registries: one that lies in every way it can, and a real one."""

import io
import os
import threading
import time

import pytest
from tests.fakes import packs as forged
from tests.fakes.machine import KEY, Machine
from tests.fakes.registry import FakeRegistry

from chandlery.content.store import Store
from chandlery.oci import reference
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.volume import pack_writer, publishing, remote_head, shared
from chandlery.volume.remote_head import RemoteHead
from chandlery.volume.remote_registry import RegistryRemote
from chandlery.volume.tree import EntryType, Version, VersionVector
from chandlery.volume.volumes import Volumes

ONE_BUILD_WRITERS = 10_000
REAL_WRITERS = 24


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def remote(fake):
    yield from connected(fake.host)


@pytest.fixture
def real(open_registry):
    yield from connected(open_registry.host)


def connected(host):
    client = RegistryClient(RegistrySettings(insecure=(host,), attempts=3), sleep=lambda _: None)
    yield RegistryRemote(client, reference.parse(f"{host}/caches/{os.urandom(4).hex()}"), KEY)
    client.close()


def blob_requests(fake):
    return [seen for seen in fake.seen if "/blobs/sha256" in seen.path and seen.method == "GET"]


def jars(*names, size=9000):
    return {f"org/{name}.jar": (name * size).encode()[:size] for name in names}


def many_heads(remote, directory, writers):
    """What `writers` one-build machines left, each under a slot of its own: one head, one pack."""
    writer = pack_writer.Writer(str(directory / "pack"))
    writer.add(forged.entry("", EntryType.DIRECTORY), None)
    slots = {}
    for number in range(writers):
        slot = f"w2026-{number % 52:02d}-{number:08d}"
        content = b"%d" % number
        entry = forged.entry(f"{number}.pom", size=len(content), version=Version(1, slot, 1))
        writer.add(entry, lambda content=content: io.BytesIO(content))
        slots[slot] = 1
    by = VersionVector(tuple(sorted(slots.items())))
    made = writer.finish(by)
    remote.put_blob(str(directory / "pack"), made.digest, made.size_bytes)
    remote.put_head(f"h{writers:010d}-w2026-01-simulated", remote_head.encode(RemoteHead(by, 1, (made,))), [(made.digest, made.size_bytes)])


def test_ten_thousand_one_build_writers_leave_few_tags_and_a_fresh_machine_few_requests(fake, remote, tmp_path):
    many_heads(remote, tmp_path, ONE_BUILD_WRITERS - REAL_WRITERS)
    for number in range(REAL_WRITERS):
        with Machine(tmp_path / f"m{number}", remote) as machine:
            machine.commit(jars(f"real-{number}"))
            assert publishing.publish(machine.store, remote, KEY).files == 1
    (repository,) = {name for name, _ in fake.manifests}
    assert len(fake.tags(repository)) <= 50
    fake.seen.clear()
    with Store.open(str(tmp_path / "fresh")) as fresh:
        report = shared.pull(fresh, (remote,), KEY)
    assert (report.files, report.warnings) == (ONE_BUILD_WRITERS, ())
    assert len(fake.seen) <= 5


def test_a_fresh_machine_asks_for_no_small_pack_s_table(fake, remote, tmp_path):
    """Packs too large to be merged for each other pile up: the tables of all but the largest come with the head."""
    packs, tables = [], {}
    for number in range(12):
        writer = pack_writer.Writer(str(tmp_path / "pack"))
        slot = f"w2026-01-{number:08d}"
        writer.add(forged.entry("", EntryType.DIRECTORY, version=Version(1, slot, 1)), None)
        content = os.urandom(200_000)
        writer.add(forged.entry(f"{number}.jar", size=len(content), version=Version(1, slot, 1)), lambda content=content: io.BytesIO(content))
        made = writer.finish(VersionVector(((slot, 1),)))
        remote.put_blob(str(tmp_path / "pack"), made.digest, made.size_bytes)
        packs.append(made)
        tables[made.table_sha256] = writer.table
    vector = VersionVector(tuple(sorted((slot, 1) for made in packs for slot, _ in made.by.seen)))
    copies = remote_head.small_tables(packs, tables)
    head = RemoteHead(vector, 1, tuple(packs), tables=((copies[0][0], b"not it"), *copies[1:]))
    remote.put_head("h0000000012-w2026-01-many", remote_head.encode(head), [(made.digest, made.size_bytes) for made in packs])
    with Machine(tmp_path / "one", remote) as one:
        one.commit(jars("own"))
        fake.seen.clear()
        report = shared.pull(one.store, (remote,), KEY)
    assert (report.files, report.warnings) == (12, ())
    # tags, head, the table whose copy is another one, and each pack's data
    assert len(fake.seen) <= 2 + 1 + 12


def test_writers_at_the_same_time_lose_nothing(fake, remote, tmp_path):
    machines = [Machine(tmp_path / str(number), remote) for number in range(8)]
    threads = [threading.Thread(target=machine.build, args=(jars(str(number)),)) for number, machine in enumerate(machines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert machines[0].sees() == machines[-1].sees() == jars(*map(str, range(8)))
    for machine in machines:
        assert machine.warnings == []
        machine.store.close()


def test_ranges_that_are_ignored_cost_one_download_of_the_blob(fake, remote, tmp_path):
    files = {f"{number}.bin": os.urandom(300_000) for number in range(80)}
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build(files)
        two.commit(jars("own"))
        fake.faults.ignores_range = True
        fake.seen.clear()
        assert shared.pull(two.store, (remote,), KEY).files == 80
    assert len(blob_requests(fake)) == 1


def test_addresses_that_expire_are_asked_for_again(fake, remote, tmp_path):
    fake.faults.expiring_redirects = True
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build({"big.bin": os.urandom(20 << 20), **jars("a")})
        assert set(two.sees()) == {"big.bin", "org/a.jar"}
        assert two.warnings == []


def test_a_registry_that_limits_the_rate_is_waited_for(fake, remote, tmp_path):
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build(jars("a"))
        fake.faults.rate_limits = 2
        assert two.sees() == jars("a")
        assert two.warnings == []


def test_where_nothing_can_be_deleted_the_newest_heads_alone_are_read(fake, remote, tmp_path):
    fake.faults.refuses_delete = fake.faults.immutable_tags = True
    fake.page_size = 10
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        for number in range(30):
            one.build(jars(f"a{number}"))
        fake.seen.clear()
        assert two.sees() == jars(*(f"a{number}" for number in range(30)))
        assert fake.count("GET", "/manifests/") == 1
        assert one.warnings == two.warnings == []


def test_a_lost_pack_is_published_again_by_who_needs_it(fake, remote, tmp_path):
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build(jars("a"))
        (repository,) = {name for name, _ in fake.manifests}
        lost = remote_head.read_all(remote).head.packs[0].digest
        del fake.blobs[repository, str(lost)]
        assert two.build(jars("a", "b")) == {}
        assert len(two.warnings) == 1
        with Machine(tmp_path / "three", remote) as three:
            assert three.sees() == jars("a", "b")
            assert three.warnings == []


def test_a_machine_that_has_everything_asks_once(fake, remote, tmp_path):
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build(jars("a"))
        two.sees()
        fake.seen.clear()
        assert two.sees() == jars("a")
    assert len(fake.seen) == 1


def test_what_another_volume_has_is_not_fetched_again(fake, remote, tmp_path):
    from chandlery.values import replace

    files = {f"{number}.jar": os.urandom(50_000) for number in range(10)}
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build(files)
        two.sees()
        report = shared.pull(two.store, (remote,), replace(KEY, scope="team/app@branch"))
        assert (report.files, report.files_moved, report.bytes_moved) == (10, 0, 0)


def test_a_commit_during_a_pull_neither_waits_nor_is_lost(fake, remote, tmp_path, monkeypatch):
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build(jars("theirs"))
        waited = []

        def commit(name):
            if name == "volume.fetched" and not waited:
                began = time.monotonic()
                two.commit(jars("mine"))
                waited.append(time.monotonic() - began)

        monkeypatch.setattr(shared, "reach", commit)
        fake.seen.clear()
        report = shared.pull(two.store, (remote,), KEY)
        assert (report.files, report.files_moved) == (len(jars("theirs")), len(jars("theirs")))
        assert len(waited) == 1
        assert waited[0] < 5
        assert two.sees() == jars("theirs", "mine")
        assert len(blob_requests(fake)) == 1


def test_what_was_removed_stays_removed(fake, remote, tmp_path):
    from chandlery.volume import removing

    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two, Machine(tmp_path / "three", remote) as three:
        one.build(jars("good", "bad"))
        two.sees()
        three.sees()
        removing.remove_paths(one.store, KEY, ["org/bad.jar"])
        publishing.publish(one.store, remote, KEY)
        three.build(jars("more"))
        assert two.sees() == three.sees() == one.sees() == jars("good", "more")
        with Machine(tmp_path / "four", remote) as four:
            assert four.sees() == jars("good", "more")


def test_real_registry_carries_deltas_both_ways(real, tmp_path):
    big = {"big.bin": os.urandom(24 << 20)}
    with Machine(tmp_path / "one", real) as one, Machine(tmp_path / "two", real) as two:
        one.build({**big, **jars("a")})
        two.build(jars("b"))
        for number in range(6):
            one.build(jars(f"c{number}"))
        everything = {**big, **jars("a", "b", *(f"c{number}" for number in range(6)))}
        assert two.sees() == one.sees() == everything
        assert one.warnings == two.warnings == []
        seen = remote_head.read_all(real)
        assert len(real.heads()) == 1
        assert len(seen.head.packs) <= 4


def test_a_few_files_that_come_to_a_large_volume_meet_what_is_there(fake, remote, tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "_MANY_ENTRIES", 5)
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build({**jars(*(f"a{number}" for number in range(10))), "was/file": b"1", "was/directory/x": b"1"})
        two.build(jars("b"))
        one.build({"org/a1.jar": b"newer" * 2000, "org/new.jar": jars("b")["org/b.jar"]})
        expected = {**jars(*(f"a{number}" for number in range(10)), "b"), "was/file": b"1", "was/directory/x": b"1"}
        expected.update({"org/a1.jar": b"newer" * 2000, "org/new.jar": jars("b")["org/b.jar"]})
        assert two.sees() == one.sees() == expected
        inodes = [os.stat(f"{lower}/org/{name}").st_ino for lower in lowers_of(two) for name in os.listdir(f"{lower}/org")]
        assert len(inodes) == len(set(inodes))


def lowers_of(machine):
    return [f"{directory}/fs" for directory in Volumes(machine.store).list()[0].directories if os.path.isdir(f"{directory}/fs/org")]

"""Several machines change one index or one unit without having seen each other's: what all of them show in the end."""

import os
import random
import shutil

import pytest
from tests.fakes.machine import KEY, Machine

from chandlery.scope import Scopes
from chandlery.values import replace
from chandlery.volume import publishing, shared
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.volumes import Volumes

INDEX = "g/a/1/_remote.repositories"


def lines(*names):
    return "".join(f"{name}>central=\n" for name in sorted(names)).encode()


@pytest.fixture
def remote(tmp_path):
    return DirectoryRemote(str(tmp_path / "share"), KEY)


@pytest.fixture
def machines(tmp_path, remote):
    made = [Machine(tmp_path / name, remote) for name in "abcd"]
    yield made
    for machine in made:
        machine.store.close()
    assert [machine.warnings for machine in made] == [[]] * 4


def alone(machine, files):
    """A build that nobody else sees the result of, and that sees nothing new."""
    shared, machine.remote = machine.remote, DirectoryRemote(f"{machine.root}/nowhere", KEY)
    machine.build(files, publishes=False)
    machine.remote = shared


@pytest.mark.parametrize("seed", range(6))
def test_an_index_comes_to_serve_all_its_writers_in_whatever_order_they_meet(machines, tmp_path, remote, seed):
    chosen = random.Random(seed)
    for number, machine in enumerate(machines):
        alone(machine, {INDEX: lines("base", f"w{number}"), f"own{number}": b"x"})
    order = [*machines, *chosen.sample(machines, 3)]
    chosen.shuffle(order)
    for number, machine in enumerate(order):
        machine.build({f"more{number}": b"y"})
    for machine in order:
        machine.build({f"last{order.index(machine)}": b"z"})
    expected = lines("base", "w0", "w1", "w2", "w3")
    assert [machine.sees()[INDEX] for machine in machines] == [expected] * 4
    with Machine(tmp_path / "fresh", remote) as fresh:
        assert fresh.sees()[INDEX] == expected


def test_two_heads_that_were_published_side_by_side_are_merged_by_who_reads_them(machines, tmp_path, remote):
    a, b, *_ = machines
    for name, machine in (("a", a), ("b", b)):
        apart = DirectoryRemote(str(tmp_path / f"share-{name}"), KEY)
        machine.remote = apart
        machine.build({INDEX: lines(name)})
        machine.remote = remote
        for directory in ("_heads", "_blobs"):
            source, target = getattr(apart, directory), getattr(remote, directory)
            copy_into(source, target)
    assert len(remote.heads()) == 2
    with Machine(tmp_path / "fresh", remote) as fresh:
        assert fresh.sees()[INDEX] == lines("a", "b")


def copy_into(source, target):
    os.makedirs(target, exist_ok=True)
    for name in os.listdir(source):
        shutil.copy(f"{source}/{name}", f"{target}/{name}")


def test_machines_that_agree_write_nothing(machines):
    a, b, *_ = machines
    a.build({INDEX: lines("a")})
    b.build({"x": b"1"})
    versions = [machine.entries()[INDEX].version for machine in (a, b)]
    a.sees()
    b.sees()
    assert versions == [machine.entries()[INDEX].version for machine in (a, b)]
    assert versions[0] == versions[1]


UNIT = "caches/8.5/transforms/abc"


@pytest.mark.parametrize("first", [0, 1])
def test_a_unit_that_two_machines_made_is_one_of_them_whole_on_both(machines, first):
    made = [{f"{UNIT}/metadata.bin": b"1", f"{UNIT}/one": b"1"}, {f"{UNIT}/metadata.bin": b"2", f"{UNIT}/two": b"2"}]
    one, two = machines[:2]
    alone(one, made[0])
    alone(two, made[1])
    for machine in ((one, two), (two, one))[first]:
        machine.build({f"x{machine.root[-1]}": b""})
    seen = [{path: text for path, text in machine.sees().items() if path.startswith(UNIT)} for machine in (one, two, one)]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0] in made


def test_what_a_project_installed_is_not_for_other_scopes(machines, tmp_path, remote):
    installed = {"g/a/1/a-1.jar": b"mine", "g/a/1/_remote.repositories": b"a-1.jar>=\n", "g/a/maven-metadata-local.xml": b"<metadata/>"}
    fetched = {"g/b/1/b-1.jar": b"theirs", "g/b/1/_remote.repositories": b"b-1.jar>central=\n"}
    a, b, *_ = machines
    a.build({**installed, **fetched})
    assert b.sees() == {**installed, **fetched}
    other = Machine(tmp_path / "other", remote, scopes=Scopes("team/app@pull", ("team/app@pull", KEY.scope), "told"))
    with other:
        key = replace(KEY, scope="team/app@pull")
        assert shared.pull(other.store, (remote,), key).warnings == ()
        assert {entry.path for entry in Volumes(other.store).show(key) if not entry.is_directory} == set(fetched)


def test_a_unit_with_a_secret_in_it_stays_here_whole(machines, remote):
    a, b, *_ = machines
    a.build({f"{UNIT}/metadata.bin": b"m", f"{UNIT}/out": b"token=s3cr3t-value", "x": b"1"}, publishes=False)
    report = publishing.publish(a.store, remote, KEY, secrets=(b"s3cr3t-value",))
    assert sorted(report.left_out) == [f"{UNIT}/metadata.bin", f"{UNIT}/out"]
    assert b.sees() == {"x": b"1"}

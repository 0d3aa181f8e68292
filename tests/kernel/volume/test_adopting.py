"""Files that a failed step left: others get them once a step has read them and succeeded."""

import os
from contextlib import nullcontext

import pytest
from tests.fakes.machine import KEY, Machine

from chandlery.linux.mount import MountMethod, OverlayOptions
from chandlery.volume import watching
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.sharing import VolumePlace, VolumeSharing
from chandlery.volume.volumes import Volumes
from chandlery.worker.mounter import Mounter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlay mounts and fanotify need root")
OPTIONS = OverlayOptions(follows_renames=True, copies_metadata_only=True)


@pytest.fixture
def machine(tmp_path):
    with Machine(tmp_path / "one", DirectoryRemote(str(tmp_path / "share"), KEY)) as machine:
        yield machine


@pytest.fixture
def others_see(tmp_path, machine):
    def look():
        with Machine(tmp_path / f"other-{len(os.listdir(tmp_path))}", machine.remote) as other:
            found = {path: data for path, data in other.sees().items() if isinstance(data, bytes)}
            assert other.warnings == []
            return found

    return look


def write(point, files):
    for name, data in files.items():
        os.makedirs(os.path.dirname(f"{point}/{name}"), exist_ok=True)
        with open(f"{point}/{name}", "wb") as file:
            file.write(data)


def read(point, *names):
    for name in names:
        with open(f"{point}/{name}", "rb") as file:
            file.read()


def step(machine, act, *, succeeded=True, is_watched=True, meanwhile=lambda: None):
    """A step of a build of its own, on the volume as the worker mounts it; its report."""
    sharing = VolumeSharing(machine.store, (VolumePlace("share", lambda _: machine.remote, True),), machine.scopes, warn=machine._warn)
    volumes = Volumes(machine.store, sharing)
    with machine.store.begin() as session:
        attachment = volumes.attach(KEY, session)
        mounter = Mounter(session, MountMethod.FSCONFIG)
        with mounter.overlay(attachment.lowers, upper=attachment.upper, work=attachment.work, options=OPTIONS) as point:
            watch = watching.watched(attachment, point, ["/cache"], is_copy=False) if is_watched else nullcontext()
            with watch:
                act(point)
        meanwhile()
        report = volumes.commit(attachment, succeeded=succeeded)
        assert report.warning == ""
    volumes.settle()
    assert sharing.close(60) == ()
    assert machine.warnings == []
    return report


LEFT = {"deep/er/used": b"used" * 300, "deep/torn": b"torn", "log": b"failed"}


def test_what_a_successful_step_read_is_shared_and_what_it_did_not_read_is_not(machine, others_see):
    step(machine, lambda point: write(point, LEFT), succeeded=False)
    assert others_see() == {}
    report = step(machine, lambda point: (read(point, "deep/er/used"), write(point, {"new": b"new"})))
    assert (report.files, report.paths, report.bytes_added) == (1, ("new",), 3), "it added one file"
    assert others_see() == {"deep/er/used": LEFT["deep/er/used"], "new": b"new"}
    assert machine.sees() == {**LEFT, "new": b"new"}


def test_a_step_that_adds_nothing_shares_what_it_read(machine, others_see):
    step(machine, lambda point: write(point, LEFT), succeeded=False)
    assert step(machine, lambda point: read(point, "log")).files == 0
    assert others_see() == {"log": b"failed"}
    generation = step(machine, lambda point: read(point, "log")).generation
    assert step(machine, lambda point: read(point, "log")).generation == generation, "once"


def test_neither_a_failed_step_nor_an_unwatched_one_vouches_for_what_it_read(machine, others_see):
    step(machine, lambda point: write(point, LEFT), succeeded=False)
    step(machine, lambda point: (read(point, *LEFT), write(point, {"again": b"x"})), succeeded=False)
    step(machine, lambda point: read(point, *LEFT), is_watched=False)
    assert others_see() == {}


def test_what_the_step_deleted_or_wrote_anew_is_not_the_failed_steps(machine, others_see):
    step(machine, lambda point: write(point, LEFT), succeeded=False)
    step(machine, lambda point: (read(point, *LEFT), os.unlink(f"{point}/log"), write(point, {"deep/torn": b"whole"})))
    assert others_see() == {"deep/er/used": LEFT["deep/er/used"], "deep/torn": b"whole"}


def test_a_wrong_checksum_is_not_made_right_by_reading_the_file(machine, others_see):
    torn = {"g/b/1/b-1.jar": b"ja", "g/b/1/b-1.jar.sha1": b"0" * 40, "_cacache/content-v2/sha512/ab/cd/ef": b"half", "plain.jar": b"jar"}
    step(machine, lambda point: write(point, torn), succeeded=False)
    step(machine, lambda point: read(point, *torn))
    assert others_see() == {"plain.jar": b"jar"}


def test_an_adopted_file_gives_way_to_what_was_changed_meanwhile(machine, others_see):
    step(machine, lambda point: write(point, LEFT), succeeded=False)
    changed = lambda: machine.commit({"log": b"changed"})  # noqa: E731
    step(machine, lambda point: read(point, "log", "deep/torn"), meanwhile=changed)
    assert others_see() == {"log": b"changed", "deep/torn": b"torn"}


def test_what_the_project_installed_itself_stays_in_its_scope(machine, others_see):
    installed = {"g/a/1/a-1.jar": b"x", "g/a/1/_remote.repositories": b"a-1.jar>=\n"}
    step(machine, lambda point: write(point, installed), succeeded=False)
    step(machine, lambda point: read(point, *installed))
    assert {entry.only_in for path, entry in machine.entries().items() if path in installed} == {KEY.scope}

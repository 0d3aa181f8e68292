"""What the adapters do to real volumes: what is not kept, what gives way as a whole, and which indexes serve both writers."""

import hashlib
import os

import pytest

from chandlery.content.store import Store
from chandlery.linux import mount
from chandlery.linux.mount import OverlayOptions
from chandlery.volume.key import VolumeKey
from chandlery.volume.merge import precedence
from chandlery.volume.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlay mounts need root")
KEY = VolumeKey("local", "cache", "linux/amd64")


@pytest.fixture
def run(tmp_path):
    """Run steps of builds of their own side by side: each a map of path to text and whether it succeeds. The files that the next build sees."""
    store = Store.open(str(tmp_path / "store"))
    volumes = Volumes(store)
    point = tmp_path / "point"
    point.mkdir()

    def mounted(attachment, act):
        options = OverlayOptions(follows_renames=True, copies_metadata_only=True)
        mount.mount_overlay(str(point), attachment.lowers, upper=attachment.upper, work=attachment.work, options=options)
        try:
            return act()
        finally:
            mount.unmount(str(point))

    def write(files, date_ns):
        for name, text in files.items():
            (point / name).parent.mkdir(parents=True, exist_ok=True)
            (point / name).write_text(text)
            if date_ns:
                os.utime(point / name, ns=(date_ns, date_ns))

    def look():
        return {str(path.relative_to(point)): path.read_text() for path in point.rglob("*") if path.is_file()}

    def steps(*each, deleted=(), date_ns=0):
        with store.begin() as session:
            attachments = [volumes.attach(KEY, session) for _ in each]
            for attachment, (files, succeeded) in zip(attachments, each, strict=True):
                mounted(attachment, lambda files=files: (write(files, date_ns), [(point / path).unlink() for path in deleted]))
                assert volumes.commit(attachment, succeeded=succeeded).warning == ""
        with store.begin() as session:
            attachment = volumes.attach(KEY, session)
            found = mounted(attachment, look)
            volumes.discard(attachment)
        return found

    steps.volumes = volumes
    yield steps
    volumes.settle()
    store.close()


def test_credentials_and_failure_markers_are_in_no_layer(run, tmp_path):
    found = run(({"settings.xml": "hunter2", "g/a/1/a-1.jar.lastUpdated": "x", "g/a/1/a-1.jar": "jar"}, True))
    assert found == {"g/a/1/a-1.jar": "jar"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_a_failed_step_leaves_whole_units_only(run):
    half, whole = {"registry/src/i/b-1/lib.rs": "half"}, {"registry/src/i/a-1/lib.rs": "a", "registry/src/i/a-1/.cargo-ok": "ok"}
    assert run(({**half, **whole, "registry/cache/i/b-1.crate": "b"}, False)) == {**whole, "registry/cache/i/b-1.crate": "b"}


def test_nothing_is_left_of_a_half_made_unit_not_even_its_directory(run, tmp_path):
    assert run(({"m@v1.0.0/a/b.go": "half", "x": "1"}, False)) == {"x": "1"}
    assert not [path for path in (tmp_path / "store/volumes").rglob("*") if "m@v1.0.0" in path.name]


def test_a_module_that_go_marked_as_partial_is_left_out_though_the_step_succeeded(run):
    mark = "cache/download/example.com/m/@v/v1.0.0.partial"
    assert run(({"example.com/m@v1.0.0/a.go": "half", mark: "", "x": "1"}, True)) == {"x": "1"}


def test_a_failed_step_takes_nothing_from_units_that_were_there(run):
    whole = {"caches/8.5/transforms/abc/metadata.bin": "m", "caches/8.5/transforms/abc/out": "1"}
    assert run((whole, True)) == whole
    assert run(({"other": "1"}, False)) == {**whole, "other": "1"}
    assert run(({"caches/8.5/transforms/abc/out": "2"}, False)) == {**whole, "caches/8.5/transforms/abc/out": "2", "other": "1"}, "it still has its mark"


def test_a_unit_that_was_changed_is_whole_in_its_delta(run):
    run(({"state.db": "old", "state.db-wal": "log", "git/db/r-1/HEAD": "h", "git/db/r-1/objects/pack/1": "1"}, True))
    run(({"git/db/r-1/objects/pack/2": "2", "state.db": "new"}, True))
    written = {entry.path: entry.version.sequence for entry in run.volumes.show(KEY) if not entry.is_directory}
    assert written == {"state.db": 2, "state.db-wal": 2, "git/db/r-1/HEAD": 2, "git/db/r-1/objects/pack/1": 2, "git/db/r-1/objects/pack/2": 2}


def test_a_database_never_meets_a_log_that_was_written_into_it(run):
    run(({"state.db": "old", "state.db-wal": "log"}, True))
    assert run(({"state.db": "old and log"}, True), deleted=("state.db-wal",)) == {"state.db": "old and log", "state.db-wal": ""}


def line(key, time):
    text = f'{{"key":"{key}","time":{time}}}'
    return f"\n{hashlib.sha1(text.encode()).hexdigest()}\t{text}"


def test_an_index_that_two_steps_changed_serves_both_and_wins_everywhere(run):
    index = "_cacache/index-v5/aa/bb/cc"
    found = run(({index: line("one", 1), "x": "1"}, True), ({index: line("two", 2), "y": "2"}, True))
    assert found == {index: line("one", 1) + line("two", 2), "x": "1", "y": "2"}
    entries = {entry.path: entry for entry in run.volumes.show(KEY)}
    assert precedence(entries[index].version) > max(precedence(entries["x"].version), precedence(entries["y"].version))


def test_an_index_that_serves_both_already_is_not_written_again(run):
    index = "g/a/1/_remote.repositories"
    both = "a.jar>central=\na.pom>central=\n"
    assert run(({index: both, "x": "1"}, True), ({index: "a.pom>central=\n", "y": "2"}, True)) == {index: both, "x": "1", "y": "2"}
    entries = {entry.path: entry for entry in run.volumes.show(KEY)}
    assert entries[index].version == entries["x"].version


def test_a_unit_that_two_steps_made_is_one_of_them_whole(run):
    one, two = {"m@v1.0.0/a.go": "1", "m@v1.0.0/b.go": "1"}, {"m@v1.0.0/a.go": "2", "m@v1.0.0/c.go": "2"}
    assert run((one, True), (two, True)) in (one, two)


LISTS = {"lists/m_dists_stone_InRelease": "one", "lists/m_dists_stone_main_Packages": "many", "plain": "x"}


def versions(run):
    return {entry.path: entry.version.sequence for entry in run.volumes.show(KEY) if not entry.is_directory}


def test_lists_of_apt_that_come_again_the_same_are_not_new(run):
    run((LISTS, True))
    before = {entry.path: entry.mtime_ns for entry in run.volumes.show(KEY)}
    assert run((LISTS, True)) == LISTS
    assert versions(run) == {"lists/m_dists_stone_InRelease": 1, "lists/m_dists_stone_main_Packages": 1, "plain": 2}
    after = {entry.path: entry.mtime_ns for entry in run.volumes.show(KEY)}
    assert all(after[path] == before[path] for path in LISTS if path != "plain"), "the time that asks a mirror for more"


def test_lists_of_apt_that_changed_are_new_with_the_whole_suite(run):
    run((LISTS, True))
    changed = {**LISTS, "lists/m_dists_stone_InRelease": "two"}
    assert run((changed, True)) == changed
    assert set(versions(run).values()) == {2}


def test_a_list_of_apt_with_an_earlier_date_is_new(run):
    """The one that was there would ask the mirror for what changed after a moment that came later."""
    run((LISTS, True))
    run((LISTS, True), date_ns=1_700_000_000_000_000_000)
    assert {entry.mtime_ns for entry in run.volumes.show(KEY) if entry.path in LISTS} == {1_700_000_000_000_000_000}


def test_what_the_project_installed_is_marked_with_its_scope(run):
    run(({"g/a/1/a-1.jar": "x", "g/a/1/_remote.repositories": "a-1.jar>=\n", "g/b/1/b-1.jar": "y", "g/b/1/_remote.repositories": "b-1.jar>central=\n"}, True))
    assert {entry.path for entry in run.volumes.show(KEY) if entry.only_in == KEY.scope} == {"g/a/1/a-1.jar", "g/a/1/_remote.repositories"}


def test_a_failed_steps_sound_files_may_be_shared_and_the_others_not(run):
    digest = hashlib.sha1(b"jar").hexdigest()
    run(({"g/a/1/a-1.jar": "jar", "g/a/1/a-1.jar.sha1": digest, "g/b/1/b-1.jar": "ja", "g/b/1/b-1.jar.sha1": digest, "log": "x"}, False))
    sequences = {entry.path: entry.version.sequence for entry in run.volumes.show(KEY) if not entry.is_directory}
    assert sequences == {"g/a/1/a-1.jar": 1, "g/a/1/a-1.jar.sha1": 1, "g/b/1/b-1.jar": 2, "g/b/1/b-1.jar.sha1": 2, "log": 2}

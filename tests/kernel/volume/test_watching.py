"""Which files of a volume a step reads: seen under real mounts, whatever opens them; and nothing of it in the step's way."""

import errno
import os
import subprocess

import pytest

from chandlery.content.store import Store
from chandlery.linux import fanotify, mount, page_cache
from chandlery.linux.fanotify import Opens
from chandlery.linux.mount import MountMethod, OverlayOptions
from chandlery.volume import history, reads, watching
from chandlery.volume.key import VolumeKey
from chandlery.volume.volumes import Volumes
from chandlery.worker.mounter import Mounter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlay mounts need root")

KEY = VolumeKey("local", "/root/.m2", "linux/amd64")
OPTIONS = OverlayOptions(follows_renames=True, copies_metadata_only=True)


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "store")) as store:
        yield store


def step(store, act, *, volumes=None, method=MountMethod.FSCONFIG):
    """One step on the volume, watched as a build's; its report."""
    volumes = volumes or Volumes(store)
    with store.begin() as session:
        attachment = volumes.attach(KEY, session)
        mounter = Mounter(session, method)
        with (
            mounter.overlay(attachment.lowers, upper=attachment.upper, work=attachment.work, options=OPTIONS) as point,
            watching.watched(attachment, point, ["/root/.m2"], is_copy=mounter.copies),
        ):
            act(point)
        read = attachment.read
        report = volumes.commit(attachment, succeeded=True, step="RUN test")
    volumes.settle()
    return report, read


def fill(store):
    def act(point):
        for name in ("a", "b", "d/x", "d/y", "mapped"):
            os.makedirs(os.path.dirname(f"{point}/{name}"), exist_ok=True)
            with open(f"{point}/{name}", "w") as file:
                file.write(name * 2000)

    step(store, act)


def read(path):
    with open(path) as file:
        return file.read()


def directory(store):
    return Volumes(store).list()[0].directory


def test_files_that_are_read_are_seen_and_others_not(store):
    fill(store)
    report, seen = step(store, lambda point: [read(f"{point}/a"), read(f"{point}/d/x"), os.stat(f"{point}/b"), os.listdir(f"{point}/d")])
    assert seen == {"a": 2000, "d/x": 6000}
    assert (report.use.served_files, report.use.served_bytes) == (2, 8000)


def test_a_read_in_another_mount_namespace_is_seen_also_when_that_is_gone(store, tmp_path):
    fill(store)
    script = 'mkdir -p "$2/root/.m2" && mount --bind "$1" "$2/root/.m2" && cat "$2/root/.m2/d/y" > /dev/null'
    _, seen = step(store, lambda point: subprocess.run(["unshare", "-m", "sh", "-ec", script, "sh", point, str(tmp_path / "r")], check=True))
    assert seen == {"d/y": 6000}


def test_a_directory_of_the_volume_may_be_called_as_its_place(store, tmp_path):
    def act(point):
        os.makedirs(f"{point}/root/.m2/d")
        for name in ("root/.m2/d/y", "a (deleted)"):
            with open(f"{point}/{name}", "w") as file:
                file.write("other")

    fill(store)
    step(store, act)
    script = 'mkdir -p "$2/root/.m2" && mount --bind "$1" "$2/root/.m2" && cat "$2/root/.m2/root/.m2/d/y" "$2/root/.m2/a (deleted)" > /dev/null'
    _, seen = step(store, lambda point: subprocess.run(["unshare", "-m", "sh", "-ec", script, "sh", point, str(tmp_path / "r")], check=True))
    assert "root/.m2/d/y" in seen
    assert "a (deleted)" in seen


def test_what_the_step_made_or_changed_is_not_served(store):
    fill(store)

    def act(point):
        for name in ("new", "a"):
            with open(f"{point}/{name}", "w") as file:
                file.write("changed")
        read(f"{point}/new")

    report, seen = step(store, act)
    assert seen == {}
    assert (report.use.served_files, report.use.added_files) == (0, 2)


def test_a_file_that_is_deleted_after_it_was_read_was_served(store):
    fill(store)
    _, seen = step(store, lambda point: (read(f"{point}/a"), os.unlink(f"{point}/a")))
    assert seen == {"a": 2000}


def test_a_pipe_holds_nobody_up(store):
    fill(store)

    def act(point):
        os.mkfifo(f"{point}/pipe")
        os.close(os.open(f"{point}/pipe", os.O_RDWR))
        read(f"{point}/a")

    assert step(store, act)[1] == {"a": 2000}


def test_mapped_files_are_seen(store):
    import mmap

    fill(store)

    def act(point):
        with open(f"{point}/mapped", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert mapped[:6] == b"mapped"

    assert step(store, act)[1] == {"mapped": 12000}


def test_thousands_of_opens_are_all_seen(store):
    def many(point):
        for number in range(3_000):
            with open(f"{point}/{number}", "w") as file:
                file.write("x")

    step(store, many)
    _, seen = step(store, lambda point: [os.close(os.open(f"{point}/{number}", os.O_RDONLY)) for number in range(3_000)])
    assert len(seen) == 3_000


def test_a_step_whose_descriptors_run_out_is_not_disturbed(store, monkeypatch):
    fill(store)
    real = os.read

    def refusing(fd, size, faults=[errno.EMFILE] * 3):
        if faults and size == fanotify._EVENTS_AT_ONCE * fanotify._EVENT.size:
            raise OSError(faults.pop(), "too many open files")
        return real(fd, size)

    monkeypatch.setattr(os, "read", refusing)
    assert step(store, lambda point: read(f"{point}/a"))[1] == {"a": 2000}


def test_what_was_read_is_written_down_with_what_the_step_had(store):
    fill(store)
    old = reads.today() - 50
    record = f"{directory(store)}/reads"
    with open(record, "wb") as file:
        file.write(b'{"format": 1, "began": %d, "blind": 0}\n' % old)
    step(store, lambda point: read(f"{point}/a"))
    known = reads.load(directory(store))
    assert (known.last_used("a", old), known.last_used("b", old)) == (reads.today(), old)
    assert [(use.step, use.served_files, use.added_files) for use in history.load(directory(store))] == [("RUN test", 0, 5), ("RUN test", 1, 0)]


def test_a_copied_volume_is_watched_by_times_of_access(store):
    fill(store)
    _, seen = step(store, lambda point: read(f"{point}/a"), method=MountMethod.COPY)
    assert seen == {"a": 2000}


@pytest.fixture
def forbidden(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(fanotify.libc, "fanotify_init", refuse)


def test_where_watching_is_forbidden_the_step_runs_and_the_page_cache_tells(store, forbidden):
    fill(store)
    report, seen = step(store, lambda point: read(f"{point}/a"))
    assert seen is None
    assert report.use.served_files == -1
    known = reads.load(directory(store))
    try:
        page_cache.is_cached(f"{Volumes(store).list()[0].directories[0]}/fs/a")
    except OSError:
        assert known.blind == reads.today()
    else:
        assert known.blind == 0
        assert reads.hash_of("a") in known.days


def test_where_nothing_can_be_told_everything_counts_as_read(store, forbidden, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "no such call")

    fill(store)
    monkeypatch.setattr(page_cache, "is_cached", refuse)
    step(store, lambda point: read(f"{point}/a"))
    assert reads.load(directory(store)).blind == reads.today()


def test_a_directory_that_is_listed_is_no_file_that_is_read(store):
    fill(store)
    with store.begin() as session:
        attachment = Volumes(store).attach(KEY, session)
        mounter = Mounter(session, MountMethod.FSCONFIG)
        with mounter.overlay(attachment.lowers, upper=attachment.upper, work=attachment.work, options=OPTIONS) as point:
            with watching.watched(attachment, point, ["/root/.m2"], is_copy=False):
                pass
            assert attachment.listed == set()
            with watching.watched(attachment, point, ["/root/.m2"], is_copy=False):
                os.listdir(f"{point}/d")
            assert (attachment.listed, attachment.read) == ({"d"}, {})
            with watching.watched(attachment, point, ["/root/.m2"], is_copy=False):
                os.listdir(point)
            assert attachment.listed == {""}
        attachment.release()


def test_opens_wait_for_nothing_and_end_with_the_group(tmp_path):
    lower, upper, work, point = (tmp_path / name for name in "luwp")
    for path in (lower, upper, work, point):
        path.mkdir()
    (lower / "a").write_text("x")
    mount.mount_overlay(str(point), [str(lower)], upper=str(upper), work=str(work))
    try:
        opens = Opens(str(point))
        assert list(opens.files()) == []
        (point / "a").read_text()
        assert [size for _, size in opens.files()] == [1]
        opens.close()
        (point / "a").read_text()
    finally:
        mount.unmount(str(point))
    assert os.listdir(point) == []

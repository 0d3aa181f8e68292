"""What the adapters do to real volumes: what is not kept, what gives way as a whole, and which indexes serve both writers."""

import os

import pytest

from chandlery.content.store import Store
from chandlery.linux import mount
from chandlery.linux.mount import OverlayOptions
from chandlery.volume.key import VolumeKey
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

    def write(files):
        for name, text in files.items():
            (point / name).parent.mkdir(parents=True, exist_ok=True)
            (point / name).write_text(text)

    def look():
        return {str(path.relative_to(point)): path.read_text() for path in point.rglob("*") if path.is_file()}

    def steps(*each):
        with store.begin() as session:
            attachments = [volumes.attach(KEY, session) for _ in each]
            for attachment, (files, succeeded) in zip(attachments, each, strict=True):
                mounted(attachment, lambda files=files: write(files))
                assert volumes.commit(attachment, succeeded=succeeded).warning == ""
        with store.begin() as session:
            attachment = volumes.attach(KEY, session)
            found = mounted(attachment, look)
            volumes.discard(attachment)
        return found

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


def test_an_index_that_two_steps_changed_serves_both(run):
    index = "_cacache/index-v5/aa/bb/cc"
    found = run(({index: "one\n", "x": "1"}, True), ({index: "two\n", "y": "2"}, True))
    assert sorted(found.pop(index).splitlines()) == ["one", "two"]
    assert found == {"x": "1", "y": "2"}


def test_a_unit_that_two_steps_made_is_one_of_them_whole(run):
    one, two = {"m@v1.0.0/a.go": "1", "m@v1.0.0/b.go": "1"}, {"m@v1.0.0/a.go": "2", "m@v1.0.0/c.go": "2"}
    assert run((one, True), (two, True)) in (one, two)

"""COPY --from links a large file from its layer only where the view of all layers shows just that file, and the copy would be no different."""

import os
from pathlib import Path

import pytest

from chandlery.graph.op import CopyAction, FileOp
from chandlery.linux import mount
from chandlery.worker.file_op import ViewInput, apply

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlay mounts need root")

LARGE = 1 << 20


class Stage:
    """Layers that steps make by really writing to an overlay, and a COPY from what they show together."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layers: list[str] = []

    def step(self, act) -> None:
        """A layer of what `act` does."""
        place = self.directory / f"step{len(self.layers)}"
        for name in ("fs", "work", "merged"):
            (place / name).mkdir(parents=True)
        mount.mount_overlay(str(place / "merged"), self.layers, upper=str(place / "fs"), work=str(place / "work"))
        try:
            act(place / "merged")
        finally:
            mount.unmount(str(place / "merged"))
        self.layers.append(str(place / "fs"))

    def copy(self, source: str, to: str = "/out/", **options) -> Path:
        """The upper of a COPY --from of these layers."""
        upper, view = self.directory / "upper", self.directory / "view"
        upper.mkdir()
        view.mkdir()
        mount.mount_overlay(str(view), self.layers)
        try:
            action = CopyAction(2, (source,), to, **options)
            apply(FileOp((action,)), base=None, upper=str(upper), inputs={2: ViewInput(str(view), tuple(self.layers))})
        finally:
            mount.unmount(str(view))
        return upper


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    made.step(lambda root: (root / "base").touch())
    return made


def large(path: str, byte: bytes):
    def act(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(byte * LARGE)

    return act


def is_linked(file: Path) -> bool:
    return file.stat().st_nlink > 1


def test_a_large_file_is_linked_from_the_layer_that_shows_it(stage):
    stage.step(large("app/service.jar", b"a"))
    stage.step(large("other/file", b"b"))
    made = stage.copy("/app/service.jar") / "out/service.jar"
    assert is_linked(made)
    assert made.samefile(f"{stage.layers[1]}/app/service.jar")


def test_of_a_directory_each_large_file_is_linked_and_each_small_one_is_copied(stage):
    stage.step(large("app/one", b"1"))
    stage.step(lambda root: (large("app/two", b"2")(root), (root / "app/small").write_text("s")))
    upper = stage.copy("/app")
    assert [is_linked(upper / "out" / name) for name in ("one", "two", "small")] == [True, True, False]


@pytest.mark.parametrize("options", [{"owner": "7:7"}, {"mode": 0o600}])
def test_what_the_copy_changes_is_copied(stage, options):
    stage.step(large("app/file", b"a"))
    upper = stage.copy("/app/file", **options)
    assert not is_linked(upper / "out/file")
    found = os.stat(f"{stage.layers[1]}/app/file")
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o644)


def test_a_newer_file_of_the_same_size_and_time_is_the_one_that_is_shown(stage):
    stage.step(large("app/file", b"o"))

    def replace(root: Path) -> None:
        times = os.stat(root / "app/file")
        (root / "app/file").unlink()
        large("app/file", b"n")(root)
        os.utime(root / "app/file", ns=(times.st_mtime_ns, times.st_mtime_ns))

    stage.step(replace)
    assert (stage.copy("/app/file") / "out/file").read_bytes()[:1] == b"n"


def test_below_a_directory_made_anew_nothing_older_is_looked_for(stage):
    stage.step(large("app/file", b"o"))

    def again(root: Path) -> None:
        (root / "app/file").unlink()
        (root / "app").rmdir()
        (root / "app").mkdir()
        (root / "app/late").write_text("")

    stage.step(again)
    stage.step(large("app/file", b"n"))
    assert (stage.copy("/app/file") / "out/file").read_bytes()[:1] == b"n"


def test_a_file_that_was_copied_up_leaves_the_attributes_of_overlayfs_behind(stage):
    stage.step(large("app/file", b"a"))
    stage.step(lambda root: (root / "app/file").chmod(0o755))
    made = stage.copy("/app/file") / "out/file"
    assert (made.read_bytes(), made.stat().st_mode & 0o777) == (b"a" * LARGE, 0o755)
    assert not os.listxattr(made)


def test_a_name_that_a_layer_took_away_isnt_found_below(stage):
    stage.step(large("app/file", b"o"))
    stage.step(lambda root: (root / "app/file").unlink())
    stage.step(large("app/file", b"n"))
    assert (stage.copy("/app/file") / "out/file").read_bytes()[:1] == b"n"

"""Children that take a share of the work: they really do it, and one that can't is no error."""

import os
from pathlib import Path

import pytest

from chandlery.linux.children import Children
from chandlery.snapshot.tree import Entry
from chandlery.source import hashing
from chandlery.worker.copy_files import Copier, Group, Options
from chandlery.worker.manifest import Manifest


def test_a_child_hashes_its_share(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    files = [("a", hashing.packed(os.lstat(tmp_path / "a")), 1)]
    with Children(33) as children:
        children.start("chandlery.source.hashing", "hash_share", (str(tmp_path), 0, [("", files)]))
        children.wait()
        assert children.done[:] == hashing.hash_files(str(tmp_path), [("", files)])[0]


def test_a_child_copies_its_share(tmp_path: Path) -> None:
    for name in ("s", "t"):
        (tmp_path / name).mkdir()
    (tmp_path / "s/a").write_text("1")
    copier = Copier(str(tmp_path / "s"), str(tmp_path / "t"), Options(is_context=True), "", Manifest())
    group = Group("", "", [Entry("a", os.lstat(tmp_path / "s/a"))])
    with Children(1) as children:
        children.start("chandlery.worker.copy_files", "copy_share", (copier._settings(), [(0, group.encode())]))
        children.wait()
        assert children.done[:] == b"\x01"
    assert (tmp_path / "t/a").read_text() == "1"


def test_a_child_that_fails_says_nothing_and_marks_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Children(4) as children:
        children.start("chandlery.source.hashing", "hash_share", (str(tmp_path / "none"), 0, [("", [("a", b"", 1)])]))
        children.start("chandlery.source.none", "none", ())
        children.wait()
        assert children.done[:] == bytes(4)
    assert capfd.readouterr() == ("", "")


def test_an_exception_ends_the_children() -> None:
    children = Children(1)
    with pytest.raises(KeyboardInterrupt):
        interrupted(children)
    assert children._running == []


def interrupted(children: Children) -> None:
    with children:
        children.start("signal", "pause", ())
        raise KeyboardInterrupt

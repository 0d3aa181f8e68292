"""Writes leave the old file or the new one, and nothing beside it."""

import os
from pathlib import Path

import pytest

from chandlery.linux import atomic


def test_a_write_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    atomic.write_file(str(path), b"new" * 100_000)
    assert path.read_bytes() == b"new" * 100_000
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    (target / "child").mkdir(parents=True)
    with pytest.raises(OSError):
        atomic.write_file(str(target), b"new")
    assert os.listdir(tmp_path) == ["directory"]


def test_pieces_that_break_off_leave_nothing(tmp_path: Path) -> None:
    def pieces():
        yield b"half"
        raise RuntimeError("broken off")

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(RuntimeError):
        atomic.write_pieces(str(tmp_path / "file"), pieces())
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_pieces_may_get_their_name_by_a_link(tmp_path: Path) -> None:
    atomic.write_pieces(str(tmp_path / "file"), [b"one ", b"file"], put=os.link)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"one file"


def test_removing_what_is_gone_is_fine(tmp_path: Path) -> None:
    atomic.remove_if_there(str(tmp_path / "never"))

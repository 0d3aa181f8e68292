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


def test_removing_what_is_gone_is_fine(tmp_path: Path) -> None:
    atomic.remove_if_there(str(tmp_path / "never"))

"""Facts about file systems."""

import os

import pytest

from chandlery.linux import filesystem
from chandlery.linux.disk_usage import tree_size


def test_types_are_the_kernels_numbers(tmp_path):
    assert filesystem.type_of("/proc") == 0x9FA0
    with pytest.raises(FileNotFoundError):
        filesystem.type_of(str(tmp_path / "none"))


def test_sync_returns(tmp_path):
    filesystem.sync(str(tmp_path))


def test_mounts_below_are_deepest_first_and_not_beside(tmp_path):
    assert filesystem.mounts_below(str(tmp_path)) == []
    below = filesystem.mounts_below("/")
    assert "/proc" in below
    assert all(path.startswith("/") for path in below)


def test_a_trees_size_is_what_it_occupies(tmp_path):
    os.mkdir(tmp_path / "sub")
    (tmp_path / "sub" / "file").write_bytes(b"x" * 10000)
    once = tree_size(str(tmp_path))
    os.link(tmp_path / "sub" / "file", tmp_path / "again")
    assert once >= 12288
    assert tree_size(str(tmp_path)) == once
    os.symlink("/usr", tmp_path / "link")
    assert tree_size(str(tmp_path)) <= once + 4096

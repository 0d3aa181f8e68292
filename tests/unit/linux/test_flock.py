"""Locks exclude, time out, and survive the deletion of their file."""

import os
from pathlib import Path

import pytest

from chandlery.errors import MachineError
from chandlery.linux.flock import FileLock, LockMode


def test_a_held_lock_excludes_another(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with FileLock(path):
        assert not FileLock(path).try_acquire()
    other = FileLock(path)
    assert other.try_acquire()
    other.release()


def test_shared_locks_admit_each_other_but_no_exclusive(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with FileLock(path, LockMode.SHARED), FileLock(path, LockMode.SHARED):
        assert not FileLock(path).try_acquire()


def test_waiting_ends_at_the_timeout(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with FileLock(path), pytest.raises(MachineError) as late:
        FileLock(path, timeout_s=0.02).acquire()
    assert late.value.code == "lock.timeout"


def test_a_lock_on_a_deleted_file_is_not_the_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = FileLock(path)
    assert first.try_acquire()
    os.unlink(path)
    with FileLock(path) as second:
        assert second.is_held
        assert not FileLock(path).try_acquire()
    first.release()


def test_release_twice_is_fine(tmp_path: Path) -> None:
    lock = FileLock(str(tmp_path / "lock"))
    lock.acquire()
    lock.release()
    lock.release()
    assert not lock.is_held

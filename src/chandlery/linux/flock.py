"""Advisory locks that die with their holder: flock(2) on an open file, as context managers.

A lock belongs to the open file, so two `FileLock`s on one path exclude each other in one process as in two, and a kill releases it.
The lock file may be deleted by whoever holds the lock exclusively: a waiter notices that it won a name that is gone, and starts over.
"""

import errno
import fcntl
import os
import time
from enum import Enum

from chandlery.errors import MachineError


class LockMode(Enum):
    SHARED = fcntl.LOCK_SH
    EXCLUSIVE = fcntl.LOCK_EX


class FileLock:
    """One lock on one path, made if absent (mode 0600).

    with FileLock(path):                      # waits as long as it takes
    with FileLock(path, timeout_s=5):         # MachineError lock.timeout
    lock = FileLock(path); lock.try_acquire() # True or False at once; lock.release()
    """

    def __init__(self, path: str, mode: LockMode = LockMode.EXCLUSIVE, *, timeout_s: float | None = None) -> None:
        self.path = path
        self.mode = mode
        self.timeout_s = timeout_s
        self._fd = -1

    @property
    def is_held(self) -> bool:
        return self._fd >= 0

    def fileno(self) -> int:
        """The locked descriptor, for passing the lock on to a child; -1 while not held."""
        return self._fd

    def acquire(self) -> None:
        """Wait for the lock, at most `timeout_s`. Raises MachineError lock.timeout."""
        if self.timeout_s is None:
            while not self._attempt(self.mode.value):
                pass
            return
        deadline = time.monotonic() + self.timeout_s
        pause_s = 0.001
        while not self.try_acquire():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise MachineError(
                    f"{self.path} stayed locked by another process for {self.timeout_s:g} s",
                    code="lock.timeout",
                    hint="wait for the other build or prune to end, or end it",
                )
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, 0.05)

    def try_acquire(self) -> bool:
        """Take the lock if it is free; False otherwise."""
        while True:
            try:
                if self._attempt(self.mode.value | fcntl.LOCK_NB):
                    return True
            except OSError as refused:
                if refused.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    return False
                raise

    def _attempt(self, operation: int) -> bool:
        """Lock what the path names now; False where the name changed hands meanwhile."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, operation)
            is_current = _names(self.path, fd)
        except BaseException:
            os.close(fd)
            raise
        if not is_current:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens if it isn't held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _names(path: str, fd: int) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

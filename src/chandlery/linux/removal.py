"""Removing trees without recursion, without following links, and beside others who remove the same.

A tree may be deeper than any path (PATH_MAX) and than Python's stack; a hostile archive or a step can make one in a second. Work is
done by descriptors, at most MAX_OPEN at once. The caller makes sure that nothing is mounted below.
"""

import errno
import os

from chandlery.linux.paths import DIRECTORY, DIRECTORY_NOFOLLOW

MAX_OPEN = 64


class _Frame:
    """One directory being emptied. `identity` is checked when it is opened again from below, lest a moved directory lead elsewhere."""

    __slots__ = ("below", "fd", "identity", "name")

    def __init__(self, fd: int, name: str | bytes) -> None:
        self.fd = fd
        self.name = name
        self.identity = _identity(fd)
        self.below = _empty(fd)


def remove_tree(path: str) -> None:
    """Remove whatever `path` is, a link itself, a directory with all that is in it; that it is gone already is fine."""
    try:
        parent = os.open(os.path.dirname(path) or ".", DIRECTORY)
    except FileNotFoundError:
        return
    try:
        remove_beneath(parent, os.path.basename(path))
    except FileNotFoundError:
        pass
    finally:
        os.close(parent)


def remove_beneath(dir_fd: int, name: str | bytes) -> None:
    """Remove the entry `name` of an open directory, whatever it is. Raises FileNotFoundError where there is none."""
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except OSError as refused:
        # unlink(2): EISDIR is Linux's answer for a directory, EPERM is POSIX's
        if refused.errno not in (errno.EISDIR, errno.EPERM):
            raise
    frames = [_Frame(_enter(dir_fd, name), name)]
    try:
        while frames:
            if frames[-1].below:
                _descend(frames)
            else:
                _finish(frames, dir_fd)
    finally:
        for frame in frames:
            if frame.fd >= 0:
                os.close(frame.fd)


def _descend(frames: list[_Frame]) -> None:
    frame = frames[-1]
    child = frame.below.pop()
    try:
        frames.append(_Frame(_enter(frame.fd, child), child))
    except FileNotFoundError:
        return
    if len(frames) > MAX_OPEN:
        far = frames[-MAX_OPEN - 1]
        os.close(far.fd)
        far.fd = -1


def _finish(frames: list[_Frame], dir_fd: int) -> None:
    """Leave the innermost directory, which is empty now, and remove it."""
    frame = frames.pop()
    try:
        if frames and frames[-1].fd < 0:
            frames[-1].fd = os.open("..", DIRECTORY, dir_fd=frame.fd)
            if _identity(frames[-1].fd) != frames[-1].identity:
                raise OSError(errno.EXDEV, "a directory moved while its tree was being removed", os.fsdecode(frame.name))
    finally:
        os.close(frame.fd)
    try:
        os.rmdir(frame.name, dir_fd=frames[-1].fd if frames else dir_fd)
    except FileNotFoundError:
        pass


def _enter(parent: int, name: str | bytes) -> int:
    if os.geteuid() != 0:
        # an owner who isn't root may have closed the directory to himself
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if found.st_mode & 0o170700 not in (0o040700, 0o120700):
            os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, DIRECTORY_NOFOLLOW, dir_fd=parent)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _empty(fd: int) -> list[str]:
    """Unlink a directory's files; the names of its subdirectories."""
    below = []
    with os.scandir(fd) as scan:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in scan]
    for name, is_directory in entries:
        if is_directory:
            below.append(name)
            continue
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            pass
    return below

"""One walk over a directory tree, in the byte order of its paths, by descriptors.

Directories sort as "name/", so the order is that of the complete paths as they appear in a tar. It never recurses and never holds
more than MAX_OPEN descriptors, so a tree 10,000 deep, which no path can name (PATH_MAX), is walked like any other. Nobody else
changes the tree meanwhile; a directory that moved away is an error.
"""

import os
import stat

from chandlery.errors import InternalError
from chandlery.linux.paths import DIRECTORY, DIRECTORY_NOFOLLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    File = tuple[bytes, str, os.stat_result]
    Run = tuple[int, bytes, os.stat_result | None, list[File]]

MAX_OPEN = 64


class _Frame:
    """A directory that has been entered: what is left of it, and how much of the current path is its parent's."""

    __slots__ = ("fd", "identity", "left", "parent_length")

    def __init__(self, fd: int, parent_length: int) -> None:
        self.fd = fd
        self.parent_length = parent_length
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self.left = _listing(fd)


def ordered(root_fd: int) -> "Iterator[Run]":
    """The tree below `root_fd` as runs (directory fd, its path with "/", its status, files).

    A directory's first run has its status, later ones None (after each subdirectory); the root's status is None, its path empty.
    `files` are (name, the same as str, status) and hold everything but directories. The descriptor is valid until the next run.
    """
    path = b""
    status: os.stat_result | None = None
    frames = [_Frame(os.open(".", DIRECTORY, dir_fd=root_fd), 0)]
    try:
        while frames:
            frame = frames[-1]
            files, directory = _next_files(frame.left)
            if files or status is not None:
                yield frame.fd, path, status, files
            status = None
            if directory is None:
                path = path[: frame.parent_length]
                _leave(frames)
                continue
            name, text, status = directory
            child = _Frame(os.open(text, DIRECTORY_NOFOLLOW, dir_fd=frame.fd), len(path))
            frames.append(child)
            path += name + b"/"
            if len(frames) > MAX_OPEN:
                far = frames[-MAX_OPEN - 1]
                os.close(far.fd)
                far.fd = -1
    finally:
        for frame in frames:
            if frame.fd >= 0:
                os.close(frame.fd)


def _next_files(left: "list[File]") -> "tuple[list[File], File | None]":
    files: list[File] = []
    while left:
        entry = left.pop()
        if stat.S_ISDIR(entry[2].st_mode):
            return files, entry
        files.append(entry)
    return files, None


def _listing(fd: int) -> "list[File]":
    """The entries of a directory, the first in order last."""
    entries = []
    with os.scandir(fd) as scan:
        for entry in scan:
            status = entry.stat(follow_symlinks=False)
            name = entry.name
            raw = os.fsencode(name)
            entries.append((raw + b"/" if stat.S_ISDIR(status.st_mode) else raw, raw, name, status))
    entries.sort(key=_first, reverse=True)
    return [entry[1:] for entry in entries]


def _first(entry: "tuple[bytes, bytes, str, os.stat_result]") -> bytes:
    return entry[0]


def _leave(frames: list[_Frame]) -> None:
    """Close the innermost directory; its parent is opened again through ".." if it had to be closed."""
    done = frames.pop()
    if frames and frames[-1].fd < 0:
        parent = frames[-1]
        parent.fd = os.open("..", DIRECTORY, dir_fd=done.fd)
        status = os.fstat(parent.fd)
        if (status.st_dev, status.st_ino) != parent.identity:
            os.close(done.fd)
            raise InternalError("a directory moved while its tree was read", code="layer.changed")
    os.close(done.fd)

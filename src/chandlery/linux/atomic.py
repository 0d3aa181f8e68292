"""Files that are there whole or not at all: temporary name, fsync, rename, fsync of the directory.

After a crash at any point the name holds the old bytes or the new ones; what may stay behind is a file whose name contains TEMP_MARK,
which belongs to nobody and which a prune may remove.
"""

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TEMP_MARK = ".tmp-"


def temp_name(path: str) -> str:
    """A fresh name beside `path`, so that a rename stays on one file system."""
    return f"{path}{TEMP_MARK}{os.urandom(6).hex()}"


def write_file(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`, durably. Raises OSError; then the old file is untouched."""
    write_pieces(path, (data,), mode=mode)
    fsync_dir(os.path.dirname(path) or ".")


def write_pieces(path: str, pieces: "Iterable[bytes]", *, mode: int = 0o644, put: "Callable[[str, str], None]" = os.rename) -> None:
    """Give a new file of these bytes, fsynced, the name `path` by `put(temporary name, path)`; making the name itself durable is the caller's.

    Raises OSError, and whatever `pieces` raises; then nothing has changed.
    """
    temp = temp_name(path)
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            for piece in pieces:
                write_all(fd, piece)
            os.fsync(fd)
        finally:
            os.close(fd)
        put(temp, path)
    finally:
        # a link leaves the temporary name behind
        remove_if_there(temp)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte: write(2) may take fewer, and takes at most 0x7ffff000 at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def fsync_dir(path: str) -> None:
    """Make renames and creations in a directory durable: fsync(2) on a file doesn't cover its name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_if_there(path: str) -> None:
    """Unlink a file; that it is already gone is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def is_whole(path: str, size_bytes: int) -> bool:
    """Whether a file of that size is there: no link, nothing that was cut short, and nothing else that somebody may have put in its place."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size_bytes

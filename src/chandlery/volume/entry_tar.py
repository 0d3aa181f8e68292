"""Entries of a volume as a tar: the same entries give the same bytes on any machine.

Directories come before what is in them, paths in order. Every file is one of its own, whatever it is linked to.
"""

import os

from chandlery.errors import InternalError
from chandlery.layer import tar_header
from chandlery.layer.pack import CHUNK
from chandlery.volume.tree import Entry, EntryType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_KINDS = {
    EntryType.FILE: tar_header.FILE,
    EntryType.DIRECTORY: tar_header.DIRECTORY,
    EntryType.SYMLINK: tar_header.SYMLINK,
    # what it is linked to may be left out, or be in another layer
    EntryType.HARD_LINK: tar_header.FILE,
}


def in_order(entries: "Iterable[Entry]") -> list[Entry]:
    """As a tar has them: by path, a directory before its content."""
    return sorted(entries, key=lambda entry: entry.path.split("/"))


def tar_chunks(files: "Iterable[tuple[Entry, str]]", *, prefix: str = "", mtime_s: int | None = None) -> "Iterator[bytes]":
    """The tar of entries, each with the file that has its content, in pieces of CHUNK bytes but for the last.

    Paths are put below `prefix` ("root/.m2"); the volume's root is left out where there is none. Times are all `mtime_s` where that is given.
    Raises OSError, InternalError volume.changed for a file that isn't as its entry says.
    """
    waiting = bytearray()
    for piece in _pieces(files, prefix, mtime_s):
        waiting += piece
        while len(waiting) >= CHUNK:
            yield bytes(waiting[:CHUNK])
            del waiting[:CHUNK]
    # POSIX.1-2017, pax: the archive ends with two blocks of zeros
    waiting += bytes(2 * tar_header.BLOCK)
    yield bytes(waiting)


def _pieces(files: "Iterable[tuple[Entry, str]]", prefix: str, mtime_s: int | None) -> "Iterator[bytes]":
    for entry, file in files:
        if not entry.path and not prefix:
            continue
        yield _header(entry, prefix, entry.mtime_ns // 10**9 if mtime_s is None else mtime_s)
        if entry.type in (EntryType.FILE, EntryType.HARD_LINK):
            yield from _content(file, entry)


def _header(entry: Entry, prefix: str, mtime_s: int) -> bytes:
    path = _below(prefix, entry.path)
    blocks, checksum = tar_header.header(
        os.fsencode(path) + (b"/" if entry.is_directory else b""),
        _KINDS[entry.type],
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        link=os.fsencode(entry.target) if entry.type is EntryType.SYMLINK else b"",
        xattrs=dict(entry.xattrs),
    )
    field, added = tar_header.mtime_patch(mtime_s)
    patched = bytearray(blocks)
    at = len(patched) - tar_header.BLOCK
    patched[at + tar_header.MTIME_AT : at + tar_header.MTIME_AT + len(field)] = field
    summed = tar_header.checksum_field(checksum + added)
    patched[at + tar_header.CHECKSUM_AT : at + tar_header.CHECKSUM_AT + len(summed)] = summed
    return bytes(patched)


def _content(file: str, entry: Entry) -> "Iterator[bytes]":
    left = entry.size
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while left:
            data = os.read(fd, min(left, CHUNK))
            if not data:
                raise InternalError(f"{entry.path} of a cache volume is shorter than recorded", code="volume.changed", hint="run chandlery verify")
            left -= len(data)
            yield data
    finally:
        os.close(fd)
    yield bytes(-entry.size % tar_header.BLOCK)


def _below(prefix: str, path: str) -> str:
    return f"{prefix}/{path}" if prefix and path else prefix or path

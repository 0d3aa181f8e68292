"""`StatCache`: what a context's files hashed to when they last looked as they look now.

One file a context, R/contexts/<hash of its path>/stat: a magic line that carries the format, the sha256 of the body, and a marshalled dict
directory -> (names joined by "/", packed stats, the names' sha256s, names with xattrs, digest of all of it). A directory is compared as two
strings, so an unchanged context costs no Python object for a file. It is only a cache: whatever is wrong with it, it is empty; it is written to a
temporary name and renamed.

An entry answers only if device, inode, size, mtime, ctime, mode and link count are all the same. A file whose ctime lies within two seconds
of the moment when it was hashed is never remembered: it may change again without looking different (git's "racy" index entries).
"""

import marshal
import os
import struct

from chandlery.oci.digest import hasher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Table = tuple[str, bytes, bytes, str, bytes]

_MAGIC = b"chandlery stat cache 1\n"
RACY_NS = 2_000_000_000
UNKNOWN = bytes(32)
STAT = struct.Struct("=QQqqqII")  # dev, ino, size, mtime_ns, ctime_ns, mode, nlink
pack_stat = STAT.pack
_MAX_DIRECTORIES = 400_000


class StatCache:
    """`path` "" keeps nothing. Not safe for threads: a context holds its lock around it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.tables: dict[str, Table] = _load(path) if path else {}
        self._is_changed = False

    def table(self, directory: str) -> "Table | None":
        return self.tables.get(directory)

    def put(self, directory: str, table: "Table", *, scanned_ns: int) -> None:
        """Remember a directory as it was when it was scanned, less what is too young to be trusted."""
        stats, hashes = table[1], table[2]
        if racy := [at for at, found in enumerate(STAT.iter_unpack(stats)) if found[4] > scanned_ns - RACY_NS]:
            forgotten, size = bytearray(hashes), len(UNKNOWN)
            for at in racy:
                forgotten[at * size : (at + 1) * size] = UNKNOWN
            table = (table[0], stats, bytes(forgotten), table[3], b"")
        if self.tables.get(directory) != table:
            self.tables[directory] = table
            self._is_changed = True

    def forget(self, directories: "Iterable[str]") -> None:
        for directory in directories:
            self._is_changed |= self.tables.pop(directory, None) is not None

    def save(self) -> None:
        """Write what changed; a store that can't be written costs time, not the build."""
        if not self.path or not self._is_changed:
            return
        self._is_changed = False
        if len(self.tables) > _MAX_DIRECTORIES:
            self.tables = {}
        body = marshal.dumps(self.tables, 4)
        temporary = f"{self.path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            with open(temporary, "wb") as file:
                file.writelines((_MAGIC, hasher(body).digest(), body))
            os.replace(temporary, self.path)
        except OSError:
            _remove(temporary)


def _load(path: str) -> "dict[str, Table]":
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return {}
    body = memoryview(data)[len(_MAGIC) + 32 :]
    if not data.startswith(_MAGIC) or hasher(body).digest() != data[len(_MAGIC) : len(_MAGIC) + 32]:
        return {}
    tables: dict[str, Table] = marshal.loads(body)
    return tables


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass

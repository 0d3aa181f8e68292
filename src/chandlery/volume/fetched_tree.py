"""A directory in the making, from entries that somebody else chose: only below directories that were made here, never through a link.

A file gets its name only when its bytes have hashed to what its entry promises.
"""

import hashlib
import os
import threading

from chandlery.errors import StoreError
from chandlery.linux import xattr
from chandlery.linux.atomic import write_all
from chandlery.linux.removal import remove_tree
from chandlery.volume import nodes, pack
from chandlery.volume.tree import Entry, EntryType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class FetchedTree:
    """The new directory `target`. Threads may share it, each with files of its own, once `make_directories` is done, which they `wait` for."""

    def __init__(self, target: str, entries: "Iterable[Entry]") -> None:
        self.target = target
        self._directories: dict[str, Entry | None] = {"": None}
        self._done: list[Entry] = []
        self._parts = f"{target}.parts"
        os.mkdir(self._parts, 0o700)
        os.mkdir(target, 0o700)
        self._others = tuple(entries)
        self._is_laid_out = False
        self._ready = threading.Event()

    def make_directories(self) -> None:
        """Make everything that isn't a file. Raises StoreError (volume.bad-table), OSError."""
        try:
            for entry in pack.parents_first(self._others):
                if entry.is_directory:
                    self._make_directory(entry)
                elif entry.type is EntryType.SYMLINK:
                    self._make_link(entry)
            self._is_laid_out = True
        finally:
            self._ready.set()

    def wait(self) -> None:
        """Until files can be made. Raises StoreError if they never can."""
        self._ready.wait()
        if not self._is_laid_out:
            raise StoreError("its directories can't be made", code="volume.bad-table")

    def write_file(self, entry: Entry, data: "bytes | memoryview") -> None:
        """A file whose content is at hand whole."""
        if hashlib.sha256(data).hexdigest() != entry.sha256 or len(data) != entry.size:
            raise _wrong(entry)
        path = self.new_path(entry)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(fd, data)
            _set_metadata(fd, entry)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)
        self.done(entry)

    def write_piece(self, entry: Entry, at: int, data: "bytes | memoryview") -> None:
        """Part of a file, which `finish_file` ends."""
        fd = os.open(self._part(entry), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.lseek(fd, at, os.SEEK_SET)
            write_all(fd, data)
        finally:
            os.close(fd)

    def finish_file(self, entry: Entry) -> None:
        """Verify the bytes through the descriptor of the file that then gets its name."""
        part = self._part(entry)
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "rb", buffering=0) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256 or os.fstat(fd).st_size != entry.size:
                os.unlink(part)
                raise _wrong(entry)
            _set_metadata(fd, entry)
            os.rename(part, self.new_path(entry))
        self.done(entry)

    def new_path(self, entry: Entry) -> str:
        """Where a file goes, which must be in a directory of this tree."""
        if os.path.dirname(entry.path) not in self._directories:
            raise StoreError(f"{entry.path} is in no directory", code="volume.bad-table")
        return f"{self.target}/{entry.path}"

    def done(self, entry: Entry) -> None:
        """A file is at its path as its entry says."""
        self._done.append(entry)

    def finish(self) -> tuple[Entry, ...]:
        """What is there, directories before what is in them."""
        directories = [entry for entry in self._directories.values() if entry is not None]
        for entry in reversed(pack.parents_first(directories)):
            nodes.set_entry_metadata(f"{self.target}/{entry.path}" if entry.path else self.target, entry)
        remove_tree(self._parts)
        return tuple(pack.parents_first([*directories, *self._done]))

    def _make_directory(self, entry: Entry) -> None:
        if entry.path:
            os.mkdir(self.new_path(entry), 0o700)
        self._directories[entry.path] = entry

    def _make_link(self, entry: Entry) -> None:
        path = self.new_path(entry)
        os.symlink(entry.target, path)
        nodes.set_entry_metadata(path, entry)
        self.done(entry)

    def _part(self, entry: Entry) -> str:
        return f"{self._parts}/{hashlib.sha256(os.fsencode(entry.path)).hexdigest()}"


def _set_metadata(fd: int, entry: Entry) -> None:
    """As nodes.apply, of an open file."""
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    for name, content in entry.xattrs:
        xattr.set_value(fd, name, content)
    os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))


def _wrong(entry: Entry) -> StoreError:
    return StoreError(f"{entry.path} came with other content than was promised", code="volume.wrong-object")

"""`Target`: the file system that a FileOp changes, written as an overlay upper without mounting one.

It owns the upper: a name that is looked up is the upper's or else the base's, a directory of the base that gets content is first made in the upper
with all its metadata (what overlayfs calls a copy-up), and a non-directory is replaced by making the new one. Directories' times are set
when everything is in (`finish`). Every path here has links resolved (snapshot.tree.resolve), and nothing is opened through a link, so
whatever an image's links say, nothing outside of upper is written.
"""

import os
import stat as modes
import time

from chandlery.errors import InputError
from chandlery.linux import xattr
from chandlery.snapshot.tree import Entry, lstat_beneath, open_directory, read_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.worker.owner import Owner

ROOT: "Owner" = (0, 0)
_OPAQUE = "trusted.overlay.opaque"
FRESH_MODE = 0o755


class Target:
    """`base` is a read-only view, or None for scratch; `upper` an empty directory; new directories get `created_ns` or now."""

    def __init__(self, base: str | None, upper: str, *, created_ns: int | None = None) -> None:
        self.base = base
        self.root = upper
        self.created_ns = created_ns if created_ns is not None else time.time_ns()
        self._times: dict[str, int] = {}
        self._in_upper: set[str] = {""}
        self._fresh: set[str] = set()
        self._gone: set[str] = set()  # paths whose content in the base no longer shows
        if base is not None:
            at = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._copy_metadata("", at, os.stat(base))
            finally:
                os.close(at)

    # -- looking

    def lookup(self, path: str) -> Entry | None:
        found = lstat_beneath(self.root, path)
        if found is None and self.base is not None and not self._is_gone(path):
            found = lstat_beneath(self.base, path)
        return None if found is None else Entry(path.rpartition("/")[2], found)

    def read_link(self, path: str) -> str:
        return read_link(self._place_of(path), path)

    def read_file(self, path: str, max_bytes: int) -> bytes | None:
        """A regular file's content, cut at `max_bytes`; None where there is none."""
        entry = self.lookup(path)
        if entry is None or not entry.is_file:
            return None
        parent, _, name = path.rpartition("/")
        at = open_directory(self._place_of(path), parent)
        try:
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at), "rb") as file:
                return file.read(max_bytes)
        finally:
            os.close(at)

    def _place_of(self, path: str) -> str:
        return self.root if self.base is None or lstat_beneath(self.root, path) is not None else self.base

    def _is_gone(self, path: str) -> bool:
        if not self._gone:
            return False
        parts = path.split("/")
        return any("/".join(parts[:depth]) in self._gone for depth in range(1, len(parts) + 1))

    # -- directories

    def open(self, path: str) -> int:
        """A descriptor of a directory in the upper, copied up if need be; the caller closes it."""
        if path not in self._in_upper:
            self._copy_up(path)
        return open_directory(self.root, path)

    def make_directories(self, path: str, owner: "Owner", mode: int = FRESH_MODE) -> None:
        """Make what is missing of `path`; raises InputError (code copy.not-a-directory)."""
        parts = path.split("/") if path else []
        for depth in range(1, len(parts) + 1):
            here = "/".join(parts[:depth])
            if here in self._in_upper:
                continue
            entry = self.lookup(here)
            if entry is None:
                self.make_directory(here, mode, owner, self.created_ns)
            elif not entry.is_directory:
                raise not_a_directory(here)

    def make_directory(self, path: str, mode: int, owner: "Owner", mtime_ns: int) -> None:
        """Make a directory that doesn't exist; its parent does."""
        parent, _, name = path.rpartition("/")
        above = self.open(parent)
        try:
            os.mkdir(name, 0o700, dir_fd=above)
            at = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        finally:
            os.close(above)
        try:
            if path in self._gone:
                os.setxattr(at, _OPAQUE, b"y")  # kernel: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"
            _set_owner_and_mode(at, owner, mode)
        finally:
            os.close(at)
        self._in_upper.add(path)
        self._fresh.add(path)
        self._times[path] = mtime_ns

    def change_directory(self, path: str, mode: int, owner: "Owner", mtime_ns: int) -> None:
        """Give a directory that exists new metadata."""
        at = self.open(path)
        try:
            _set_owner_and_mode(at, owner, mode)
        finally:
            os.close(at)
        self._times[path] = mtime_ns

    def set_time(self, path: str, mtime_ns: int) -> None:
        """Set the time of a directory that was made here."""
        self._times[path] = mtime_ns

    def begin(self) -> None:
        """From here on, is_new() means made from here on."""
        self._fresh = set()

    def is_new(self, path: str) -> bool:
        """Whether a directory was made since begin(), and so has nothing in it that the caller didn't put there."""
        return path in self._fresh

    def make_room(self, path: str) -> None:
        """See that a non-directory can be made at `path`: the upper has nothing there. Raises InputError (code copy.is-a-directory)."""
        found = lstat_beneath(self.root, path)
        if found is None:
            entry = self.lookup(path)
            if entry is not None and entry.is_directory:
                raise is_a_directory(path)
            return
        if modes.S_ISDIR(found.st_mode):
            raise is_a_directory(path)
        self._unlink(path)

    def remove(self, path: str) -> None:
        """Make whatever is at `path` disappear, to be replaced at once (no whiteout is left)."""
        found = lstat_beneath(self.root, path)
        if found is not None and modes.S_ISDIR(found.st_mode):
            from chandlery.linux.removal import remove_tree

            remove_tree(os.path.join(self.root, path))
            below = path + "/"
            self._in_upper = {kept for kept in self._in_upper if kept != path and not kept.startswith(below)}
            self._times = {kept: at for kept, at in self._times.items() if kept != path and not kept.startswith(below)}
        elif found is not None:
            self._unlink(path)
        below_it = None if self.base is None else lstat_beneath(self.base, path)
        if below_it is not None and modes.S_ISDIR(below_it.st_mode):
            self._gone.add(path)

    def _unlink(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        at = open_directory(self.root, parent)
        try:
            os.unlink(name, dir_fd=at)
        finally:
            os.close(at)

    def _copy_up(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        found = lstat_beneath(self.root, path)
        if found is None:
            if self.base is None or self._is_gone(path):
                raise FileNotFoundError(2, "no such directory in the image", path)
            below = lstat_beneath(self.base, path)
            if below is None or not modes.S_ISDIR(below.st_mode):
                raise not_a_directory(path)
            above = self.open(parent)
            try:
                os.mkdir(name, 0o700, dir_fd=above)
                at = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
            finally:
                os.close(above)
            try:
                self._copy_metadata(path, at, below)
            finally:
                os.close(at)
        self._in_upper.add(path)

    def _copy_metadata(self, path: str, at: int, found: os.stat_result) -> None:
        assert self.base is not None
        _set_owner_and_mode(at, (found.st_uid, found.st_gid), found.st_mode & 0o7777)
        below = open_directory(self.base, path)
        try:
            for name in xattr.names(below):
                data = None if name.startswith(xattr.OVERLAY_PREFIXES) else xattr.get(below, name)
                if data is not None:
                    xattr.set_value(at, name, data)
        finally:
            os.close(below)
        self._times[path] = found.st_mtime_ns

    def finish(self) -> None:
        """Set the times of the directories, now that nothing is made in them any more."""
        for path, mtime_ns in self._times.items():
            at = open_directory(self.root, path)
            try:
                os.utime(at, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(at)


def _set_owner_and_mode(at: int, owner: "Owner", mode: int) -> None:
    os.fchown(at, *owner)
    os.fchmod(at, mode)


def not_a_directory(path: str) -> InputError:
    return InputError(
        f"/{path} in the image is not a directory, and can't become one", code="copy.not-a-directory", hint="remove it in an earlier RUN, or copy elsewhere"
    )


def is_a_directory(path: str) -> InputError:
    hint = 'remove it in an earlier RUN, or write a target that ends in "/" to copy into it'
    return InputError(f"/{path} in the image is a directory, and can't be replaced by a file", code="copy.is-a-directory", hint=hint)

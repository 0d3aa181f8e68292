"""What we do to a step's file system around its run, taken back so that no layer shows it.

Directories that we touch are remembered with all their ancestors. Afterwards their times are put back unless the step changed them itself, and once the
root is unmounted those that overlayfs copied up only because of us are taken out of the upper: what is below shows again. Paths are
opened beneath their root each time, since the step may have put links in their place.
"""

import os
import stat

from chandlery.linux import paths, xattr
from chandlery.values import value

_OVERLAY_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


@value
class _Directory:
    """A directory that was there before: how it looked, and whether the upper had it."""

    root: str
    path: str
    before: os.stat_result
    attributes: tuple[tuple[str, bytes], ...]
    was_in_upper: bool


class Footprint:
    """Of one run of one step. Paths are relative, "" is the root itself. `upper` is the overlay's upper behind `rootfs`, "" without one."""

    def __init__(self, rootfs: str, upper: str = "") -> None:
        self._rootfs = rootfs
        self._upper = upper
        self._directories: dict[tuple[str, str], _Directory] = {}
        self._new: set[tuple[str, str]] = set()
        self._times_set: dict[tuple[str, str], int] = {}
        self._files: set[str] = set()

    def approach(self, root: str, directory: str) -> None:
        """We are about to change `directory`: remember it and its ancestors (what we made ourselves is nothing to put back)."""
        parts = directory.split("/") if directory else []
        for depth in range(len(parts) + 1):
            path = "/".join(parts[:depth])
            if (root, path) in self._directories or (root, path) in self._new:
                continue
            is_there = bool(self._upper) and os.path.lexists(os.path.join(self._upper, path))
            self._directories[root, path] = _Directory(root, path, stat_at(root, path), _attributes(root, path), was_in_upper=is_there)

    def made(self, root: str, path: str) -> None:
        """We made the directory `path`."""
        self._new.add((root, path))

    def put_back(self, path: str) -> None:
        """The file `path` of the root has again what it had before us; if the upper has it, it's only because of us."""
        if self._upper:
            self._files.add(path)

    def settle(self) -> None:
        """All is in place and the step is about to run."""
        self._times_set = {key: stat_at(*key).st_mtime_ns for key in self._directories}

    def unchanged(self) -> "list[tuple[str, str]]":
        """The directories that the step didn't change; ask before taking away what we put there."""
        return [key for key, set_ns in self._times_set.items() if (found := stat_or_none(*key)) is not None and found.st_mtime_ns == set_ns]

    def restore_times(self, keys: "list[tuple[str, str]]") -> None:
        for key in keys:
            before = self._directories[key].before
            fd = open_directory(*key)
            try:
                os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
            finally:
                os.close(fd)

    def clean_upper(self) -> None:
        """Take out of the upper what is there only because of us. Call it when the root is unmounted."""
        if not self._upper:
            return
        for path in self._files:
            _drop_file(self._upper, path)
        ours = [directory for directory in self._directories.values() if directory.root == self._rootfs and not directory.was_in_upper]
        for directory in sorted(ours, key=lambda directory: directory.path.count("/"), reverse=True):
            _drop_directory(self._upper, directory)


def open_at(root: str, path: str, flags: int) -> int:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return paths.open_beneath(root_fd, path, flags)
    finally:
        os.close(root_fd)


def open_directory(root: str, path: str) -> int:
    return open_at(root, path, os.O_RDONLY | os.O_DIRECTORY)


def stat_at(root: str, path: str) -> os.stat_result:
    fd = open_at(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.stat(fd)
    finally:
        os.close(fd)


def stat_or_none(root: str, path: str) -> os.stat_result | None:
    try:
        return stat_at(root, path)
    except OSError:
        return None


def read_link(root: str, path: str) -> str:
    fd = open_at(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def _attributes(root: str, path: str) -> tuple[tuple[str, bytes], ...]:
    fd = open_directory(root, path)
    try:
        return tuple(xattr.layer_attributes(fd).items())
    finally:
        os.close(fd)


def _drop_file(upper: str, path: str) -> None:
    parent, _, name = path.rpartition("/")
    try:
        parent_fd = open_directory(upper, parent)
    except OSError:
        return
    try:
        times = os.stat(parent_fd)
        os.unlink(name, dir_fd=parent_fd)
        os.utime(parent_fd, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError:
        return
    finally:
        os.close(parent_fd)


def _drop_directory(upper: str, directory: _Directory) -> None:
    """Remove `directory` from the upper if it is an empty copy of what is below, which then shows again."""
    parent, _, name = directory.path.rpartition("/")
    if not name:
        return
    try:
        parent_fd = open_directory(upper, parent)
    except OSError:
        return
    try:
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode) or not _looks_same(found, directory.before):
            return
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            if tuple(xattr.layer_attributes(fd).items()) != directory.attributes or any(xattr.get(fd, key) for key in _OVERLAY_OPAQUE):
                return
        finally:
            os.close(fd)
        times = os.stat(parent_fd)
        os.rmdir(name, dir_fd=parent_fd)
        os.utime(parent_fd, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError:
        return  # the step put something into it: it is the step's now
    finally:
        os.close(parent_fd)


def _looks_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns) == (other.st_mode, other.st_uid, other.st_gid, other.st_mtime_ns)

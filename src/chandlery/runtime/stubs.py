"""Mount points that a step needs and its file system lacks: made before it runs, and gone from its layer afterwards.

What is mounted somewhere needs a file or directory there. One that we made is removed again when the step left it as it was, and its
parent's times are put back unless the step changed the parent itself. A directory that overlayfs copied up only because of us is taken
out of the upper too. Mount points inside another mount of the step (a secret in a cache volume) are made in what is mounted there.
Paths are resolved as the step would, never out of its root.
"""

import os
import stat

from chandlery.errors import MachineError
from chandlery.linux import paths, xattr
from chandlery.runtime.bundle import RUNTIME_TARGETS
from chandlery.runtime.process import RuntimeMount
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_LINKS = 40
_OVERLAY_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


@value
class _Made:
    """An entry that we made: `parent` and `name` below `root`, and what identifies it."""

    root: str
    parent: str
    name: str
    inode: int
    is_directory: bool


@value
class _Directory:
    """A directory that was there before: how it looked, how it looked right after we made something in it, and whether the upper had it."""

    root: str
    path: str
    before: os.stat_result
    attributes: tuple[tuple[str, bytes], ...]
    was_in_upper: bool


class MountStubs:
    """The mount points of one run of one step. `mounts` are the step's, with the targets that its links lead to."""

    def __init__(self, rootfs: str, mounts: "Sequence[RuntimeMount]", *, upper: str = "") -> None:
        """Make what is missing. `upper` is the overlay's upper behind `rootfs`, if there is one."""
        self._rootfs = rootfs
        self._upper = upper
        self._made: list[_Made] = []
        self._directories: dict[tuple[str, str], _Directory] = {}
        self._times_after: dict[tuple[str, str], int] = {}
        for target in RUNTIME_TARGETS:
            self._make(rootfs, target, is_directory=True)
        placed: list[RuntimeMount] = []
        for mount in mounts:
            placed.append(self._place(mount, placed))
        self.mounts = tuple(placed)
        for key, directory in self._directories.items():
            self._times_after[key] = _stat(directory.root, directory.path).st_mtime_ns

    def remove(self) -> None:
        """Take away what we made and the step left alone. Call it when the step has ended, while its root is still mounted."""
        untouched = [key for key, directory in self._directories.items() if self._has_our_times(key, directory)]
        for made in reversed(self._made):
            _remove_made(made)
        for key in untouched:
            directory = self._directories[key]
            _restore_times(directory.root, directory.path, directory.before)

    def clean_upper(self) -> None:
        """Take directories out of the upper that are there only because we made something in them. Call it when the root is unmounted."""
        if not self._upper:
            return
        ours = [directory for directory in self._directories.values() if directory.root == self._rootfs and not directory.was_in_upper]
        for directory in sorted(ours, key=lambda directory: directory.path.count("/"), reverse=True):
            _drop_copied_up(self._upper, directory)

    def _place(self, mount: RuntimeMount, earlier: "Sequence[RuntimeMount]") -> RuntimeMount:
        """Make the mount's point, in the root or in the earlier mount that covers it."""
        is_directory = mount.kind == "tmpfs" or os.path.isdir(mount.source)
        target = os.path.normpath(mount.target)
        if _is_within(target, RUNTIME_TARGETS):
            return mount
        covering = [other for other in earlier if _is_within(target, (other.target,))]
        if not covering:
            return replace(mount, target=self._make(self._rootfs, target, is_directory=is_directory))
        cover = max(covering, key=lambda other: len(other.target))
        if cover.kind == "bind" and os.path.isdir(cover.source):
            inner = self._make(cover.source, "/" + os.path.relpath(target, cover.target), is_directory=is_directory)
            return replace(mount, target=os.path.normpath(cover.target + inner))
        return mount

    def _make(self, root: str, target: str, *, is_directory: bool) -> str:
        """Make `target` below `root` and its missing parents; where it really is, after its links."""
        try:
            return self._walk(root, target, is_directory=is_directory)
        except OSError as error:
            raise MachineError(
                f"can't make a mount point at {target}: {error.strerror}", code="machine.mount-point", hint="is the path below it a directory?"
            ) from error

    def _walk(self, root: str, target: str, *, is_directory: bool) -> str:
        pending = [part for part in reversed(target.split("/")) if part not in ("", ".")]
        here: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                here = here[:-1]
                continue
            path = "/".join([*here, part])
            found = _stat_or_none(root, path)
            if found is None:
                self._remember_ancestors(root, here)
                self._create(root, "/".join(here), part, is_directory=bool(pending) or is_directory)
            elif stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(40, os.strerror(40), path)
                text = _read_link(root, path)
                here = [] if text.startswith("/") else here
                pending += [piece for piece in reversed(text.split("/")) if piece not in ("", ".")]
                continue
            here.append(part)
        return "/" + "/".join(here)

    def _remember_ancestors(self, root: str, here: list[str]) -> None:
        for depth in range(len(here) + 1):
            path = "/".join(here[:depth])
            if (root, path) in self._directories or any(made.root == root and _join(made.parent, made.name) == path for made in self._made):
                continue
            attributes = _attributes(root, path)
            is_there = bool(self._upper) and os.path.lexists(os.path.join(self._upper, path))
            self._directories[root, path] = _Directory(root, path, _stat(root, path), attributes, was_in_upper=is_there)

    def _create(self, root: str, parent: str, name: str, *, is_directory: bool) -> None:
        fd = _open_directory(root, parent)
        try:
            if is_directory:
                os.mkdir(name, 0o755, dir_fd=fd)
                os.chmod(name, 0o755, dir_fd=fd)
            else:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=fd))
            inode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_ino
        finally:
            os.close(fd)
        self._made.append(_Made(root, parent, name, inode, is_directory))

    def _has_our_times(self, key: tuple[str, str], directory: _Directory) -> bool:
        found = _stat_or_none(directory.root, directory.path)
        return found is not None and found.st_mtime_ns == self._times_after[key]


def _is_within(target: str, places: "Sequence[str]") -> bool:
    """Of names alone, both normalised: which mount of ours covers which, no question of containment."""
    return any(target == place or target.startswith(place.rstrip("/") + "/") for place in places)


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _open(root: str, path: str, flags: int) -> int:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return paths.open_beneath(root_fd, path, flags)
    finally:
        os.close(root_fd)


def _open_directory(root: str, path: str) -> int:
    return _open(root, path, os.O_RDONLY | os.O_DIRECTORY)


def _stat(root: str, path: str) -> os.stat_result:
    fd = _open(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.stat(fd)
    finally:
        os.close(fd)


def _stat_or_none(root: str, path: str) -> os.stat_result | None:
    try:
        return _stat(root, path)
    except OSError:
        return None


def _read_link(root: str, path: str) -> str:
    fd = _open(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def _attributes(root: str, path: str) -> tuple[tuple[str, bytes], ...]:
    fd = _open_directory(root, path)
    try:
        return tuple(xattr.layer_attributes(fd).items())
    finally:
        os.close(fd)


def _remove_made(made: _Made) -> None:
    """Unless the step replaced it or put something into it."""
    try:
        fd = _open_directory(made.root, made.parent)
    except OSError:
        return  # the step removed it, or made a link of it
    try:
        found = os.stat(made.name, dir_fd=fd, follow_symlinks=False)
        if found.st_ino != made.inode:
            return
        if made.is_directory and stat.S_ISDIR(found.st_mode):
            os.rmdir(made.name, dir_fd=fd)
        elif stat.S_ISREG(found.st_mode) and found.st_size == 0:
            os.unlink(made.name, dir_fd=fd)
    except OSError:
        return  # it isn't empty, or it is gone
    finally:
        os.close(fd)


def _restore_times(root: str, path: str, before: os.stat_result) -> None:
    fd = _open_directory(root, path)
    try:
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)


def _drop_copied_up(upper: str, directory: _Directory) -> None:
    """Remove `directory` from the upper if it is an empty copy of what is below, which then shows again."""
    parent, _, name = directory.path.rpartition("/")
    if not name:
        return
    try:
        parent_fd = _open_directory(upper, parent)
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

"""Copy the files of many directories: the loop that a COPY of 20,000 files spends its time in.

A group is one source directory, one directory of the upper, and entries for it. A file that an earlier snapshot holds unchanged (manifest.py) is linked
from there, and a large one of another stage from that stage's layer; neither is touched afterwards. The others are made, written, and given owner, mode
and times by descriptor. Files are bound by system calls between which Python holds its lock, so children (linux/children.py) take a share of the groups;
what a child didn't finish is done again here, and so raises the error. A context's file must look as it did when it was digested, before and after.
"""

import errno
import os
import stat as modes

from chandlery.errors import ContextError, InputError
from chandlery.linux import children, xattr
from chandlery.snapshot.tree import Entry, join, open_directory
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap
    from typing import Any

    from chandlery.worker.manifest import Manifest
    from chandlery.worker.owner import Owner

MANY_FILES = 1_500
MANY_BYTES = 128 << 20
_FILE_COST = 64 << 10  # making a file takes as long as copying this many bytes
_WORTH_A_LINK = 1 << 20  # finding a file's layer takes as long as copying a fraction of this many bytes
_BUFFER = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CANT_LINK = frozenset({errno.EMLINK, errno.EXDEV, errno.ENOENT, errno.EPERM, errno.EEXIST})
_NO_RANGE = frozenset({errno.EXDEV, errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF})


@value
class Options:
    """`owner` and `mode` as --chown and --chmod said, None to keep the source's. `is_context`: files may change while they are copied. `layers` are what
    the source is a view of, bottom first."""

    owner: "Owner | None" = None
    mode: int | None = None
    is_context: bool = False
    keeps_all_xattrs: bool = True
    layers: tuple[str, ...] = ()


class Group:
    """Entries to copy from one directory into one; `names` gives an entry another name."""

    __slots__ = ("entries", "name", "source", "target")

    def __init__(self, source: str, target: str, entries: "list[Entry]", name: str = "") -> None:
        self.source = source
        self.target = target
        self.entries = entries
        self.name = name  # of the only entry, where it gets another name; else ""

    def encode(self) -> "tuple[str, str, str, list[tuple[Any, ...]]]":
        return self.source, self.target, self.name, [tuple(getattr(entry, name) for name in Entry.__slots__) for entry in self.entries]


def copy_share(jobs: "tuple[tuple[Any, ...], list[tuple[int, tuple[Any, ...]]]]", done: "mmap", is_orphan: "Callable[[], bool]") -> None:
    """What a child does: copy its groups, and mark each that is done."""
    from chandlery.worker import manifest

    (source_root, target_root, owner, mode, is_context, keeps_all_xattrs, layers, previous), groups = jobs
    options = Options(owner, mode, is_context, keeps_all_xattrs, layers)
    copier = Copier(source_root, target_root, options, previous, manifest.read(previous) if previous else manifest.Manifest())
    for at, (source, target, name, entries) in groups:
        if is_orphan():
            return
        copier.copy_group(Group(source, target, [_decode(fields) for fields in entries], name))
        done[at] = 1


def _decode(fields: "tuple[Any, ...]") -> Entry:
    entry = Entry.__new__(Entry)
    for name, content in zip(Entry.__slots__, fields, strict=True):
        setattr(entry, name, content)
    return entry


class Copier:
    """Copies groups from below `source_root` to below `target_root`; `previous` is an earlier snapshot's directory, `manifest` what it holds."""

    def __init__(self, source_root: str, target_root: str, options: Options, previous: str, manifest: "Manifest") -> None:
        self.source_root = source_root
        self.target_root = target_root
        self.options = options
        self.previous = previous
        self.manifest = manifest
        self._buffer = bytearray(_BUFFER)
        self._ids = (os.geteuid(), os.getegid())
        self._umask = current_umask()

    def copy(self, groups: list[Group]) -> None:
        """Copy everything; the targets' directories exist and have nothing of these names. Raises ContextError, InputError, OSError."""
        count = sum(len(group.entries) for group in groups)
        cost = sum(_cost(group) for group in groups)
        helpers = children.available() if count >= MANY_FILES or cost >= MANY_BYTES else 0
        if helpers < 1:
            for group in groups:
                self.copy_group(group)
        else:
            self._copy_shared(groups, cost / (helpers + 1), helpers)

    def _copy_shared(self, groups: list[Group], share: float, helpers: int) -> None:
        shares: list[list[int]] = [[] for _ in range(helpers + 1)]
        spent = 0.0
        for at, group in enumerate(groups):
            shares[min(int(spent / share), helpers)].append(at)
            spent += _cost(group)
        with children.Children(len(groups)) as others:
            for mine in shares[1:]:
                if mine:
                    others.start(__name__, "copy_share", (self._settings(), [(at, groups[at].encode()) for at in mine]))
            for at in shares[0]:
                self.copy_group(groups[at])
                others.done[at] = 1
            others.wait()
            for at, group in enumerate(groups):
                if not others.done[at]:
                    self._remove_partial(group)
                    self.copy_group(group)

    def _settings(self) -> "tuple[Any, ...]":
        options = self.options
        previous = self.previous if self.manifest else ""
        fields = (options.owner, options.mode, options.is_context, options.keeps_all_xattrs, options.layers)
        return self.source_root, self.target_root, *fields, previous

    def _remove_partial(self, group: Group) -> None:
        at = open_directory(self.target_root, group.target)
        try:
            for entry in group.entries:
                try:
                    os.unlink(group.name or entry.name, dir_fd=at)
                except FileNotFoundError:
                    pass
        finally:
            os.close(at)

    def copy_group(self, group: Group) -> None:
        known = self.manifest.directory(group.target) if self.manifest and self.options.is_context else {}
        source = open_directory(self.source_root, group.source)
        target = open_directory(self.target_root, group.target)
        before = -1
        try:
            if known:
                try:
                    before = open_directory(self.previous, group.target)
                except OSError:
                    known = {}
            for entry in group.entries:
                name = group.name or entry.name
                if name in known and known[name] == self.line(entry) and self._link(name, before, name, target):
                    continue
                if self.options.layers and self._link_from_layer(group, entry, name, target):
                    continue
                self._copy_entry(group, entry, name, source, target)
        finally:
            for at in (source, target, before):
                if at >= 0:
                    os.close(at)

    def line(self, entry: "Entry") -> "tuple[bytes, int, int, int, int, int] | None":
        """The manifest's line for an entry as it is copied; None if it can't have one."""
        if not entry.sha256 or entry.has_xattrs or not entry.is_file:
            return None
        return (entry.sha256, self.mode_of(entry), *self.owner_of(entry), entry.mtime_ns, entry.size)

    def owner_of(self, entry: "Entry") -> "Owner":
        return self.options.owner or (entry.uid, entry.gid)

    def mode_of(self, entry: "Entry") -> int:
        return with_mode(entry.mode, self.options.mode)

    @staticmethod
    def _link(old: str, before: int, name: str, target: int) -> bool:
        try:
            os.link(old, name, src_dir_fd=before, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            if error.errno in _CANT_LINK:
                return False
            raise
        return True

    def _link_from_layer(self, group: Group, entry: "Entry", name: str, target: int) -> bool:
        """Only a file that the copy leaves as it is: mode, owner and times are the inode's, and attributes may be overlayfs's."""
        if not entry.is_file or entry.size < _WORTH_A_LINK:
            return False
        if self.owner_of(entry) != (entry.uid, entry.gid) or self.mode_of(entry) != modes.S_IMODE(entry.mode):
            return False
        from chandlery.worker import layer_files

        parent = layer_files.open_parent(self.options.layers, group.source, entry.name)
        if parent < 0:
            return False
        try:
            file = os.open(entry.name, _READ, dir_fd=parent)
            try:
                is_the_same = _looks_alike(os.fstat(file), entry) and not xattr.names(file)
            finally:
                os.close(file)
            return is_the_same and self._link(entry.name, parent, name, target)
        finally:
            os.close(parent)

    def _copy_entry(self, group: Group, entry: "Entry", name: str, source: int, target: int) -> None:
        kind = modes.S_IFMT(entry.mode)
        if kind == modes.S_IFREG:
            try:
                file = os.open(entry.name, _READ, dir_fd=source)
            except OSError as error:
                if self.options.is_context and error.errno in (errno.ENOENT, errno.ELOOP):
                    raise changed(join(group.source, entry.name)) from error
                raise
            try:
                self._copy_file(file, entry, name, group, target)
            finally:
                os.close(file)
        elif kind == modes.S_IFLNK:
            if self.options.is_context and not _is_same(os.stat(entry.name, dir_fd=source, follow_symlinks=False), entry):
                raise changed(join(group.source, entry.name))
            os.symlink(os.readlink(entry.name, dir_fd=source), name, dir_fd=target)
            os.chown(name, *self.owner_of(entry), dir_fd=target, follow_symlinks=False)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=target, follow_symlinks=False)
        elif kind == modes.S_IFSOCK:
            return  # as in BuildKit: a socket means nothing without its process
        else:
            self._make_node(entry, name, source, target)

    def _make_node(self, entry: "Entry", name: str, source: int, target: int) -> None:
        rdev = os.stat(entry.name, dir_fd=source, follow_symlinks=False).st_rdev
        if modes.S_ISCHR(entry.mode) and rdev == 0:
            raise InputError(f"{name} is the device 0:0, which a layer can't hold", code="copy.unsupported-file", hint="exclude it from the copy")
        os.mknod(name, modes.S_IFMT(entry.mode) | 0o600, rdev, dir_fd=target)
        os.chown(name, *self.owner_of(entry), dir_fd=target, follow_symlinks=False)
        os.chmod(name, self.mode_of(entry), dir_fd=target)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=target, follow_symlinks=False)

    def _copy_file(self, file: int, entry: "Entry", name: str, group: Group, target: int) -> None:
        is_checked = self.options.is_context
        if is_checked and not _is_same(os.fstat(file), entry):
            raise changed(join(group.source, entry.name))
        mode = self.mode_of(entry)
        made = os.open(name, _MAKE, mode & 0o777, dir_fd=target)
        try:
            if entry.size:
                self._copy_bytes(file, made, entry.size)
            owner = self.owner_of(entry)
            if owner != self._ids:
                os.fchown(made, *owner)
            if entry.has_xattrs:
                copy_xattrs(file, made, all_of_them=self.options.keeps_all_xattrs)
            if mode & (self._umask | 0o7000):
                os.fchmod(made, mode)
            os.utime(made, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(made)
        if is_checked and not _is_same(os.fstat(file), entry):
            raise changed(join(group.source, entry.name))

    def _copy_bytes(self, file: int, made: int, size: int) -> None:
        if size <= _BUFFER:
            read = os.readv(file, [self._buffer])
            if read:
                written = os.write(made, memoryview(self._buffer)[:read])
                if written < read:
                    _write_all(made, memoryview(self._buffer)[written:read])
            if read < _BUFFER:
                return
        while True:
            try:
                if not os.copy_file_range(file, made, 1 << 30):
                    return
            except OSError as error:
                if error.errno not in _NO_RANGE:
                    raise
                break
        while read := os.readv(file, [self._buffer]):
            _write_all(made, memoryview(self._buffer)[:read])


def with_mode(mode: int, wanted: int | None) -> int:
    """Permission bits after --chmod, which replaces all of them, as in the newest BuildKit (fsutil's copyFileInfo)."""
    return mode & 0o7777 if wanted is None else wanted


def copy_xattrs(source: int, target: int, *, all_of_them: bool) -> None:
    """Copy attributes between two open files, as far as the target takes them."""
    for name in xattr.names(source):
        if all_of_them and name.startswith((*xattr.OVERLAY_PREFIXES, "security.selinux")):
            continue
        if not all_of_them and not xattr.may_enter_layer(name):
            continue
        data = xattr.get(source, name)
        try:
            if data is not None:
                xattr.set_value(target, name, data)
        except OSError:
            continue  # as BuildKit does: an attribute that this file system refuses is left out


def current_umask() -> int:
    """The process's umask, read without setting it: that would be a race with other threads."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o777  # unknown: every mode is set again


def changed(path: str) -> ContextError:
    return ContextError(
        f"{path} changed while the build read it", code="context.changed", hint="build again when nothing writes to the context, or exclude it in .dockerignore"
    )


def _write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _is_same(found: os.stat_result, entry: "Entry") -> bool:
    return (
        found.st_ino == entry.ino and found.st_size == entry.size and found.st_mtime_ns == entry.mtime_ns
        and found.st_ctime_ns == entry.ctime_ns and found.st_dev == entry.dev
    )  # fmt: skip


def _looks_alike(found: os.stat_result, entry: "Entry") -> bool:
    """The same file through a view and in its layer, where inode numbers and devices differ."""
    return (found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns) == (entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns)


def _cost(group: Group) -> int:
    return sum(entry.size + _FILE_COST for entry in group.entries)

"""Placing archive members beneath one directory, whatever they claim.

What must stay true: nothing outside of the root is created, changed, linked to or removed. Names are split here and opened one component
at a time without following links; a parent that is a link is resolved by the kernel inside the root (linux.paths.open_in_root). A hard
link's target is opened the same way. Overlay's own attributes and whiteout devices never come from an archive's members.

A later member replaces an earlier one; a directory keeps what is in it. Directories get their modes and times at the end, when
everything is in them.
"""

import errno
import os
import re
import stat
from enum import StrEnum

from chandlery.errors import LyingRegistry, MachineError
from chandlery.layer import whiteout
from chandlery.layer.tar_header import MAX_PATH
from chandlery.layer.tar_reader import Entry, TarReader, malformed
from chandlery.linux import paths, xattr
from chandlery.linux.id_map import IdMap
from chandlery.linux.removal import remove_beneath

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN = 64
# an empty, "." or ".." component
_ODD = re.compile(rb"(?:^|/)\.{0,2}(?:/|$)")


class Whiteouts(StrEnum):
    """What members named .wh.* are: a layer's deletions, written as an overlay's whiteouts, or an archive's files like any other."""

    OVERLAY = "overlay"
    LITERAL = "literal"


class Extractor:
    """Places members below `root_fd`. `finish` after the last, `close` always."""

    def __init__(self, root_fd: int, *, whiteouts: Whiteouts, id_map: IdMap) -> None:
        self._root_fd = root_fd
        self._whiteouts = whiteouts
        self._id_map = id_map
        self._dirs: dict[bytes, tuple[int, bool]] = {}
        # directories to finish, with their inode numbers: the name may mean something else by then
        self._late: dict[bytes, tuple[Entry, int]] = {}
        self._umask = _umask()
        self._me = (os.geteuid(), os.getegid())
        self.xattrs_dropped = 0

    def place(self, entry: Entry, reader: TarReader) -> None:
        """Place one member. Raises LyingRegistry layer.hostile, layer.malformed, layer.missing-link-target."""
        path = self._clean(entry.path)
        parent, _, name = path.rpartition(b"/")
        if self._whiteouts is Whiteouts.OVERLAY and b".wh." in path:
            if name.startswith(whiteout.PREFIX):
                self._whiteout(path, parent, name)
                return
            if b"/.wh." in b"/" + parent:
                raise _hostile(entry.path, "it lies below a whiteout")
        if not path:
            self._place_root(path, entry)
            return
        kind = entry.kind
        dir_fd, inherits_group = self._directory_fd(parent)
        if kind == b"0":
            self._file(dir_fd, path, name, entry, reader, inherits_group)
        elif kind == b"5":
            self._directory(dir_fd, path, name, entry)
        elif kind == b"1":
            self._hard_link(dir_fd, path, name, entry)
        else:
            self._special(dir_fd, path, name, entry, inherits_group)

    def finish(self) -> None:
        """Give directories their owners, modes, attributes and times."""
        for path in reversed(self._late):
            entry, inode = self._late[path]
            try:
                fd, _ = self._directory_fd(path, make=False)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later member replaced it
            if os.fstat(fd).st_ino == inode:
                self._dress(fd, entry, made_with=-1, chown=True)

    def close(self) -> None:
        while self._dirs:
            os.close(self._dirs.popitem()[1][0])

    # names

    def _clean(self, raw: bytes) -> bytes:
        """A member's name as a path below the root; ".." may not climb above it."""
        path = raw.strip(b"/")
        if _ODD.search(path):
            parts: list[bytes] = []
            for part in path.split(b"/"):
                if part == b"..":
                    if not parts:
                        raise _hostile(raw, "it leads out of the archive's root")
                    parts.pop()
                elif part not in (b"", b"."):
                    parts.append(part)
            path = b"/".join(parts)
        if len(path) > MAX_PATH:
            raise _hostile(raw, f"it is {len(path)} bytes long and nothing could open it")
        return path

    def _directory_fd(self, path: bytes, *, make: bool = True) -> tuple[int, bool]:
        """A descriptor of a directory below the root and whether files in it inherit its group; cached, valid until the next call."""
        found = self._dirs.get(path)
        if found is not None:
            return found
        base = path
        while base and base not in self._dirs:
            base = base.rpartition(b"/")[0]
        rest = path[len(base) :].strip(b"/")
        fd = self._dirs[base][0] if base in self._dirs else -1
        if fd < 0:
            fd = self._remember(b"", os.open(".", paths.DIRECTORY, dir_fd=self._root_fd))[0]
        done = base
        for name in rest.split(b"/") if rest else ():
            done = done + b"/" + name if done else name
            fd = self._remember(done, self._enter(fd, done, name, make))[0]
        return self._dirs[path]

    def _remember(self, path: bytes, fd: int) -> tuple[int, bool]:
        if len(self._dirs) >= _MAX_OPEN:
            oldest = next(iter(self._dirs))
            os.close(self._dirs.pop(oldest)[0])
        self._dirs[path] = found = (fd, bool(os.fstat(fd).st_mode & stat.S_ISGID))
        return found

    def _enter(self, parent_fd: int, path: bytes, name: bytes, make: bool) -> int:
        try:
            return os.open(name, paths.DIRECTORY_NOFOLLOW, dir_fd=parent_fd)
        except FileNotFoundError:
            if not make:
                raise
            self._make_parent(parent_fd, name)
        except NotADirectoryError:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                return self._through_link(path)
            if not make:
                raise
            if self._whiteouts is not Whiteouts.OVERLAY or not whiteout.is_device(status):
                raise malformed(f"{_shown(path)} is a file and has members below it") from None
            os.unlink(name, dir_fd=parent_fd)
            self._make_parent(parent_fd, name)
            fd = os.open(name, paths.DIRECTORY_NOFOLLOW, dir_fd=parent_fd)
            whiteout.make_opaque(fd)
            return fd
        return os.open(name, paths.DIRECTORY_NOFOLLOW, dir_fd=parent_fd)

    def _make_parent(self, parent_fd: int, name: bytes) -> None:
        """A directory that the archive implies but doesn't describe: root's, mode 0755."""
        os.mkdir(name, 0o755, dir_fd=parent_fd)
        if 0o755 & self._umask:
            os.chmod(name, 0o755, dir_fd=parent_fd)
        owner = self._id_map.to_host(0, 0)
        if owner != self._me:
            os.chown(name, *owner, dir_fd=parent_fd, follow_symlinks=False)

    def _through_link(self, path: bytes) -> int:
        """A parent that is a link, as inside a chroot: it can name another directory of this tree and nothing else."""
        try:
            return paths.open_in_root(self._root_fd, path, paths.DIRECTORY)
        except OSError as refused:
            if refused.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            raise _hostile(path, "its parent is a link that leads nowhere in this tree") from None

    def _forget(self, path: bytes) -> None:
        """Close cached descriptors of a directory that goes away, and of all below it."""
        below = path + b"/"
        for gone in [known for known in self._dirs if known == path or known.startswith(below)]:
            os.close(self._dirs.pop(gone)[0])

    def _clear(self, dir_fd: int, path: bytes, name: bytes) -> None:
        """Remove what is in a new member's place."""
        self._forget(path)
        remove_beneath(dir_fd, name)

    # members

    def _file(self, dir_fd: int, path: bytes, name: bytes, entry: Entry, reader: TarReader, inherits_group: bool) -> None:
        mode = entry.mode & 0o777
        try:
            fd = os.open(name, _CREATE, mode, dir_fd=dir_fd)
        except FileExistsError:
            self._clear(dir_fd, path, name)
            fd = os.open(name, _CREATE, mode, dir_fd=dir_fd)
        try:
            reader.copy_to(fd, entry.size)
            self._dress(fd, entry, made_with=mode & ~self._umask, chown=inherits_group)
        finally:
            os.close(fd)

    def _directory(self, dir_fd: int, path: bytes, name: bytes, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=dir_fd)
        except FileExistsError:
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._clear(dir_fd, path, name)
                os.mkdir(name, 0o700, dir_fd=dir_fd)
                if self._whiteouts is Whiteouts.OVERLAY and whiteout.is_device(status):
                    # the name was deleted and made anew: what lower layers have in it stays hidden
                    whiteout.make_opaque(self._directory_fd(path)[0])
                    dir_fd = self._directory_fd(path.rpartition(b"/")[0])[0]
        self._late[path] = (entry, os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino)

    def _place_root(self, path: bytes, entry: Entry) -> None:
        if entry.kind != b"5":
            raise _hostile(entry.path, "it would replace the root")
        self._late[path] = (entry, os.fstat(self._directory_fd(path)[0]).st_ino)

    def _hard_link(self, dir_fd: int, path: bytes, name: bytes, entry: Entry) -> None:
        target = self._clean(entry.link)
        if target == path:
            return
        parent, _, target_name = target.rpartition(b"/")
        try:
            # a descriptor of its own: looking up the target's parent may close the cached one
            dir_fd = os.dup(dir_fd)
            try:
                target_fd, _ = self._directory_fd(parent, make=False)
                self._link(target_fd, target_name, dir_fd, path, name)
            finally:
                os.close(dir_fd)
        except (FileNotFoundError, NotADirectoryError):
            raise LyingRegistry(
                f"{_shown(path)} is a hard link to {_shown(target)}, which the archive doesn't have",
                code="layer.missing-link-target",
                hint="make the archive again with the link's target in it",
            ) from None
        except PermissionError:
            raise malformed(f"{_shown(path)} is a hard link to a directory") from None

    def _link(self, target_fd: int, target_name: bytes, dir_fd: int, path: bytes, name: bytes) -> None:
        status = os.stat(target_name, dir_fd=target_fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            raise PermissionError(errno.EPERM, "a hard link to a directory")
        try:
            os.link(target_name, name, src_dir_fd=target_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
        except FileExistsError:
            here = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            if (here.st_dev, here.st_ino) == (status.st_dev, status.st_ino):
                return
            # removing what is here could remove the target too; then the link fails and says so
            self._clear(dir_fd, path, name)
            os.link(target_name, name, src_dir_fd=target_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    def _special(self, dir_fd: int, path: bytes, name: bytes, entry: Entry, inherits_group: bool) -> None:
        """Links, devices and pipes: nothing that can be opened, so everything is set by name, right after it was made."""
        for attempt in (1, 2):
            try:
                self._make_special(dir_fd, name, entry)
                break
            except FileExistsError:
                if attempt == 2:
                    raise
                self._clear(dir_fd, path, name)
        owner = self._owner_of(entry)
        if inherits_group or owner != self._me:
            os.chown(name, *owner, dir_fd=dir_fd, follow_symlinks=False)
        if entry.kind != b"2":
            os.chmod(name, entry.mode, dir_fd=dir_fd)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=dir_fd, follow_symlinks=False)

    def _make_special(self, dir_fd: int, name: bytes, entry: Entry) -> None:
        if entry.kind == b"2":
            if not entry.link:
                raise malformed(f"{_shown(entry.path)} is a link to nothing")
            os.symlink(entry.link, name, dir_fd=dir_fd)
        elif entry.kind == b"6":
            os.mkfifo(name, entry.mode & 0o777, dir_fd=dir_fd)
        else:
            major, minor = entry.device
            if entry.kind == b"3" and major == minor == 0:
                raise _hostile(entry.path, "device 0:0 is overlayfs' own mark for a deletion")
            if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
                raise malformed(f"device {major}:{minor}")
            kind = stat.S_IFCHR if entry.kind == b"3" else stat.S_IFBLK
            try:
                os.mknod(name, kind | entry.mode & 0o777, os.makedev(major, minor), dir_fd=dir_fd)
            except PermissionError:
                raise MachineError(
                    f"{_shown(entry.path)} is a device file, which this user may not make",
                    code="layer.device",
                    hint="run as root, or in a container with the capability MKNOD",
                ) from None

    def _owner_of(self, entry: Entry) -> tuple[int, int]:
        return self._id_map.to_host(entry.uid, entry.gid)

    def _dress(self, fd: int, entry: Entry, *, made_with: int, chown: bool) -> None:
        """Owner, mode, attributes, times, in this order: chown(2) clears set-uid bits and capabilities."""
        owner = self._owner_of(entry)
        if chown or owner != self._me:
            os.fchown(fd, *owner)
        if entry.mode != made_with:
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self._set_xattrs(fd, entry.xattrs)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _set_xattrs(self, fd: int, xattrs: dict[str, bytes]) -> None:
        for name, text in xattrs.items():
            if not xattr.may_enter_layer(name):
                self.xattrs_dropped += 1
                continue
            try:
                xattr.set_value(fd, name, text)
            except OSError as refused:
                # as Docker does: a file system without attributes, or user.* where the kernel allows none, is no reason to have no image
                if refused.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise malformed(f"the attribute {name}: {refused.strerror}") from None
                self.xattrs_dropped += 1

    # whiteouts

    def _whiteout(self, path: bytes, parent: bytes, name: bytes) -> None:
        if b"/.wh." in b"/" + parent:
            raise _hostile(path, "it lies below a whiteout")
        if name == whiteout.OPAQUE_NAME:
            whiteout.make_opaque(self._directory_fd(parent)[0])
            return
        if name.startswith(whiteout.AUFS_PREFIX):
            return
        gone = name[len(whiteout.PREFIX) :]
        if gone in (b"", b".", b".."):
            raise _hostile(path, "it would delete a directory through its own name")
        dir_fd, _ = self._directory_fd(parent)
        place = parent + b"/" + gone if parent else gone
        try:
            whiteout.make(dir_fd, gone)
        except FileExistsError:
            # the same layer has it anew: a file hides the lower one anyway, a directory must say so
            if stat.S_ISDIR(os.stat(gone, dir_fd=dir_fd, follow_symlinks=False).st_mode):
                whiteout.make_opaque(self._directory_fd(place)[0])


def _umask() -> int:
    """This process's umask, without changing it for the other threads as umask(2) would (proc(5), status)."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o777


def _shown(path: bytes) -> str:
    return os.fsdecode(path[:200])


def _hostile(path: bytes, why: str) -> LyingRegistry:
    return LyingRegistry(
        f"the archive's member {_shown(path)!r} is refused: {why}",
        code="layer.hostile",
        hint="don't use archives or images from this source; look at the archive with `tar -tv`",
    )

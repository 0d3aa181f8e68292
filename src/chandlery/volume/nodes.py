"""One file, link or directory of a volume's directory on disk: reading it as an entry, copying it, giving it its metadata.

A volume's directories hold only files, directories and symlinks, without set-uid bits (a set-gid directory keeps its own), without capabilities
and without anything of overlayfs; `user.` attributes are kept. Links are never followed: a volume's content is a step's, so a symlink
may point anywhere.
"""

import errno
import os
import stat

from chandlery.linux import xattr
from chandlery.volume.tree import Entry, EntryType, Version

_COPY_CHUNK = 1 << 30
_READ_CHUNK = 1 << 20
_NO_RANGE = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})
FILE_MODE = 0o1777
DIRECTORY_MODE = 0o3777


def kept_mode(mode: int) -> int:
    """The permission bits that a volume keeps."""
    return mode & (DIRECTORY_MODE if stat.S_ISDIR(mode) else FILE_MODE)


def is_kept_attribute(name: str) -> bool:
    return name.startswith("user.") and not name.startswith(xattr.OVERLAY_PREFIXES)


def attributes(path: str) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes that a volume keeps, sorted."""
    kept = sorted(name for name in xattr.names(path) if is_kept_attribute(name))
    return tuple([(name, found) for name in kept if (found := xattr.get(path, name)) is not None])


def read_entry(path: str, name: str, found: os.stat_result, version: Version, kept: tuple[tuple[str, bytes], ...]) -> Entry:
    """The entry of `path` on disk, named `name` in the volume; its content is not read."""
    kind, size, target = EntryType.FILE, found.st_size, ""
    if stat.S_ISDIR(found.st_mode):
        kind, size = EntryType.DIRECTORY, 0
    elif stat.S_ISLNK(found.st_mode):
        kind, size, target = EntryType.SYMLINK, 0, os.readlink(path)
    return Entry(name, kind, kept_mode(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns, version, size, "", target, kept)


def copy(source: str, target: str, found: os.stat_result) -> None:
    """Make `target`, which doesn't exist, the same file or symlink as `source` (whose lstat is `found`), in an inode of its own."""
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), target)
    else:
        copy_content(source, target)
    set_metadata(target, found, attributes(source))


def copy_content(source: str, target: str) -> None:
    """Copy the bytes of a file to a new file, by sharing blocks where the file systems can (copy_file_range(2) refuses most pairs of two)."""
    into = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        out = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while os.copy_file_range(out, into, _COPY_CHUNK):
                pass
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
            while data := os.read(out, _READ_CHUNK):
                _write_all(into, data)
        finally:
            os.close(out)
    finally:
        os.close(into)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def set_metadata(path: str, found: os.stat_result, kept: tuple[tuple[str, bytes], ...]) -> None:
    """Owner, mode, attributes and modification time of `found`; the time last, since nothing may change afterwards."""
    apply(path, is_link=stat.S_ISLNK(found.st_mode), mode=kept_mode(found.st_mode), owner=(found.st_uid, found.st_gid), xattrs=kept, mtime_ns=found.st_mtime_ns)


def set_entry_metadata(path: str, entry: Entry) -> None:
    """The same from an entry."""
    is_link = entry.type is EntryType.SYMLINK
    apply(path, is_link=is_link, mode=entry.mode, owner=(entry.uid, entry.gid), xattrs=entry.xattrs, mtime_ns=entry.mtime_ns)


def apply(path: str, *, is_link: bool, mode: int, owner: tuple[int, int], xattrs: tuple[tuple[str, bytes], ...], mtime_ns: int) -> None:
    os.lchown(path, *owner)
    if not is_link:
        os.chmod(path, mode)
        for name, content in xattrs:
            xattr.set_value(path, name, content)
    os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def lookup(layers: tuple[str, ...], name: str) -> str:
    """Where the stack of directories (bottom first) shows `name`: a path in the topmost one that has it; "" if there is none.

    What isn't a directory hides everything below it in deeper ones, and a whiteout hides itself too, as in overlayfs.
    """
    parts = name.split("/") if name else []
    for layer in reversed(layers):
        path = layer
        for depth, part in enumerate(parts):
            path = f"{path}/{part}"
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                break
            if is_whiteout(found) or (depth < len(parts) - 1 and not stat.S_ISDIR(found.st_mode)):
                return ""
        else:
            return path
    return ""


def names_in(layers: tuple[str, ...], directory: str) -> list[str]:
    """The names in a directory of the merged stack; none if it isn't one."""
    seen: set[str] = set()
    for layer in layers:
        here = lookup((layer,), directory)
        if here and stat.S_ISDIR(os.lstat(here).st_mode):
            seen.update(os.listdir(here))
    return sorted([name for name in seen if lookup(layers, below(directory, name))])


def copy_tree(layers: tuple[str, ...], name: str, target: str) -> None:
    """Make the new directory `target` a copy of the directory `name` as the stack shows it; what a volume can't hold is left out."""
    pending = [(name, target)]
    finished: list[tuple[str, os.stat_result, tuple[tuple[str, bytes], ...]]] = []
    while pending:
        directory, into = pending.pop()
        os.mkdir(into, 0o700)
        source = lookup(layers, directory)
        finished.append((into, os.lstat(source), attributes(source)))
        for child in names_in(layers, directory):
            origin = lookup(layers, below(directory, child))
            found = os.lstat(origin)
            if stat.S_ISDIR(found.st_mode):
                pending.append((below(directory, child), f"{into}/{child}"))
            elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                copy(origin, f"{into}/{child}", found)
    for path, found, kept in reversed(finished):
        set_metadata(path, found, kept)


def below(directory: str, name: str) -> str:
    """The path of a name in a directory of the volume, whose root is ""."""
    return f"{directory}/{name}" if directory else name


def is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0

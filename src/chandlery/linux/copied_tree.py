"""What an overlay mount gives, by copying: for machines where none can be mounted.

Layers are merged into an ordinary directory, whiteouts and opaque marks honoured; afterwards what differs from that state is moved into an upper of
overlayfs's own form, so that whoever reads uppers can't tell. A file counts as changed by its inode, size, owner, mode and times, ctime among them, which
nothing but the clock can set. Nobody else may use the directory while this module does.
https://docs.kernel.org/filesystems/overlayfs.html, "whiteouts and opaque directories"
"""

import os
import stat

from chandlery.linux import xattr
from chandlery.linux.removal import remove_tree
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMESPACES = ("trusted.overlay.", "user.overlay.")
_OPAQUE = "trusted.overlay.opaque"
_CHUNK_BYTES = 1 << 30


@value
class _Seen:
    """How an entry looked when the merge was done."""

    stat: os.stat_result
    attributes: tuple[tuple[str, bytes], ...]


class CopiedTree:
    """The merged `lowers` (bottom first) in the empty directory `target`."""

    def __init__(self, target: str, lowers: "Sequence[str]", *, upper: str = "") -> None:
        """Copy them. `upper` is the empty directory that `capture` will fill: the root looks like it, as in an overlay."""
        self._target = target
        self._upper = upper
        for lower in lowers:
            _merge(lower, target)
        top = upper or (lowers[-1] if lowers else "")
        if top:
            _copy_metadata(top, target, os.lstat(top))
        self._seen: dict[str, dict[str, _Seen]] = {}
        if upper:
            self._remember()

    def capture(self) -> None:
        """Move what differs into the upper; the directory is of no use afterwards."""
        kept: dict[str, os.stat_result] = {"": os.lstat(self._target)}
        waiting = [""]
        while waiting:
            self._capture_directory(waiting.pop(), kept, waiting)
        for directory in sorted(kept, key=lambda path: len(path.split("/")), reverse=True):
            there = os.path.join(self._upper, directory)
            if os.path.lexists(there):
                _copy_metadata(os.path.join(self._target, directory), there, kept[directory])

    def _remember(self) -> None:
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            children = self._seen[directory] = {}
            for name, found in _entries(os.path.join(self._target, directory)):
                path = os.path.join(directory, name)
                is_directory = stat.S_ISDIR(found.st_mode)
                attributes = _attributes(os.path.join(self._target, path)) if is_directory else ()
                children[name] = _Seen(found, attributes)
                if is_directory:
                    waiting.append(path)

    def _capture_directory(self, directory: str, kept: dict[str, os.stat_result], waiting: list[str]) -> None:
        """Move the changed entries of a directory that was there before, and mark the missing ones."""
        before = self._seen[directory]
        now = _entries(os.path.join(self._target, directory))
        for name, found in now:
            path, old = os.path.join(directory, name), before.get(name)
            if old is not None and _is_same_directory(old.stat, found):
                kept[path] = found
                waiting.append(path)
                if _metadata(old.stat) != _metadata(found) or old.attributes != _attributes(os.path.join(self._target, path)):
                    self._make_above(path)
            elif old is None or not _is_unchanged(old.stat, found):
                self._move(directory, path, is_opaque=old is not None and stat.S_ISDIR(old.stat.st_mode) and stat.S_ISDIR(found.st_mode))
        for name in before.keys() - {name for name, _ in now}:
            self._make_above(directory)
            os.mknod(os.path.join(self._upper, directory, name), stat.S_IFCHR, os.makedev(0, 0))

    def _move(self, directory: str, path: str, *, is_opaque: bool) -> None:
        self._make_above(directory)
        there = os.path.join(self._upper, path)
        os.rename(os.path.join(self._target, path), there)
        if is_opaque:
            times = os.lstat(there)
            os.setxattr(there, _OPAQUE, b"y")
            os.utime(there, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _make_above(self, directory: str) -> None:
        """`directory` in the upper; what it looks like is set at the end, when nothing changes its times any more."""
        os.makedirs(os.path.join(self._upper, directory), exist_ok=True)


def _merge(lower: str, target: str) -> None:
    links: dict[tuple[int, int], str] = {}
    directories: list[tuple[str, os.stat_result]] = []
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        for name, found in _entries(os.path.join(lower, directory)):
            path = os.path.join(directory, name)
            source, there = os.path.join(lower, path), os.path.join(target, path)
            if _is_whiteout(source, found):
                remove_tree(there)
            elif stat.S_ISDIR(found.st_mode):
                _enter(source, there)
                waiting.append(path)
                directories.append((path, found))
            else:
                remove_tree(there)
                _copy_entry(source, there, found, links)
    for path, found in reversed(directories):
        _copy_metadata(os.path.join(lower, path), os.path.join(target, path), found)


def _enter(source: str, there: str) -> None:
    """Make the directory, or keep what deeper layers put into it unless it hides that."""
    is_directory = os.path.lexists(there) and stat.S_ISDIR(os.lstat(there).st_mode)
    is_opaque = any(xattr.get(source, f"{prefix}opaque") == b"y" for prefix in _NAMESPACES)
    if is_opaque or not is_directory:
        remove_tree(there)
        os.mkdir(there, 0o700)


def _copy_entry(source: str, there: str, found: os.stat_result, links: dict[tuple[int, int], str]) -> None:
    """Anything but a directory; what is one inode in a layer stays one."""
    key = (found.st_dev, found.st_ino)
    if found.st_nlink > 1 and key in links:
        os.link(links[key], there, follow_symlinks=False)
        return
    if stat.S_ISREG(found.st_mode):
        _copy_content(source, there)
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), there)
    else:
        os.mknod(there, found.st_mode, found.st_rdev)
    _copy_metadata(source, there, found)
    links[key] = there


def _copy_content(source: str, there: str) -> None:
    with open(source, "rb") as reading, open(there, "xb") as writing:
        while os.copy_file_range(reading.fileno(), writing.fileno(), _CHUNK_BYTES):
            pass


def _copy_metadata(source: str, there: str, found: os.stat_result) -> None:
    """Owner before mode (a change of owner clears set-uid bits) and attributes (it clears capabilities), times last."""
    os.chown(there, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(there, stat.S_IMODE(found.st_mode))
    wanted = dict(_attributes(source))
    for name, _ in _attributes(there):
        if name not in wanted:
            xattr.remove(there, name)
    for name, data in wanted.items():
        xattr.set_value(there, name, data)
    os.utime(there, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def _attributes(path: str) -> tuple[tuple[str, bytes], ...]:
    """Extended attributes that aren't overlayfs's own or the machine's security labels."""
    names = sorted(name for name in xattr.names(path) if not name.startswith((*_NAMESPACES, "security.selinux")))
    return tuple((name, xattr.get(path, name) or b"") for name in names)


def _entries(directory: str) -> list[tuple[str, os.stat_result]]:
    with os.scandir(directory) as scan:
        return [(entry.name, entry.stat(follow_symlinks=False)) for entry in scan]


def _is_whiteout(path: str, found: os.stat_result) -> bool:
    if stat.S_ISCHR(found.st_mode):
        return found.st_rdev == 0
    is_empty = stat.S_ISREG(found.st_mode) and found.st_size == 0
    return is_empty and any(xattr.get(path, f"{prefix}whiteout") is not None for prefix in _NAMESPACES)


def _is_same_directory(old: os.stat_result, found: os.stat_result) -> bool:
    return stat.S_ISDIR(old.st_mode) and stat.S_ISDIR(found.st_mode) and old.st_ino == found.st_ino


def _metadata(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns)


def _is_unchanged(old: os.stat_result, found: os.stat_result) -> bool:
    """Another name of the same inode that came or went changes the ctime, but not this file."""
    same = (old.st_ino, old.st_size, *_metadata(old)) == (found.st_ino, found.st_size, *_metadata(found))
    return same and (old.st_ctime_ns == found.st_ctime_ns or old.st_nlink != found.st_nlink)

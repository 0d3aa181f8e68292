"""What a step did to a volume: its overlay upper, made into a plain directory and described.

`capture` leaves the upper holding just what the step added or changed, in a form that can be stacked over any other tree of the volume:
* whiteouts and opaque marks go (both forms, trusted. and user.). An opaque directory stacked over somebody else's additions would hide
  them, and what a step deletes is deleted for its own build only; the deleted paths are returned for that;
* a file that was only chmodded, chowned or touched (overlay.metacopy) gets its content, a renamed directory (overlay.redirect) its
  files, both from the base, since neither means anything over another tree. They are copies: a link would be one inode at two paths of
  one tree, which `cp -a` and `tar` take for a hard link. Only the kernel writes trusted.overlay.*; a step may write user.overlay.* itself, and would
  choose the file of this machine that is copied (mounts with `userxattr` have neither redirects nor metacopies);
* sockets, devices and pipes go, and the empty stubs on which we mounted something inside the volume.

Names: https://docs.kernel.org/filesystems/overlayfs.html. Only the upper is walked, never the volume.
"""

import os
import stat

from chandlery.linux import xattr
from chandlery.values import replace, value
from chandlery.volume import nodes
from chandlery.volume.tree import Entry, EntryType, Version

# what the kernel and most archivers can still name; deeper trees can't be kept
_LONGEST_PATH = 3500


@value
class Captured:
    """`entries` in order of path, the root's first; `deleted` are paths the step removed; `dropped` counts what a volume can't hold."""

    entries: tuple[Entry, ...]
    deleted: tuple[str, ...]
    dropped: int
    size_bytes: int


def capture(upper: str, base: tuple[str, ...], version: Version, *, shared: tuple[str, ...], stubs: tuple[str, ...] = (), trash: str) -> Captured:
    """Normalise `upper` in place against its base (directories, bottom first).

    `shared` is the part of the base that others see as well; `trash` is an empty directory for what is too deep to delete.
    """
    walk = _Walk(upper, base, shared, version, frozenset(stubs), trash)
    walk.run()
    return Captured(tuple(_with_hard_links(walk.entries, walk.inodes)), tuple(sorted(walk.deleted)), walk.dropped, walk.size_bytes)


def changes_nothing(entries: tuple[Entry, ...], base: tuple[str, ...]) -> bool:
    """Whether all that a step did was to pass through directories (which overlayfs copies up)."""
    return all(entry.is_directory and _same_directory(entry, nodes.lookup(base, entry.path)) for entry in entries)


def _same_directory(entry: Entry, path: str) -> bool:
    if not path:
        return False
    found = os.lstat(path)
    return stat.S_ISDIR(found.st_mode) and (nodes.kept_mode(found.st_mode), found.st_uid, found.st_gid) == (entry.mode, entry.uid, entry.gid)


class _Walk:
    def __init__(self, upper: str, base: tuple[str, ...], shared: tuple[str, ...], version: Version, stubs: frozenset[str], trash: str) -> None:
        self.upper, self.base, self.shared, self.version, self.stubs, self.trash = upper, base, shared, version, stubs, trash
        self.entries: list[Entry] = []
        self.inodes: dict[tuple[int, int], list[str]] = {}
        self.deleted: list[str] = []
        self.dropped = 0
        self.size_bytes = 0
        # directories still to walk: their name, and what they are called in the base (None: they have no part in it)
        self._pending: list[tuple[str, str | None]] = [("", "")]
        self._changed: list[tuple[str, int]] = []

    def run(self) -> None:
        while self._pending:
            self._directory(*self._pending.pop())
        for path, mtime_ns in reversed(self._changed):
            os.utime(path, ns=(mtime_ns, mtime_ns))
        self._drop_empty_parents_of_stubs()

    def _directory(self, name: str, in_base: str | None) -> None:
        path = f"{self.upper}/{name}" if name else self.upper
        found = os.lstat(path)
        attributes = xattr.names(path)
        origin = in_base
        if _value(path, attributes, "opaque") == b"y":
            origin = None
            self._note_replaced(name, path, in_base)
        elif redirect := _kernels(path, attributes, "redirect"):
            origin = _redirected(os.fsdecode(redirect), in_base)
            self._bring_in(path, origin)
        self._strip(path, attributes)
        self._keep(path, name, found, attributes)
        self._changed.append((path, found.st_mtime_ns))
        # a directory's entries, which keep what was found out about them, would be most of the memory
        for child in os.listdir(path):
            self._child(f"{path}/{child}", nodes.below(name, child), _join(origin, child))

    def _child(self, path: str, name: str, in_base: str | None) -> None:
        found = os.lstat(path)
        kind = stat.S_IFMT(found.st_mode)
        if len(os.fsencode(name)) > _LONGEST_PATH:
            os.rename(path, f"{self.trash}/{self.dropped}-deep")
            self.dropped += 1
        elif kind == stat.S_IFDIR:
            if name in self.stubs and not nodes.lookup(self.base, name) and not os.listdir(path):
                os.rmdir(path)
            else:
                self._pending.append((name, in_base))
        elif nodes.is_whiteout(found):
            os.unlink(path)
            self.deleted.append(name)
        elif kind not in (stat.S_IFREG, stat.S_IFLNK):
            os.unlink(path)
            self.dropped += 1
        elif name in self.stubs and found.st_size == 0 and not nodes.lookup(self.base, name):
            os.unlink(path)
        else:
            self._file(path, name, in_base, found)

    def _file(self, path: str, name: str, in_base: str | None, found: os.stat_result) -> None:
        attributes = xattr.names(path)
        if found.st_size == 0 and _value(path, attributes, "whiteout") is not None:
            os.unlink(path)
            self.deleted.append(name)
            return
        if _kernels(path, attributes, "metacopy") is not None:
            redirect = _kernels(path, attributes, "redirect")
            origin = _redirected(os.fsdecode(redirect), in_base) if redirect else in_base
            path, found, attributes = self._with_content(path, origin, found, attributes)
        self._strip(path, attributes)
        self._keep(path, name, found, attributes)
        if found.st_nlink > 1:
            self.inodes.setdefault((found.st_dev, found.st_ino), []).append(name)
        if stat.S_ISREG(found.st_mode):
            self.size_bytes += found.st_size

    def _with_content(self, path: str, origin: str | None, found: os.stat_result, attributes: list[str]) -> "tuple[str, os.stat_result, list[str]]":
        """Replace a file that has only metadata by one with the base's content as well."""
        source = nodes.lookup(self.base, origin) if origin is not None else ""
        kept = nodes.attributes(path) if any(nodes.is_kept_attribute(name) for name in attributes) else ()
        temp = f"{self.trash}/content"
        if not source:
            raise FileNotFoundError(2, "the base of a cache volume lacks the content of", origin)
        nodes.copy_content(source, temp)
        nodes.set_metadata(temp, found, kept)
        os.rename(temp, path)
        return path, os.lstat(path), [name for name, _ in kept]

    def _keep(self, path: str, name: str, found: os.stat_result, attributes: list[str]) -> None:
        kept = nodes.attributes(path) if any(nodes.is_kept_attribute(attribute) for attribute in attributes) else ()
        self.entries.append(nodes.read_entry(path, name, found, self.version, kept))
        if stat.S_IMODE(found.st_mode) != nodes.kept_mode(found.st_mode) and not stat.S_ISLNK(found.st_mode):
            os.chmod(path, nodes.kept_mode(found.st_mode))

    def _strip(self, path: str, attributes: list[str]) -> None:
        for name in attributes:
            if name.startswith(xattr.OVERLAY_PREFIXES) or name == "security.capability":
                xattr.remove(path, name)

    def _note_replaced(self, name: str, path: str, in_base: str | None) -> None:
        """The children of the base's directory that an opaque one hides are deleted for this build."""
        if in_base is None:
            return
        present = set(os.listdir(path))
        self.deleted.extend(nodes.below(name, child) for child in nodes.names_in(self.shared, in_base) if child not in present)

    def _bring_in(self, path: str, origin: str | None) -> None:
        """Copy what a renamed directory still shows of its base; the copies are then walked as if the step had made them."""
        if origin is None:
            return
        mtime_ns = os.lstat(path).st_mtime_ns
        present = set(os.listdir(path))
        for child in nodes.names_in(self.base, origin):
            source = nodes.lookup(self.base, nodes.below(origin, child))
            found = os.lstat(source)
            if child in present:
                continue
            if stat.S_ISDIR(found.st_mode):
                nodes.copy_tree(self.base, nodes.below(origin, child), f"{path}/{child}")
            else:
                nodes.copy(source, f"{path}/{child}", found)
        os.utime(path, ns=(mtime_ns, mtime_ns))

    def _drop_empty_parents_of_stubs(self) -> None:
        for stub in self.stubs:
            parent = os.path.dirname(stub)
            while parent and not nodes.lookup(self.base, parent):
                try:
                    os.rmdir(f"{self.upper}/{parent}")
                except OSError:
                    break
                self.entries = [entry for entry in self.entries if entry.path != parent]
                parent = os.path.dirname(parent)


def _value(path: str, attributes: list[str], name: str) -> bytes | None:
    """An overlayfs attribute in either form; None if it isn't there."""
    for prefix in xattr.OVERLAY_PREFIXES:
        if prefix + name in attributes:
            return xattr.get(path, prefix + name)
    return None


def _kernels(path: str, attributes: list[str], name: str) -> bytes | None:
    """An overlayfs attribute in the form that a step can't write; None if it isn't there."""
    return xattr.get(path, xattr.OVERLAY_PREFIXES[0] + name) if xattr.OVERLAY_PREFIXES[0] + name in attributes else None


def _redirected(redirect: str, in_base: str | None) -> str | None:
    """A redirect names a path from the overlay's root, or a sibling of the name it stands at; one that leads out of the base stands for nothing."""
    name = redirect.lstrip("/") if redirect.startswith("/") else None if in_base is None else nodes.below(os.path.dirname(in_base), redirect)
    return None if name is None or any(part in ("", ".", "..") for part in name.split("/")) else name


def _join(directory: str | None, name: str) -> str | None:
    return None if directory is None else nodes.below(directory, name)


def _with_hard_links(entries: list[Entry], inodes: dict[tuple[int, int], list[str]]) -> list[Entry]:
    """Entries in order of path, where the later names of one inode are hard links to its first."""
    first_of = {name: min(names) for names in inodes.values() for name in names}
    linked = [
        replace(entry, type=EntryType.HARD_LINK, target=first_of[entry.path])
        if first_of.get(entry.path, entry.path) != entry.path and entry.type is EntryType.FILE
        else entry
        for entry in entries
    ]
    return sorted(linked, key=lambda entry: entry.path)

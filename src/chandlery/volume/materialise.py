"""From entries to directories that overlayfs takes as lowers: one way so far, *linked*.

A layer is a directory made by its step's own upper (capture.py). It is changed only before anybody else sees it, to give way where it lost
against deltas that its step didn't see (`give_way`). Layers are folded into one by hard links: nothing is read but content that has no digest
yet, nothing is copied but what would be one inode at two paths (which `cp -a` and `tar` take for a hard link), and no old layer is
touched, since steps may be running on it.
"""

import json
import os
import stat

from chandlery.linux.atomic import write_all
from chandlery.linux.removal import remove_tree
from chandlery.values import replace, value
from chandlery.volume import nodes, observing
from chandlery.volume.objects import Objects, is_object, sha256_of
from chandlery.volume.tree import Entry, EntryType, ancestors, check_format, decode_entry, decode_table, encode_path, encode_table, is_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

TREE, TABLE = "fs", "table.json"


@value
class Folded:
    """`left_out` counts the entries that were shown and are not any more; `origins` tells for each entry which of the layers it comes from."""

    entries: tuple[Entry, ...]
    size_bytes: int
    left_out: int
    origins: tuple[int, ...] = ()


def read_table(layer: str) -> tuple[Entry, ...]:
    """The entries of the layer in directory `layer`."""
    with open(f"{layer}/{TABLE}", "rb") as file:
        return decode_table(file.read())


def read_entries(layer: str, paths: "Collection[str]") -> tuple[Entry, ...]:
    """The entries of a layer at some paths. Decoding all of a large table costs more than what most pulls bring."""
    wanted = frozenset(map(encode_path, paths))
    with open(f"{layer}/{TABLE}", "rb") as file:
        document = check_format(json.loads(file.read()))
    return tuple([decode_entry(row) for row in document["entries"] if row["path"] in wanted])


def count_files(layer: str) -> int:
    """How many entries of a layer are files, without decoding its table (in which a quote inside a path is escaped); 0 for one that is gone."""
    try:
        with open(f"{layer}/{TABLE}", "rb") as file:
            text = file.read()
    except OSError:
        return 0
    return sum(text.count(b'"type":"%s"' % kind.value.encode()) for kind in (EntryType.FILE, EntryType.HARD_LINK))


def write_table(layer: str, entries: tuple[Entry, ...]) -> None:
    """Describe a layer that has no name yet (so no temporary file is needed)."""
    fd = os.open(f"{layer}/{TABLE}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, encode_table(entries))
    finally:
        os.close(fd)
    observing.describe(layer, f"{layer}/{TREE}", entries)


def shown(tables: "Sequence[Sequence[Entry]]") -> dict[str, tuple[Entry, int]]:
    """What a stack of layers (bottom first) shows: path -> its entry and the index of the layer it is in."""
    winners: dict[str, tuple[Entry, int]] = {}
    for index, table in enumerate(tables):
        for entry in table:
            old = winners.get(entry.path)
            if old is not None and old[0].is_directory != entry.is_directory:
                for path in [path for path in winners if is_beneath(path, entry.path)]:
                    del winners[path]
            winners[entry.path] = (entry, index)
    return winners


def give_way(tree: str, entries: tuple[Entry, ...], winners: "Mapping[str, Entry]") -> tuple[Entry, ...]:
    """Take out of the directory `tree` what lost to `winners` (merge.losers); the entries that are left.

    Where both sides have a directory, it stays for what is in it, and takes the winner's metadata and version.
    """
    kept: list[Entry] = []
    hidden = ""
    touched: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.path.split("/")):
        if hidden and is_beneath(entry.path, hidden):
            continue
        winner = winners.get(entry.path)
        if winner is None:
            kept.append(entry)
        elif winner.is_directory and entry.is_directory:
            kept.append(winner)
            touched[entry.path] = winner
        else:
            remove_tree(f"{tree}/{entry.path}")
            hidden = entry.path
            parent = os.path.dirname(entry.path)
            mine = next((other for other in kept if other.path == parent), None)
            if mine is not None:
                touched.setdefault(parent, mine)
    for path in sorted(touched, reverse=True):
        nodes.set_entry_metadata(f"{tree}/{path}" if path else tree, touched[path])
    return without_dangling_links(tuple(kept))


def damaged_paths(layer: str) -> list[str]:
    """The paths of a layer that are not as its table says: gone, of another size or type, or of other content where that is known."""
    damaged = []
    for entry in read_table(layer):
        path = f"{layer}/{TREE}/{entry.path}"
        try:
            is_sound = _is_as_described(path, os.lstat(path), entry)
        except OSError:
            is_sound = False
        if not is_sound:
            damaged.append(entry.path)
    return damaged


def _is_as_described(path: str, found: os.stat_result, entry: Entry) -> bool:
    if entry.type is EntryType.DIRECTORY:
        return stat.S_ISDIR(found.st_mode)
    if entry.type is EntryType.SYMLINK:
        return stat.S_ISLNK(found.st_mode) and os.readlink(path) == entry.target
    is_same = stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (entry.size, entry.mtime_ns)
    return is_same and (not entry.sha256 or sha256_of(path) == entry.sha256)


def fold(layers: "Sequence[str]", target: str, objects: Objects, *, without: "Collection[str]" = ()) -> Folded:
    """Make the new directory `target` show what the stack of `layers` (their directories, bottom first) shows, less some paths and what is below them."""
    winners = shown([read_table(layer) for layer in layers])
    build = _Fold([f"{layer}/{TREE}" for layer in layers], target, objects)
    gone = frozenset(without)
    for path in sorted(winners):
        if not gone or not any(above in gone for above in (*ancestors(path), path)):
            build.add(*winners[path])
    return build.finish(len(winners))


class _Fold:
    """A directory in the making. Entries come in an order in which directories precede what is in them."""

    def __init__(self, trees: list[str], target: str, objects: Objects) -> None:
        self._trees, self._target, self._objects = trees, target, objects
        self._entries: list[Entry] = []
        self._by_path: dict[str, Entry] = {}
        self._used: set[tuple[int, int]] = set()
        self._size_bytes = 0
        self._origins: list[int] = []

    def add(self, entry: Entry, index: int) -> None:
        source = f"{self._trees[index]}/{entry.path}"
        target = f"{self._target}/{entry.path}" if entry.path else self._target
        if entry.is_directory:
            os.mkdir(target, 0o700)
        elif entry.type is EntryType.HARD_LINK:
            entry = self._add_link(entry, source, target)
        else:
            entry = self._add_file(entry, index, target)
        self._size_bytes += entry.size
        self._origins.append(index)
        self._entries.append(entry)
        self._by_path[entry.path] = entry

    def finish(self, shown_before: int) -> Folded:
        for entry in reversed(self._entries):
            if entry.is_directory:
                nodes.set_entry_metadata(f"{self._target}/{entry.path}" if entry.path else self._target, entry)
        self._objects.record()
        return Folded(tuple(self._entries), self._size_bytes, shown_before - len(self._entries), tuple(self._origins))

    def _add_file(self, entry: Entry, index: int, target: str) -> Entry:
        source = f"{self._trees[index]}/{entry.path}"
        found = os.lstat(source)
        if stat.S_ISREG(found.st_mode):
            entry = entry if entry.sha256 else replace(entry, sha256=sha256_of(source))
            if is_object(entry):
                source = self._objects.share(source, entry)
                found = os.lstat(source)
        inode = (found.st_dev, found.st_ino)
        if inode in self._used:
            nodes.copy(source, target, found)
            return entry
        try:
            self._objects.link_out(source, target)
        except FileNotFoundError:
            # a prune took the object, which nobody used yet
            self._objects.link_out(f"{self._trees[index]}/{entry.path}", target)
            found = os.lstat(target)
            inode = (found.st_dev, found.st_ino)
        self._used.add(inode)
        return entry

    def _add_link(self, entry: Entry, source: str, target: str) -> Entry:
        """A recorded hard link, if the file it belongs to is here and still is what it was; else a file of its own."""
        first = f"{self._target}/{entry.target}"
        original = self._by_path.get(entry.target)
        if original is not None and original.version == entry.version and original.size == entry.size:
            os.link(first, target, follow_symlinks=False)
            return replace(entry, sha256=original.sha256)
        nodes.copy(source, target, os.lstat(source))
        return replace(entry, type=EntryType.FILE, target="")


def without_dangling_links(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Hard links whose first name is gone become files, the first of them for the others."""
    present = {entry.path for entry in entries}
    heirs: dict[str, str] = {}
    result: list[Entry] = []
    for entry in entries:
        if entry.type is EntryType.HARD_LINK and entry.target not in present:
            if entry.target in heirs:
                entry = replace(entry, target=heirs[entry.target])
            else:
                heirs[entry.target] = entry.path
                entry = replace(entry, type=EntryType.FILE, target="")
        result.append(entry)
    return tuple(result)

"""From entries to directories that overlayfs takes as lowers: one way so far, *linked*.

A layer is a directory made by its step's own upper (capture.py). It is changed only before anybody else sees it, to give way where it lost
against deltas that its step didn't see (`give_way`). Layers are folded into one by hard links: nothing is read but content that has no digest
yet, nothing is copied but what would be one inode at two paths (which `cp -a` and `tar` take for a hard link), and no old layer is
touched, since steps may be running on it.
"""

import os
import stat

from chandlery.linux.atomic import write_all
from chandlery.linux.removal import remove_tree
from chandlery.values import replace, value
from chandlery.volume import nodes, observing
from chandlery.volume.json_rows import pieces_in
from chandlery.volume.objects import Objects, is_object, sha256_of
from chandlery.volume.tree import Entry, EntryType, ancestors, decode_table, encode_path, encode_table, is_beneath

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
    return tuple(decode_table(pieces_in(f"{layer}/{TABLE}")))


def read_entries(layer: str, paths: "Collection[str]") -> tuple[Entry, ...]:
    """The entries of a layer at some paths. Decoding all of a large table costs more than what most pulls bring."""
    return tuple(decode_table(pieces_in(f"{layer}/{TABLE}"), frozenset(map(encode_path, paths))))


def count_files(layer: str) -> int:
    """How many entries of a layer are files, without decoding its table (in which a quote inside a path is escaped); 0 for one that is gone."""
    marks = [b'"type":"%s"' % kind.value.encode() for kind in (EntryType.FILE, EntryType.HARD_LINK)]
    counted, tail = 0, b""
    try:
        for piece in pieces_in(f"{layer}/{TABLE}"):
            text = tail + piece
            counted += sum(map(text.count, marks))
            # too short for a mark, all of which are equally long
            tail = text[1 - len(marks[0]) :]
    except OSError:
        return 0
    return counted


def write_table(layer: str, entries: tuple[Entry, ...]) -> None:
    """Describe a layer that has no name yet (so no temporary file is needed)."""
    fd = os.open(f"{layer}/{TABLE}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for piece in encode_table(entries):
            write_all(fd, piece)
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
    for entry in decode_table(pieces_in(f"{layer}/{TABLE}")):
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
    shown_before = len(winners)
    for path in sorted(winners):
        # most entries are replaced by what is known of them then: there needn't be two of each
        entry, index = winners.pop(path)
        if not gone or not any(above in gone for above in (*ancestors(path), path)):
            build.add(entry, index)
    return build.finish(shown_before)


class _Fold:
    """A directory in the making. Entries come in an order in which directories precede what is in them."""

    def __init__(self, trees: list[str], target: str, objects: Objects) -> None:
        self._trees, self._target, self._objects = trees, target, objects
        self._entries: list[Entry] = []
        self._by_path: dict[str, Entry] = {}
        self._used: set[int] = set()
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
        inode = hash((found.st_dev, found.st_ino))
        if inode in self._used:
            nodes.copy(source, target, found)
            return entry
        try:
            self._objects.link_out(source, target)
        except FileNotFoundError:
            # a prune took the object, which nobody used yet
            self._objects.link_out(f"{self._trees[index]}/{entry.path}", target)
            found = os.lstat(target)
            inode = hash((found.st_dev, found.st_ino))
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


def with_hard_links(tree: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Of the fetched files in the directory `tree`, make those that say so names of one inode again, where what they name came with them unchanged."""
    names = {entry.target for entry in entries if entry.type is EntryType.FILE and entry.target}
    if not names:
        return entries
    firsts = {entry.path: entry for entry in entries if entry.path in names}
    result: list[Entry] = []
    touched: set[str] = set()
    for entry in entries:
        if entry.type is EntryType.FILE and entry.target:
            first = firsts.get(entry.target)
            alone = replace(entry, target="")
            if first is not None and first == replace(alone, path=first.path):
                os.unlink(f"{tree}/{entry.path}")
                os.link(f"{tree}/{first.path}", f"{tree}/{entry.path}", follow_symlinks=False)
                touched.add(os.path.dirname(entry.path))
                alone = replace(entry, type=EntryType.HARD_LINK)
            entry = alone
        result.append(entry)
    for entry in reversed(result):
        if entry.is_directory and entry.path in touched:
            nodes.set_entry_metadata(f"{tree}/{entry.path}" if entry.path else tree, entry)
    return tuple(result)


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

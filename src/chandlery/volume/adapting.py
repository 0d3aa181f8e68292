"""Applying what the adapters know to a step's delta, where it lies, before anybody else sees it."""

import os

from chandlery.linux.removal import remove_tree
from chandlery.values import replace
from chandlery.volume import materialise, nodes
from chandlery.volume.adapters import known
from chandlery.volume.tree import Entry, EntryType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# an index is small; a larger file of such a name is something else
_LARGEST_INDEX = 16 << 20


def without_unwanted(tree: str, entries: tuple[Entry, ...], *, succeeded: bool) -> tuple[Entry, ...]:
    """Take out what no volume keeps and, of a step that failed, the units that may be half made."""
    files = [entry.path for entry in entries if not entry.is_directory]
    unwanted = {path for path in files if known.is_never_stored(path)}
    if not succeeded:
        unwanted |= _members(files, known.incomplete_units(files))
    return taken_out(tree, entries, unwanted)


def without_known_units(tree: str, entries: tuple[Entry, ...], unseen: "Iterable[Entry]") -> tuple[Entry, ...]:
    """Of units that somebody else has made meanwhile theirs stay, whole: never a mixture of both."""
    made = {unit for entry in unseen if not entry.is_directory and (unit := known.unit_of(entry.path))}
    return taken_out(tree, entries, _members([entry.path for entry in entries if not entry.is_directory], frozenset(made))) if made else entries


def with_merged_indexes(tree: str, entries: tuple[Entry, ...], unseen: "Iterable[Entry]", layers: tuple[str, ...]) -> tuple[tuple[Entry, ...], frozenset[str]]:
    """Make each index that both sides changed serve both; the entries, and the paths at which nobody loses."""
    changed = {entry.path for entry in unseen if entry.type is EntryType.FILE and entry.size <= _LARGEST_INDEX}
    result: list[Entry] = []
    merged: set[str] = set()
    for entry in entries:
        if entry.type is EntryType.FILE and entry.path in changed and entry.size <= _LARGEST_INDEX and known.is_index(entry.path):
            content = known.merge_index(entry.path, _read(f"{tree}/{entry.path}"), _read(nodes.lookup(layers, entry.path)))
            if content is not None:
                entry = _rewrite(tree, entry, content)
                merged.add(entry.path)
        result.append(entry)
    for entry in reversed(result):
        if entry.is_directory and any(os.path.dirname(path) == entry.path for path in merged):
            nodes.set_entry_metadata(f"{tree}/{entry.path}" if entry.path else tree, entry)
    return tuple(result), frozenset(merged)


def taken_out(tree: str, entries: tuple[Entry, ...], paths: set[str]) -> tuple[Entry, ...]:
    """The entries without those paths, whose files are removed from the directory `tree`; times of directories stay."""
    if not paths:
        return entries
    for path in paths:
        remove_tree(f"{tree}/{path}")
    kept = tuple([entry for entry in entries if entry.path not in paths])
    parents = {os.path.dirname(path) for path in paths}
    for entry in reversed(kept):
        if entry.is_directory and entry.path in parents:
            nodes.set_entry_metadata(f"{tree}/{entry.path}" if entry.path else tree, entry)
    return materialise.without_dangling_links(kept)


def _members(files: list[str], units: frozenset[str]) -> set[str]:
    return {path for path in files if known.unit_of(path) in units}


def _rewrite(tree: str, entry: Entry, content: bytes) -> Entry:
    """A new inode: the old one may be another name's, too."""
    path = f"{tree}/{entry.path}"
    temp = f"{path}.merged"
    with open(temp, "xb") as file:
        file.write(content)
    after = replace(entry, size=len(content), sha256="")
    nodes.set_entry_metadata(temp, after)
    os.rename(temp, path)
    return after


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()

"""Applying what the adapters know to a step's delta, where it lies, before anybody else sees it.

A *unit* (an unpacked module, a repository, a database with its log) is whole or absent. So that this holds in every merge, a delta that changes one has all
of it, under one version: of two that changed it one wins in all of its paths. A unit that is half made is taken out, its directories as well: an
empty one is taken for the whole thing by some tools.

An index that two sides changed is made to serve both, under a version above both: else another machine would let one side win.
"""

import os

from chandlery.linux.removal import remove_tree
from chandlery.values import replace, value
from chandlery.volume import materialise, nodes
from chandlery.volume.adapters import known, sqlite
from chandlery.volume.step_files import StepFiles
from chandlery.volume.tree import Entry, EntryType, Version, ancestors, is_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.capture import Captured

# an index is small; a larger file of such a name is something else
_LARGEST_INDEX = 16 << 20


@value
class Judged:
    """What of a delta is kept. `vouched` are the files of a failed step that are known to be complete, so that others may have them as well."""

    entries: tuple[Entry, ...]
    vouched: frozenset[str] = frozenset()


def judged(tree: str, captured: "Captured", layers: tuple[str, ...], *, succeeded: bool, scope: str) -> Judged:
    """Take out what no volume keeps and units that are half made; complete the others; mark what must not leave `scope`.

    `layers` (bottom first) are what the step found.
    """
    entries = taken_out(tree, captured.entries, _written_the_same(tree, captured.entries, layers))
    files = StepFiles(tree, entries, layers, captured.deleted)
    touched = units(entries)
    unwanted = {entry.path for entry in entries if not entry.is_directory and known.is_never_stored(entry.path)}
    for unit, members in list(touched.items()):
        lone = next((entry.path for entry in members if not entry.is_directory), f"{unit}/~")
        if known.is_broken(unit, lone, files) or not (succeeded or known.is_complete(unit, lone, files)):
            unwanted.update(entry.path for entry in members)
            del touched[unit]
    entries = taken_out(tree, entries, unwanted)
    entries = _with_rest_of_units(tree, entries, touched, files, layers)
    entries = _with_emptied_logs(tree, entries, captured.deleted, layers)
    paths = [entry.path for entry in entries if not entry.is_directory]
    files = StepFiles(tree, entries, layers, captured.deleted)
    if private := known.private(paths, files):
        entries = tuple([replace(entry, only_in=scope) if entry.path in private else entry for entry in entries])
    return Judged(entries, frozenset() if succeeded else frozenset([path for path in paths if known.may_share(path, files)]))


def without_known_units(tree: str, entries: tuple[Entry, ...], unseen: "Iterable[Entry]") -> tuple[Entry, ...]:
    """Of units that somebody else has made meanwhile theirs stay, whole: never a mixture of both."""
    made = units(unseen).keys()
    mine = units(entries)
    return taken_out(tree, entries, {entry.path for unit in mine.keys() & made for entry in mine[unit]})


def with_merged_indexes(
    tree: str, entries: tuple[Entry, ...], unseen: "Iterable[Entry]", layers: tuple[str, ...], lamport: int
) -> tuple[tuple[Entry, ...], frozenset[str]]:
    """Make each index that both sides changed serve both, with a version above `lamport`; the entries, and the paths at which nobody loses.

    Where theirs serves both already, it stays, and ours goes.
    """
    changed = {entry.path: entry for entry in unseen if is_index(entry)}
    result: list[Entry] = []
    merged: set[str] = set()
    superfluous: set[str] = set()
    for entry in entries:
        if entry.path in changed and is_index(entry):
            theirs = _read(nodes.lookup(layers, entry.path))
            content = known.merge_index(entry.path, _read(f"{tree}/{entry.path}"), theirs)
            if content == theirs:
                superfluous.add(entry.path)
            elif content is not None:
                entry = rewritten(tree, entry, content, replace(entry.version, lamport=lamport + 1))
                entry = replace(entry, only_in=entry.only_in or changed[entry.path].only_in)
                merged.add(entry.path)
        result.append(entry)
    touched = {os.path.dirname(path) for path in merged}
    restore_directories(tree, result, touched)
    return taken_out(tree, tuple(result), superfluous), frozenset(merged)


def is_index(entry: Entry) -> bool:
    """Whether another version of an entry might be merged with it."""
    return entry.type is EntryType.FILE and entry.size <= _LARGEST_INDEX and known.is_index(entry.path)


def rewritten(tree: str, entry: Entry, content: bytes, version: Version) -> Entry:
    """Give a file of the directory `tree` other content, in a new inode: the old one may be another name's, too."""
    path = f"{tree}/{entry.path}"
    temp = f"{path}.merged"
    with open(temp, "xb") as file:
        file.write(content)
    after = replace(entry, size=len(content), sha256="", version=version)
    nodes.set_entry_metadata(temp, after)
    os.rename(temp, path)
    return after


def taken_out(tree: str, entries: tuple[Entry, ...], paths: set[str]) -> tuple[Entry, ...]:
    """The entries without those paths, which are removed from the directory `tree`; times of directories stay."""
    if not paths:
        return entries
    for path in sorted(paths, reverse=True):
        remove_tree(f"{tree}/{path}")
    kept = tuple([entry for entry in entries if entry.path not in paths])
    restore_directories(tree, kept, {os.path.dirname(path) for path in paths})
    return materialise.without_dangling_links(kept)


def units(entries: "Iterable[Entry]") -> dict[str, list[Entry]]:
    """The entries that belong to units, directories at and below a unit's own included; those of units without any are left out."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        unit = known.unit_of(f"{entry.path}/~") if entry.is_directory else known.unit_of(entry.path)
        if unit and (not entry.is_directory or is_beneath(entry.path, unit)):
            found.setdefault(unit, []).append(entry)
    return found


def _written_the_same(tree: str, entries: tuple[Entry, ...], layers: tuple[str, ...]) -> set[str]:
    """The files that the step found as they are, but for an earlier time that does as well: the volume keeps that. A later one could hide a change upstream."""
    import filecmp

    paths = set()
    for entry in entries if layers else ():
        if entry.type is not EntryType.FILE or not known.ignores_time(entry.path) or not (source := nodes.lookup(layers, entry.path)):
            continue
        found = os.lstat(source)
        before = nodes.read_entry(source, entry.path, found, entry.version, nodes.attributes(source))
        is_same = before.mtime_ns <= entry.mtime_ns and replace(before, mtime_ns=entry.mtime_ns) == entry
        if is_same and filecmp.cmp(source, f"{tree}/{entry.path}", shallow=False):
            paths.add(entry.path)
    return paths


def _with_rest_of_units(tree: str, entries: tuple[Entry, ...], changed: dict[str, list[Entry]], files: StepFiles, layers: tuple[str, ...]) -> tuple[Entry, ...]:
    """Bring in what a changed unit has in the layers below."""
    own = {entry.path for entry in entries}
    wanted: list[str] = []
    for unit, members in changed.items():
        if not layers or not any(entry.path in own and not entry.is_directory for entry in members):
            continue
        parent = os.path.dirname(unit)
        beside = [nodes.below(parent, name) for name in nodes.names_in(layers, parent)] if not files.has_directory(unit) else []
        wanted += files.found_below(unit) if files.has_directory(unit) else [path for path in beside if known.unit_of(path) == unit and files.has(path)]
    return with_found(tree, entries, layers, wanted)


def with_found(tree: str, entries: tuple[Entry, ...], layers: tuple[str, ...], paths: "Iterable[str]") -> tuple[Entry, ...]:
    """The entries and files that the step found, with the directories above them: by links, as both are immutable from now on."""
    own = {entry.path for entry in entries}
    added: list[Entry] = []
    touched: set[str] = set()
    for path in paths:
        if path in own:
            continue
        for place in (*ancestors(path), path):
            if place not in own:
                added.append(_brought_in(tree, layers, place, entries[0].version))
                own.add(place)
        touched.update(ancestors(path))
    if not added:
        return entries
    result = sorted([*entries, *added], key=lambda entry: entry.path)
    restore_directories(tree, result, touched)
    return tuple(result)


def _brought_in(tree: str, layers: tuple[str, ...], path: str, version: Version) -> Entry:
    source, target = nodes.lookup(layers, path), f"{tree}/{path}"
    found = os.lstat(source)
    entry = nodes.read_entry(source, path, found, version, nodes.attributes(source))
    if entry.is_directory:
        os.mkdir(target)
        nodes.set_entry_metadata(target, entry)
        return entry
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        nodes.copy(source, target, found)
    return entry


def _with_emptied_logs(tree: str, entries: tuple[Entry, ...], deleted: "Iterable[str]", layers: tuple[str, ...]) -> tuple[Entry, ...]:
    """A deletion ends with its build; but a database that had its log written into it must not meet that log again. An empty one says nothing."""
    own = {entry.path: entry for entry in entries}
    added = []
    for path in deleted:
        database = own.get(known.unit_of(path)) if sqlite.is_log(path) else None
        if database is not None and nodes.lookup(layers, path):
            entry = replace(database, path=path, type=EntryType.FILE, size=0, sha256="", target="")
            with open(f"{tree}/{path}", "xb"):
                pass
            nodes.set_entry_metadata(f"{tree}/{path}", entry)
            added.append(entry)
    if not added:
        return entries
    restore_directories(tree, entries, {os.path.dirname(entry.path) for entry in added})
    return tuple(sorted([*entries, *added], key=lambda entry: entry.path))


def restore_directories(tree: str, entries: "Iterable[Entry]", touched: set[str]) -> None:
    """Give directories whose content was changed here the times that the step left."""
    if touched:
        for entry in sorted([entry for entry in entries if entry.is_directory and entry.path in touched], key=lambda entry: entry.path, reverse=True):
            nodes.set_entry_metadata(f"{tree}/{entry.path}" if entry.path else tree, entry)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()

"""What a pull does beyond letting one side win at each path: indexes come to serve all their writers, and units stay whole.

Two versions of an index *compete* if neither writer had seen the other's. Their contents are fetched and merged; if the winner's is not what comes out, the
result is written as a delta of this machine, above all of them. What comes out doesn't depend on the order, and a machine that finds it as the winner writes
nothing: so machines that merge at the same time end with one content. A head's publisher has merged what it read (`compete` before publishing), so
within one head the winner stands for all.

A unit is as one delta made it (adapting.py): the winner's paths are shown, and none of anybody else's.
"""

import os

from chandlery.values import value
from chandlery.volume import adapting, fetch
from chandlery.volume.adapters import known
from chandlery.volume.merge import merge, precedence
from chandlery.volume.tree import Entry, Generation, Version, ancestors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chandlery.volume.fetch import AtHand
    from chandlery.volume.head import Head
    from chandlery.volume.pack import PackRef
    from chandlery.volume.pack_reader import PackReader
    from chandlery.volume.problem import Problem
    from chandlery.volume.remote_head import RemoteHead

    Wanted = dict[str, tuple[Entry, PackRef | None]]


@value
class Contents:
    """What competing indexes come to: content by path, those alone that nobody has yet."""

    merged: "Mapping[str, bytes]"
    missing: "tuple[PackRef, ...]" = ()
    warnings: "tuple[Problem, ...]" = ()


def competing(
    head: "Head", mine: "Mapping[str, Entry]", heads: "Sequence[RemoteHead]", tables: "Mapping[PackRef, Sequence[Entry]]"
) -> "dict[str, dict[Entry, PackRef | None]]":
    """The indexes of which there are several versions, none of whose writers had seen the others; with the pack that each is in, None for what is here."""
    indexes = {item: [entry for entry in table if adapting.is_index(entry)] for item, table in tables.items()}
    places: dict[str, dict[Entry, PackRef]] = {}
    generations: dict[str, Generation] = {}
    for remote in heads:
        best: dict[str, Entry] = {}
        for item in remote.packs:
            for entry in indexes.get(item, ()):
                places.setdefault(entry.path, {})[entry] = item
                best[entry.path] = max(best.get(entry.path, entry), entry, key=lambda entry: precedence(entry.version))
        for path, entry in best.items():
            shown = Generation(remote.vector, 0, {path: frozenset([entry])}, dict(remote.tombstones))
            generations[path] = merge(generations[path], shown) if path in generations else shown
    result: dict[str, dict[Entry, PackRef | None]] = {}
    for path, theirs in generations.items():
        own = {path: frozenset([mine[path]])} if path in mine else {}
        alive = merge(Generation(head.vector, 0, own, dict(head.tombstones)), theirs).registers.get(path, frozenset())
        if len({entry.sha256 for entry in alive}) > 1:
            result[path] = {entry: places[path].get(entry) for entry in alive}
    return result


def contents(
    readers: "Mapping[PackRef, PackReader]",
    contested: "Mapping[str, Mapping[Entry, PackRef | None]]",
    shown: "Mapping[str, Entry]",
    own: "Mapping[str, str]",
    scratch: str,
    at_hand: "AtHand | None" = None,
) -> Contents:
    """Merge what competes. `own` says in which file what is here has its content; `shown` is what will be seen, without this."""
    merged: dict[str, bytes] = {}
    missing: list[PackRef] = []
    warnings: list[Problem] = []
    read: dict[str, dict[Entry, bytes]] = {
        path: {entry: _read(own[path]) for entry, item in found.items() if item is None} for path, found in contested.items()
    }
    pending = [(path, entry, item) for path, found in contested.items() for entry, item in found.items() if item is not None]
    turn = 0
    while pending:
        wanted: Wanted = {}
        later = []
        for path, entry, item in pending:
            if path in wanted:
                later.append((path, entry, item))
            else:
                wanted.update({above: (shown[above], None) for above in ancestors(path)})
                wanted[path] = (entry, item)
        fetched = fetch.build_tree(readers, wanted, f"{scratch}/{turn}", at_hand)
        missing.extend(fetched.missing)
        warnings.extend(fetched.warnings)
        for entry in fetched.entries:
            if not entry.is_directory:
                read[entry.path][entry] = _read(f"{scratch}/{turn}/{entry.path}")
        pending, turn = later, turn + 1
    for path, found in read.items():
        winner = found.get(shown[path])
        content = _all_merged(path, list(found.values()))
        if winner is not None and content is not None and content != winner and len(found) == len(contested[path]):
            merged[path] = content
    return Contents(merged, tuple(missing), tuple(warnings))


def written(tree: str, entries: tuple[Entry, ...], merged: "Mapping[str, bytes]", shown: "Mapping[str, Entry]", version: Version) -> tuple[Entry, ...]:
    """Put merged indexes into the directory `tree`, whose directories for them are there; its entries afterwards."""
    after = {entry.path: entry for entry in entries}
    for path, content in merged.items():
        after[path] = adapting.rewritten(tree, shown[path], content, version)
    adapting.restore_directories(tree, after.values(), {os.path.dirname(path) for path in merged})
    return tuple(after.values())


def with_whole_units(wanted: "Wanted", mine: "Mapping[str, Entry]", shown: "Mapping[str, Entry]") -> "tuple[Wanted, frozenset[str]]":
    """What is wanted, less what the units' winners don't have; and the paths here that must go for the same reason."""
    touched = {unit for path, (entry, _) in wanted.items() if not entry.is_directory and (unit := known.unit_of(path))}
    if not touched:
        return wanted, frozenset()
    units: dict[str, list[Entry]] = {}
    for entry in shown.values():
        if not entry.is_directory and (unit := known.unit_of(entry.path)) in touched:
            units.setdefault(unit, []).append(entry)
    alien: set[str] = set()
    for entries in units.values():
        best = max((entry.version for entry in entries), key=precedence)
        alien.update(entry.path for entry in entries if (entry.version.slot, entry.version.sequence) != (best.slot, best.sequence))
    kept = {path: found for path, found in wanted.items() if path not in alien}
    return kept, frozenset([path for path in alien if path in mine and path not in wanted])


def without_torn_units(tree: str, entries: tuple[Entry, ...], wanted: "Iterable[str]") -> tuple[Entry, ...]:
    """Take out the units of which not all that was wanted could be had."""
    present = {entry.path for entry in entries}
    torn = {unit for path in wanted if path not in present and (unit := known.unit_of(path))}
    if not torn:
        return entries
    return adapting.taken_out(tree, entries, {entry.path for unit, members in adapting.units(entries).items() if unit in torn for entry in members})


def _all_merged(path: str, found: list[bytes]) -> bytes | None:
    content: bytes | None = found[0] if found else None
    for other in found[1:]:
        content = known.merge_index(path, content, other) if content is not None else None
    return content


def _read(path: str) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return file.read()

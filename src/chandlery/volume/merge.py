"""Merging the trees of a cache volume: commutative, associative, idempotent. Pure.

A generation is a map from path to the versions that nothing has superseded, under a causal context (the version vector): the optimised
multi-value register of Almeida, Shoker and Baquero, "Delta State Replicated Data Types" (2016), section 7. One side lacks a version
that its vector covers, and has another one of that path: then it has superseded it. One side lacks a version that its vector doesn't
cover: then it never saw it. So:

* an addition is never lost to a writer who didn't see it;
* a path that is merely missing says nothing: what a step deleted is not part of its delta, and a tree may be passed on in part;
* only a tombstone removes, and only what its author had seen, here and in every head that still has it.

`view` is what a machine shows. Where versions compete the larger of (Lamport number, sha256 of the writer's name) wins, a number that all
entries of one delta share: so of two deltas that changed the same paths one wins in all of them.
"""

import hashlib
from functools import lru_cache

from chandlery.values import replace
from chandlery.volume.tree import Delta, Entry, Generation, Version, VersionVector, ancestors, is_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@lru_cache(maxsize=4096)
def _tie_break(slot: str, sequence: int) -> str:
    return hashlib.sha256(f"{slot}:{sequence}".encode()).hexdigest()


def precedence(version: Version) -> tuple[int, str]:
    """The total order in which competing versions win; causally later is always larger."""
    return version.lamport, _tie_break(version.slot, version.sequence)


def merge(one: Generation, other: Generation) -> Generation:
    """Everything that either side has and neither has superseded or removed."""
    tombstones = _joined_tombstones(one.tombstones, other.tombstones)
    registers: dict[str, frozenset[Entry]] = {}
    for path in one.registers.keys() | other.registers.keys():
        ours, theirs = one.registers.get(path, frozenset()), other.registers.get(path, frozenset())
        kept = ours if ours == theirs else (ours & theirs) | _unseen(ours - theirs, theirs, other.vector) | _unseen(theirs - ours, ours, one.vector)
        alive = _without_removed(path, kept, tombstones)
        if alive:
            registers[path] = alive
    return Generation(one.vector.joined(other.vector), max(one.lamport, other.lamport), registers, tombstones)


def apply(generation: Generation, delta: Delta) -> Generation:
    """The generation with one delta more; a delta that it has absorbed already changes nothing."""
    if generation.vector.covers(delta.version):
        return generation
    registers = dict(generation.registers)
    for entry in delta.entries:
        concurrent = [old for old in registers.get(entry.path, ()) if not delta.base.covers(old.version)]
        alive = _without_removed(entry.path, frozenset([*concurrent, entry]), generation.tombstones)
        if alive:
            registers[entry.path] = alive
    vector = generation.vector.advanced(delta.version.slot, delta.version.sequence)
    return Generation(vector, max(generation.lamport, delta.version.lamport), registers, generation.tombstones)


def remove(generation: Generation, path: str) -> Generation:
    """Remove what is at or below `path` now, for everybody; what others add meanwhile stays."""
    tombstones = _joined_tombstones(generation.tombstones, {path: generation.vector})
    registers = {name: entries for name, entries in generation.registers.items() if not is_beneath(name, path)}
    return Generation(generation.vector, generation.lamport, registers, tombstones)


def view(generation: Generation) -> dict[str, Entry]:
    """What is shown at each path. Something that isn't a directory hides what is below it and not newer; else what is below wins."""
    winners = {path: max(entries, key=lambda entry: precedence(entry.version)) for path, entries in generation.registers.items()}
    return shown_of(winners, lambda path: generation.registers[path])


def shown_of(winners: "dict[str, Entry]", versions: "Callable[[str], Iterable[Entry]]") -> dict[str, Entry]:
    """The same from what wins at each path; `versions` gives all that compete there."""
    parents = {path.rpartition("/")[0] for path in winners if path}
    above_something = {above for parent in parents for above in (*ancestors(parent), parent)}
    blocked_by = {path: precedence(winners[path].version) for path in above_something if path in winners and not winners[path].is_directory}
    if not blocked_by:
        return winners
    shown: dict[str, Entry] = {}
    for path, entry in winners.items():
        rank = precedence(entry.version)
        if all(blocked_by[above] < rank for above in ancestors(path) if above in blocked_by):
            shown[path] = entry
    for path in list(shown):
        for above in ancestors(path):
            if above in shown and not shown[above].is_directory:
                shown[above] = _directory_instead(versions(above), shown[above])
    return shown


def losers(delta: Delta, others: "Iterable[Entry]") -> dict[str, Entry]:
    """The paths at which a delta loses to entries that it has not seen, with the winners: what its directory must not show.

    `others` are the versions now shown. A lost path that isn't a directory on both sides loses all that is below it, too.
    """
    rank = precedence(delta.version)
    mine = {entry.path for entry in delta.entries}
    return {entry.path: entry for entry in others if entry.path in mine and not delta.base.covers(entry.version) and precedence(entry.version) > rank}


def _unseen(entries: frozenset[Entry], opposite: frozenset[Entry], vector: VersionVector) -> frozenset[Entry]:
    """Of the versions that one side alone has, those that the other side has not superseded."""
    if not opposite:
        return entries
    return frozenset([entry for entry in entries if not vector.covers(entry.version)])


def _without_removed(path: str, entries: frozenset[Entry], tombstones: "Mapping[str, VersionVector]") -> frozenset[Entry]:
    if not tombstones:
        return entries
    over = [tombstones[above] for above in (*ancestors(path), path) if above in tombstones]
    return frozenset([entry for entry in entries if not any(vector.covers(entry.version) for vector in over)])


def _joined_tombstones(one: "Mapping[str, VersionVector]", other: "Mapping[str, VersionVector]") -> dict[str, VersionVector]:
    joined = dict(one)
    for path, vector in other.items():
        joined[path] = joined[path].joined(vector) if path in joined else vector
    return joined


def _directory_instead(entries: "Iterable[Entry]", hidden: Entry) -> Entry:
    """The best directory among competing versions; a plain one, where there is none, for the newer things below it."""
    directories = [entry for entry in entries if entry.is_directory]
    if directories:
        return max(directories, key=lambda entry: precedence(entry.version))
    from chandlery.volume.tree import EntryType

    return replace(hidden, type=EntryType.DIRECTORY, mode=0o755, size=0, sha256="", target="", xattrs=())

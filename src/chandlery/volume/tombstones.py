"""Explicit removals, which every merge honours: joining them, and taking what others removed out of the volume here."""

from chandlery.errors import StoreError
from chandlery.volume import attaching, folding, materialise
from chandlery.volume.tree import EMPTY_VECTOR, Entry, VersionVector, ancestors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chandlery.content.session import Session
    from chandlery.content.store import Store

    Tombstones = tuple[tuple[str, VersionVector], ...]

_ATTEMPTS = 20


def joined(one: "Tombstones", other: "Tombstones") -> "Tombstones":
    if not one or not other or one == other:
        return one or other
    result = dict(one)
    for path, vector in other:
        known = result.get(path, EMPTY_VECTOR)
        result[path] = vector if known <= vector else known.joined(vector)
    return needed(tuple(sorted(result.items())))


def needed(found: "Tombstones") -> "Tombstones":
    """Without those that one of a directory above says as well: whoever meets that one removes the same. All others stay for ever: a machine that was
    away, and still has what they remove, needs them whenever it comes back, and nobody knows which machines there are."""
    known = dict(found)
    return tuple([(path, vector) for path, vector in found if not any(above in known and vector <= known[above] for above in ancestors(path))])


def is_removed(entry: Entry, tombstones: "Mapping[str, VersionVector]") -> bool:
    """Whether a removal covers an entry."""
    if not tombstones:
        return False
    return any(above in tombstones and tombstones[above].covers(entry.version) for above in (*ancestors(entry.path), entry.path))


def take_out(store: "Store", session: "Session", volume_id: str, tombstones: "Tombstones") -> int:
    """Make a volume's head show nothing that `tombstones` cover; how many paths went. What is committed meanwhile stays. Raises StoreError volume.busy."""
    for _ in range(_ATTEMPTS):
        held = attaching.hold_head(store, session, volume_id)
        if held is None:
            return 0
        row, attachment = held
        try:
            directories = [attaching.layer_directory(store, volume_id, layer.name) for layer in row.head.layers]
            shown = materialise.shown([materialise.read_table(directory) for directory in directories])
            gone = _gone([entry for entry, _ in shown.values()], dict(tombstones))
            if not gone:
                return 0
            layer, _ = folding.folded_layer(store, attachment, row, 0, without=gone)
            if folding.swap(store, row, layer, 0):
                return len(gone)
        finally:
            attachment.release()
    raise StoreError("the cache volume keeps changing", code="volume.busy", hint="try again when fewer builds use it")


def _gone(entries: "Iterable[Entry]", tombstones: "Mapping[str, VersionVector]") -> set[str]:
    """The paths to leave out; a directory only if nothing that stays is in it."""
    removed, needed = set(), {""}
    for entry in entries:
        if is_removed(entry, tombstones):
            removed.add(entry.path)
        else:
            needed.update(ancestors(entry.path))
    return removed - needed

"""Making a damaged volume whole: what is damaged is dropped, here only (no tombstone). The head forgets the writers of it, so that the next pull asks for
what they wrote again.
"""

from chandlery.linux.atomic import remove_if_there
from chandlery.values import replace, value
from chandlery.volume import attaching, committing, folding, materialise, removing
from chandlery.volume.head import Layer, VolumeRow, advance, fresh_slot, without_layers
from chandlery.volume.objects import Objects, is_object, key_of, sha256_of
from chandlery.volume.tree import VersionVector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store
    from chandlery.volume.attachment import Attachment
    from chandlery.volume.inventory import Damage
    from chandlery.volume.tree import Entry


@value
class Repaired:
    """The paths that had to go; `layers` counts whole layers."""

    dropped: frozenset[str] = frozenset()
    layers: int = 0


def repair(store: "Store", volume_id: str, damage: "tuple[Damage, ...]") -> Repaired:
    """Take out of a volume what is damaged. Raises StoreError volume.unknown, volume.busy; MachineError lock.timeout."""
    lost = {item.layer for item in damage if item.is_whole_layer}
    paths = {(item.layer, item.path) for item in damage}

    def act(row: VolumeRow, attachment: "Attachment") -> Repaired | None:
        if lost:
            gone = [layer for layer in row.head.layers if layer.name in lost]
            head = without_layers(row.head, gone)
            with store.db.transaction() as tx:
                if not advance(tx, row.id, row.head, head):
                    return None
            row = replace(row, head=head)
        return _repair_files(store, row, attachment, paths, len(lost))

    return removing.rewritten(store, volume_id, act)


def _repair_files(store: "Store", row: VolumeRow, attachment: "Attachment", paths: "set[tuple[str, str]]", lost: int) -> Repaired | None:
    layers = row.head.layers
    tables = [materialise.read_table(attaching.layer_directory(store, row.id, layer.name)) for layer in layers]
    _forget_objects(store, [entry for layer, table in zip(layers, tables, strict=True) for entry in table if (layer.name, entry.path) in paths])
    if not any(layer.name == name for layer in layers for name, _ in paths):
        return Repaired(layers=lost)
    shown = materialise.shown(tables)
    wrong = {path: entry for path, (entry, index) in shown.items() if (layers[index].name, path) in paths}
    layer, _ = folding.folded_layer(store, attachment, row, 0, without=wrong)
    if not _put(store, row, layer, {entry.version.slot for entry in wrong.values()}):
        return None
    return Repaired(frozenset(wrong), lost)


def _put(store: "Store", row: VolumeRow, layer: Layer, slots: set[str]) -> bool:
    if not folding.swap(store, row, layer, 0):
        return False
    while slots:
        now = committing.current(store, row.id)
        if now is None:
            return True
        head = now.head
        vector = VersionVector(tuple([(slot, count) for slot, count in head.vector.seen if slot not in slots]))
        # a slot's numbers are not given twice: who has lost some of its own goes on under another name
        slot = fresh_slot() if head.slot in slots else head.slot
        with store.db.transaction() as tx:
            if advance(tx, row.id, head, replace(head, number=head.number + 1, vector=vector, slot=slot)):
                return True
    return True


def _forget_objects(store: "Store", damaged: "list[Entry]") -> None:
    """Nothing may be linked from an object again whose content is not what its name says."""
    objects = Objects(store)
    for entry in damaged:
        if is_object(entry):
            path = objects.path(key_of(entry))
            try:
                is_wrong = sha256_of(path) != entry.sha256
            except OSError:
                continue
            if is_wrong:
                remove_if_there(path)

"""Changing how a head is laid out, and what an operator removes from it; never on a step's path.

A fold makes one layer of several by hard links and swaps it for them in one transaction; steps go on running on the old ones, which `sweep`
removes when the last has ended. Mostly the few small layers on top are folded; the large one at the bottom only when what lies on it has grown
to half its size, so a file is linked a few times in its life, not once a build. One process folds a volume at a time.
"""

import os

from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.errors import StoreError
from chandlery.linux import filesystem
from chandlery.linux.flock import FileLock
from chandlery.values import replace
from chandlery.volume import attaching, committing, materialise
from chandlery.volume.attachment import Attachment
from chandlery.volume.head import FIND, FIND_ALL, SHARED_INSTANCE, Head, Layer, VolumeRow, advance, volume_row
from chandlery.volume.key import VolumeKey
from chandlery.volume.objects import Objects
from chandlery.volume.tree import EMPTY_VECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store


def fold_volume(store: "Store", volume_id: str) -> bool:
    """Fold a head of too many layers; False if it has few, or somebody else is at it."""
    lock = FileLock(f"{store.layout.volumes}/{volume_id}/fold.lock")
    if not lock.try_acquire():
        return False
    try:
        with store.begin() as session:
            found = attaching.hold_head(store, session, volume_id)
            if found is None:
                return False
            row, attachment = found
            try:
                first = first_to_fold(row.head.layers)
                return first < len(row.head.layers) and _fold(store, attachment, row, first)
            finally:
                attachment.release()
    finally:
        lock.release()


def first_to_fold(layers: tuple[Layer, ...]) -> int:
    """The index from which on the layers of a head are to become one; their number if there is nothing to do."""
    if len(layers) <= committing.MOST_LAYERS:
        return len(layers)
    above = sum(layer.entries for layer in layers[1:])
    return 0 if above * 2 >= layers[0].entries else 1


def remove_path(store: "Store", key: VolumeKey, path: str) -> int:
    """Publish a tombstone for what the volume holds at and below `path`; how many entries that is."""
    path = path.strip("/")
    rows = store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE))
    if not rows:
        raise unknown_volume(key)
    volume_id = volume_row(rows[0]).id
    with FileLock(f"{store.layout.volumes}/{volume_id}/commit.lock", timeout_s=60.0), store.begin() as session:
        while True:
            found = attaching.hold_head(store, session, volume_id)
            if found is None:
                raise unknown_volume(key)
            row, attachment = found
            try:
                layer, left_out = _folded_layer(store, attachment, row, 0, without=path)
                if _swap(store, row, layer, 0, removed=path):
                    return left_out
            finally:
                attachment.release()


def sync(store: "Store") -> None:
    """Put every head on the disk with one syncfs, if any isn't there yet."""
    unsynced = [row for row in map(volume_row, store.db.read(FIND_ALL)) if any(layer.boot_id for layer in row.head.layers)]
    if not unsynced:
        return
    filesystem.sync(store.root)
    names = {layer.name for row in unsynced for layer in row.head.layers}
    with store.db.transaction() as tx:
        for row in map(volume_row, tx.execute(FIND_ALL)):
            layers = tuple([replace(layer, boot_id="") if layer.name in names else layer for layer in row.head.layers])
            if layers != row.head.layers:
                advance(tx, row.id, row.head, replace(row.head, number=row.head.number + 1, layers=layers))


def unknown_volume(key: VolumeKey) -> StoreError:
    return StoreError(
        f"there is no cache volume {key.name!r} for {key.platform} in scope {key.scope!r}",
        code="volume.unknown",
        hint="`chandlery volume ls` shows those that there are",
    )


def _fold(store: "Store", attachment: Attachment, row: VolumeRow, first: int) -> bool:
    layer, _ = _folded_layer(store, attachment, row, first)
    return _swap(store, row, layer, first)


def _folded_layer(store: "Store", attachment: Attachment, row: VolumeRow, first: int, *, without: str | None = None) -> tuple[Layer, int]:
    """Make and name the layer that replaces those from `first` on, and how many entries it leaves out."""
    old = row.head.layers[first:]
    new = f"{attachment.session.scratch('f')}/l"
    os.mkdir(new, 0o700)
    attachment.hold(new)
    directories = [attaching.layer_directory(store, row.id, layer.name) for layer in old]
    folded = materialise.fold(directories, f"{new}/{materialise.TREE}", Objects(store), without=without)
    materialise.write_table(new, folded.entries)
    name = fresh_name()
    reach("volume.folded")
    os.rename(new, attaching.layer_directory(store, row.id, name))
    reach("volume.fold-renamed")
    by = EMPTY_VECTOR
    for layer in old:
        by = by.joined(layer.by)
    written = {(entry.version.slot, entry.version.sequence) for entry in folded.entries}
    failed = tuple(sorted({step for layer in old for step in layer.failed} & written))
    layer = Layer(name, len(folded.entries), folded.size_bytes, by, store.boot_id, is_hashed=True, failed=failed)
    return layer, folded.left_out


def _swap(store: "Store", row: VolumeRow, layer: Layer, first: int, *, removed: str | None = None) -> bool:
    """Put `layer` where those from `first` on were; what was committed meanwhile stays on top. False if the head was laid out anew."""
    with store.db.transaction(durable=False) as tx:
        now = committing.current(store, row.id)
        if now is None or now.head.layers[: len(row.head.layers)] != row.head.layers:
            return False
        layers = (*row.head.layers[:first], layer, *now.head.layers[len(row.head.layers) :])
        after = replace(now.head, number=now.head.number + 1, layers=layers)
        if removed is not None:
            after = _with_tombstone(after, removed)
        is_done = advance(tx, row.id, now.head, after)
        reach("volume.swapping")
    return is_done


def _with_tombstone(head: Head, path: str) -> Head:
    tombstones = dict(head.tombstones)
    tombstones[path] = tombstones.get(path, EMPTY_VECTOR).joined(head.vector)
    return replace(head, tombstones=tuple(sorted(tombstones.items())))

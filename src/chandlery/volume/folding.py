"""Changing how a head is laid out; never on a step's path.

A fold makes one layer of several by hard links and swaps it for them in one transaction; steps go on running on the old ones, which `sweep`
removes when the last has ended. Mostly the few small layers on top are folded; the large one at the bottom only when what lies on it has grown
to half its size, so a file is linked a few times in its life, not once a build. One process folds a volume at a time.
"""

import os

from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.errors import MachineError
from chandlery.linux.flock import FileLock
from chandlery.values import replace
from chandlery.volume import attaching, committing, materialise, reads
from chandlery.volume.attachment import Attachment
from chandlery.volume.head import Layer, VolumeRow, advance
from chandlery.volume.objects import Objects
from chandlery.volume.tree import EMPTY_VECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from chandlery.content.store import Store


def fold_volume(store: "Store", volume_id: str) -> bool:
    """Fold a head of too many layers; False if it has few, or somebody else is at it."""
    lock = FileLock(f"{store.layout.volumes}/{volume_id}/fold.lock")
    if not lock.try_acquire():
        return False
    try:
        with attaching.kept_head(store, volume_id) as kept:
            if kept is None:
                return False
            _, row, attachment = kept
            first = first_to_fold(row.head.layers)
            return first < len(row.head.layers) and _fold(store, attachment, row, first)
    finally:
        lock.release()


def first_to_fold(layers: tuple[Layer, ...]) -> int:
    """The index from which on the layers of a head are to become one; their number if there is nothing to do."""
    if len(layers) <= committing.MOST_LAYERS:
        return len(layers)
    above = sum(layer.entries for layer in layers[1:])
    return 0 if above * 2 >= layers[0].entries else 1


def _fold(store: "Store", attachment: Attachment, row: VolumeRow, first: int) -> bool:
    layer, _ = folded_layer(store, attachment, row, first)
    return swap(store, row, layer, first)


def folded_layer(store: "Store", attachment: Attachment, row: VolumeRow, first: int, *, without: "Collection[str]" = (), into: str = "") -> tuple[Layer, int]:
    """Make and name the layer that replaces those from `first` on, and how many entries it leaves out. `into` is the volume that
    the layer is for, if not the same one."""
    old = row.head.layers[first:]
    new = f"{attachment.session.scratch('f')}/l"
    os.mkdir(new, 0o700)
    attachment.hold(new)
    directories = [attaching.layer_directory(store, row.id, layer.name) for layer in old]
    folded = materialise.fold(directories, f"{new}/{materialise.TREE}", Objects(store), without=without)
    materialise.write_table(new, folded.entries)
    _keep_days(store, into or row.id, new, folded, directories, is_whole=first == 0)
    name = fresh_name()
    reach("volume.folded")
    os.rename(new, attaching.layer_directory(store, into or row.id, name))
    reach("volume.fold-renamed")
    by = EMPTY_VECTOR
    for layer in old:
        by = by.joined(layer.by)
    written = {(entry.version.slot, entry.version.sequence) for entry in folded.entries}
    failed = tuple(sorted({step for layer in old for step in layer.failed} & written))
    layer = Layer(name, len(folded.entries), folded.size_bytes, by, store.boot_id, is_hashed=True, failed=failed)
    return layer, folded.left_out


def _keep_days(store: "Store", volume_id: str, new: str, folded: materialise.Folded, directories: list[str], *, is_whole: bool) -> None:
    """What the tables of the old layers tell of when files came goes to the record of reads; the new table is as old as the oldest of them."""
    tables = [f"{directory}/{materialise.TABLE}" for directory in directories]
    days = [reads.day_of(table) for table in tables]
    came = {entry.path: days[origin] for entry, origin in zip(folded.entries, folded.origins, strict=True) if not entry.is_directory}
    oldest_ns = min((os.stat(table).st_mtime_ns for table in tables), default=0)
    try:
        reads.settle(f"{store.layout.volumes}/{volume_id}", came, is_whole=is_whole)
    except (MachineError, OSError):
        # the new table then says that everything came today
        return
    if oldest_ns:
        os.utime(f"{new}/{materialise.TABLE}", ns=(oldest_ns, oldest_ns))


def swap(store: "Store", row: VolumeRow, layer: Layer, first: int, *, tombstones: "Collection[str]" = ()) -> bool:
    """Put `layer` where those from `first` on were; what was committed meanwhile stays on top. False if the head was laid out anew.

    `tombstones` remove for everybody what `row`'s head had seen at and below those paths.
    """
    with store.db.transaction(durable=False) as tx:
        now = committing.current(store, row.id)
        if now is None or now.head.layers[: len(row.head.layers)] != row.head.layers:
            return False
        layers = (*row.head.layers[:first], layer, *now.head.layers[len(row.head.layers) :])
        after = replace(now.head, number=now.head.number + 1, layers=layers)
        if tombstones:
            joined = dict(now.head.tombstones)
            joined.update((path, joined.get(path, EMPTY_VECTOR).joined(row.head.vector)) for path in tombstones)
            after = replace(after, tombstones=tuple(sorted(joined.items())))
        is_done = advance(tx, row.id, now.head, after)
        reach("volume.swapping")
    return is_done

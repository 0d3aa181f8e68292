"""What a machine that stops may take from a volume: the additions of its own steps are on the disk when a build ends.

A few small files, which is what an ordinary build adds, are fsynced one by one: a syncfs would wait for all that the build wrote, its image too. What
came from a remote can come again: after a stop it is checked (`attaching.drop_damaged`), and what was lost is fetched. For that a syncfs waits for a
cheap moment, as it does for snapshots.
"""

import os
import time

from chandlery.content.policy import is_time_to_sync
from chandlery.linux import filesystem
from chandlery.linux.atomic import fsync_dir
from chandlery.values import replace
from chandlery.volume.attaching import layer_directory
from chandlery.volume.head import FIND_ALL, Layer, VolumeRow, advance, volume_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store

# more than this takes as long to fsync file by file as a syncfs takes
_FEW_ENTRIES = 64
_FEW_BYTES = 4 << 20


def settle(store: "Store") -> None:
    """Put on the disk what only this machine has, and the rest if this is a cheap moment. Raises OSError."""
    unsynced = [(row, layer) for row in map(volume_row, store.db.read(FIND_ALL)) for layer in row.head.layers if layer.boot_id]
    own = [(row, layer) for row, layer in unsynced if not layer.is_fetched]
    if not unsynced:
        return
    is_little = sum(layer.entries for _, layer in own) <= _FEW_ENTRIES and sum(layer.size_bytes for _, layer in own) <= _FEW_BYTES
    if not is_little or is_time_to_sync(_waited_s(store, unsynced)):
        filesystem.sync(store.root)
        _note_synced(store, {layer.name for _, layer in unsynced})
    elif own:
        for row, layer in own:
            _sync_layer(layer_directory(store, row.id, layer.name))
        _note_synced(store, {layer.name for _, layer in own})


def _waited_s(store: "Store", unsynced: "list[tuple[VolumeRow, Layer]]") -> float:
    """For how long the oldest of them has waited, by when its directory got its name."""
    oldest = time.time()
    for row, layer in unsynced:
        try:
            oldest = min(oldest, os.stat(layer_directory(store, row.id, layer.name)).st_ctime)
        except FileNotFoundError:
            continue
    return time.time() - oldest


def _sync_layer(directory: str) -> None:
    """A layer that a fold has replaced meanwhile is no loss: the fold's is synced by who made it."""
    try:
        filesystem.sync_tree(directory)
        fsync_dir(os.path.dirname(directory))
    except FileNotFoundError:
        return


def _note_synced(store: "Store", names: set[str]) -> None:
    with store.db.transaction() as tx:
        for row in map(volume_row, tx.execute(FIND_ALL)):
            layers = tuple([replace(layer, boot_id="") if layer.name in names else layer for layer in row.head.layers])
            if layers != row.head.layers:
                advance(tx, row.id, row.head, replace(row.head, number=row.head.number + 1, layers=layers))

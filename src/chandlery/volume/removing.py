"""What an operator, or a limit, takes out of a volume: by tombstones, which every merge honours, or it would come back with the next head.

A removal makes one layer of all (folding.py) less what goes, and swaps it in. Nothing is held up meanwhile: steps run on the old layers, and what they
commit stays on top. A tombstone covers what the head had seen when the removal began; what others add at the same path afterwards stays.
"""

from chandlery.errors import StoreError
from chandlery.linux.flock import FileLock
from chandlery.values import value
from chandlery.volume import attaching, folding, garbage, inventory, materialise, notes, reads
from chandlery.volume.head import FIND, SHARED_INSTANCE, VolumeRow, volume_row
from chandlery.volume.key import VolumeKey
from chandlery.volume.tree import is_beneath
from chandlery.volume.trimming import TrimPlan, Use

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeVar

    from chandlery.content.store import Store
    from chandlery.volume.attachment import Attachment

    T = TypeVar("T")
    Choose = Callable[[dict[str, Use]], TrimPlan]

_FOLD_TIMEOUT_S = 600.0
_ATTEMPTS = 20


@value
class Removed:
    files: int
    size_bytes: int


def remove_paths(store: "Store", key: VolumeKey, paths: "Collection[str]") -> Removed:
    """Remove what is at and below `paths`, for everybody. Raises StoreError volume.unknown, MachineError lock.timeout."""

    def act(row: VolumeRow, attachment: "Attachment") -> Removed | None:
        files = [use for path, use in uses(store, row).items() if any(is_beneath(path, gone) for gone in paths)]
        removed = Removed(len(files), sum(use.size_bytes for use in files))
        return removed if _take_out(store, row, attachment, paths) else None

    return rewritten(store, shared_id(store, key), act)


def trim(store: "Store", volume_id: str, choose: "Choose") -> TrimPlan:
    """Remove what `choose` says of a volume's files; what went. Raises as `remove_paths`."""

    def act(row: VolumeRow, attachment: "Attachment") -> TrimPlan | None:
        plan = choose(uses(store, row))
        return plan if not plan.paths or _take_out(store, row, attachment, plan.paths) else None

    return rewritten(store, volume_id, act)


def leave_out(store: "Store", volume_id: str, paths: "Collection[str]") -> None:
    """Show these paths no more, here: others of the same names won. Raises StoreError volume.unknown, volume.busy."""

    def act(row: VolumeRow, attachment: "Attachment") -> bool | None:
        layer, _ = folding.folded_layer(store, attachment, row, 0, without=paths)
        return folding.swap(store, row, layer, 0) or None

    rewritten(store, volume_id, act)


def would_trim(store: "Store", volume_id: str, choose: "Choose") -> TrimPlan:
    """What `trim` would remove. Raises StoreError volume.unknown."""
    return looked_at(store, volume_id, lambda row, _: choose(uses(store, row)))


def uses(store: "Store", row: VolumeRow) -> dict[str, Use]:
    """Each file of a volume with the last day on which it may have been used, here or on a machine that told so. The layers must be held."""
    directories = [attaching.layer_directory(store, row.id, layer.name) for layer in row.head.layers]
    came = [reads.day_of(f"{directory}/{materialise.TABLE}") for directory in directories]
    directory = f"{store.layout.volumes}/{row.id}"
    known, told = reads.load(directory), notes.load(directory)
    shown = materialise.shown([materialise.read_table(directory) for directory in directories])
    return {
        path: Use(entry.size, max(known.last_used(path, came[index]), told.last_read(path))) for path, (entry, index) in shown.items() if not entry.is_directory
    }


def free(store: "Store") -> None:
    """Give the space back: layers that nobody uses any more, and objects that only they had. Looks at every object."""
    garbage.prune(store)


def shared_id(store: "Store", key: VolumeKey) -> str:
    """The id of a volume's shared instance. Raises StoreError volume.unknown."""
    rows = store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE))
    if not rows:
        raise inventory.unknown_volume(key)
    return volume_row(rows[0]).id


def rewritten(store: "Store", volume_id: str, act: "Callable[[VolumeRow, Attachment], T | None]") -> "T":
    """As `looked_at`, with nobody else laying out the volume anew meanwhile; other processes' folds are waited for."""
    with FileLock(f"{store.layout.volumes}/{volume_id}/fold.lock", timeout_s=_FOLD_TIMEOUT_S):
        return looked_at(store, volume_id, act)


def looked_at(store: "Store", volume_id: str, act: "Callable[[VolumeRow, Attachment], T | None]") -> "T":
    """What `act` gives for the head, which is kept while it looks; once more where it gives None, because the head was laid out anew meanwhile.

    Raises StoreError volume.unknown, volume.busy.
    """
    for _ in range(_ATTEMPTS):
        with attaching.kept_head(store, volume_id) as kept:
            if kept is None:
                raise StoreError("the cache volume is gone", code="volume.unknown", hint="`chandlery volume ls` shows those that there are")
            _, row, attachment = kept
            done = act(row, attachment)
        if done is not None:
            return done
    raise StoreError("the cache volume keeps changing", code="volume.busy", hint="try again when fewer builds use it")


def _take_out(store: "Store", row: VolumeRow, attachment: "Attachment", paths: "Collection[str]") -> bool:
    if not row.head.layers:
        return True
    layer, _ = folding.folded_layer(store, attachment, row, 0, without=paths)
    return folding.swap(store, row, layer, 0, tombstones=paths)

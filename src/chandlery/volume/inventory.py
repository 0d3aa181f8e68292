"""What cache volumes there are, what they take, whether they are whole; and removing one."""

from chandlery.content.session import live_leases
from chandlery.errors import StoreError
from chandlery.values import value
from chandlery.volume import attaching, garbage, materialise
from chandlery.volume.head import FIND_ALL, FIND_ALL_OF_KEY, SHARED_INSTANCE, VolumeRow, volume_row
from chandlery.volume.key import VolumeKey
from chandlery.volume.tree import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from chandlery.content.store import Store
    from chandlery.volume.head import Layer

    T = TypeVar("T")


@value
class VolumeListing:
    """One volume: `instance` 0 is the shared one, -1 a plain directory (whose size is not known without a walk: 0), others private ones. `writers` counts
    the stores whose additions it holds; `directory` is where its `directories` lie, bottom first."""

    id: str
    key: VolumeKey
    instance: int
    generation: int
    entries: int
    size_bytes: int
    last_used_at: float
    directories: tuple[str, ...]
    writers: int = 0
    directory: str = ""


@value
class VolumeUsage:
    """`size_bytes` is the sum over heads; where volumes share objects less is taken on the disk."""

    volumes: int
    size_bytes: int


@value
class Damage:
    """A path of a volume's layer that isn't as it was recorded; `is_whole_layer`: nothing of the layer can be trusted, for its table can't be read."""

    volume_id: str
    layer: str
    path: str
    is_whole_layer: bool = False


def listing(store: "Store") -> tuple[VolumeListing, ...]:
    return tuple([_listed(store, volume_row(row)) for row in store.db.read(FIND_ALL)])


def usage(store: "Store") -> VolumeUsage:
    found = listing(store)
    return VolumeUsage(len(found), sum(volume.size_bytes for volume in found))


def show(store: "Store", key: VolumeKey) -> tuple[Entry, ...]:
    """The entries that the shared instance shows, in order of path."""
    tables = [table for row in _rows_of(store, key) if row.instance == SHARED_INSTANCE for _, table in _each_layer(store, row, materialise.read_table)]
    winners = materialise.shown(tables)
    return tuple([winners[path][0] for path in sorted(winners)])


def verify(store: "Store", key: VolumeKey) -> tuple[Damage, ...]:
    return tuple(
        [damage for row in _rows_of(store, key) for layer, found in _each_layer(store, row, _damage_in) for damage in _damages(row.id, layer.name, found)]
    )


def _damage_in(directory: str) -> list[str] | None:
    """The damaged paths of a layer; None where the layer is gone or its table is no table."""
    try:
        found = materialise.damaged_paths(directory)
        return None if "" in found else found
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return None


def _damages(volume_id: str, layer: str, paths: list[str] | None) -> list[Damage]:
    return [Damage(volume_id, layer, "", is_whole_layer=True)] if paths is None else [Damage(volume_id, layer, path) for path in paths]


def _each_layer(store: "Store", row: VolumeRow, look: "Callable[[str], T]") -> "list[tuple[Layer, T]]":
    """What `look` says of each layer's directory, bottom first, while none of them can be swept away."""
    with attaching.kept_head(store, row.id) as kept:
        layers = kept[1].head.layers if kept is not None else ()
        return [(layer, look(attaching.layer_directory(store, row.id, layer.name))) for layer in layers]


def remove(store: "Store", key: VolumeKey) -> int:
    rows = _rows_of(store, key)
    with store.db.transaction() as tx:
        held = live_leases(store.layout)["volume"]
        if any(row.id in held for row in rows):
            raise StoreError(f"the cache volume {key.name!r} is in use by a running build", code="volume.in-use", hint="wait for the build, and try again")
        for row in rows:
            tx.execute("DELETE FROM volume WHERE id = ?", (row.id,))
            tx.execute("DELETE FROM volume_generation WHERE volume_id = ?", (row.id,))
    garbage.sweep(store)
    return sum(row.head.size_bytes for row in rows)


def unknown_volume(key: VolumeKey) -> StoreError:
    return StoreError(
        f"there is no cache volume {key.name!r} for {key.platform} in scope {key.scope!r}",
        code="volume.unknown",
        hint="`chandlery volume ls` shows those that there are",
    )


def _rows_of(store: "Store", key: VolumeKey) -> list[VolumeRow]:
    rows = [volume_row(row) for row in store.db.read(FIND_ALL_OF_KEY, (key.scope, key.name, key.platform))]
    if not rows:
        raise unknown_volume(key)
    return rows


def _listed(store: "Store", row: VolumeRow) -> VolumeListing:
    directories = tuple([attaching.layer_directory(store, row.id, layer.name) for layer in row.head.layers])
    return VolumeListing(
        row.id, row.key, row.instance, row.head.number, row.head.entries, row.head.size_bytes, row.last_used_at, directories,
        len(row.head.vector.seen), f"{store.layout.volumes}/{row.id}",
    )  # fmt: skip


def count_files(volume: VolumeListing) -> int:
    """How many files its layers have: by a look at their tables that is too short to tell which of them hide others."""
    return sum(materialise.count_files(directory) for directory in volume.directories)

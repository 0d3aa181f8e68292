"""The head of a cache volume: which directories it consists of now, and the rows that say so.

A head is a stack of *layers*, R/volumes/<id>/<name>/ with

    fs/            a plain directory tree (no whiteouts, no opaque marks), an overlay lower, immutable
    table.json     its entries (tree.py); versions tell who wrote them. Read only where heads are merged, folded or shown

bottom first: at each path the topmost layer has the version that won. The whole head is one small document in one row, so that taking a
volume costs one read whatever its size; volume.head names the row, and every change of it is one transaction. Only the newest
generation's row is kept; layers that no head names are garbage as soon as no step has them locked (garbage.py).
"""

import json
import time

from chandlery.content.names import fresh_name
from chandlery.oci import canonical
from chandlery.values import replace, value
from chandlery.volume.key import VolumeKey
from chandlery.volume.tree import EMPTY_VECTOR, FORMAT, VersionVector, check_format, decode_path, decode_vector, encode_path, encode_vector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from chandlery.content.database import Transaction

SHARED_INSTANCE = 0
PLAIN_INSTANCE = -1


@value
class Layer:
    """One directory of a head. `by` says which deltas it holds entries of; `boot_id` is the boot in which it was made until a sync covered it.

    `failed` names (slot, sequence) the deltas among them that a failed or cancelled step left: good for this machine, and for others only as
    far as somebody who knows the tool vouches for each file. A remote has all of a layer that `is_fetched`.
    """

    name: str
    entries: int
    size_bytes: int
    by: VersionVector
    boot_id: str = ""
    is_hashed: bool = False
    failed: tuple[tuple[str, int], ...] = ()
    is_fetched: bool = False


@value
class Head:
    """One generation. `number` counts the changes of the head on this machine; 0 is a volume that holds nothing yet.

    `slot` is the name under which deltas are numbered, in the store whose `home` it is: two copies of a store would number different deltas alike.
    """

    number: int = 0
    slot: str = ""
    vector: VersionVector = EMPTY_VECTOR
    lamport: int = 0
    layers: tuple[Layer, ...] = ()
    tombstones: tuple[tuple[str, VersionVector], ...] = ()
    home: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def entries(self) -> int:
        return sum(layer.entries for layer in self.layers)


@value
class VolumeRow:
    """A volume and its head as the database has them. Instances above 0 belong to concurrent users with sharing=private."""

    id: str
    key: VolumeKey
    instance: int
    head: Head
    last_used_at: float


def without_layers(head: Head, gone: "Collection[Layer]") -> Head:
    """The next generation, without layers that are lost: it claims nothing of the deltas that they held any of, so that a remote which has those is asked
    again. A slot's numbers are not given twice: who has lost some of its own goes on under another name."""
    slots = {slot for layer in gone for slot, _ in layer.by.seen}
    vector = VersionVector(tuple([(slot, count) for slot, count in head.vector.seen if slot not in slots]))
    layers = tuple([layer for layer in head.layers if layer not in gone])
    return replace(head, number=head.number + 1, layers=layers, vector=vector, slot=fresh_slot() if head.slot in slots else head.slot)


_SELECT = """SELECT volume.id, scope, name, platform, instance, last_used_at, head, document
    FROM volume LEFT JOIN volume_generation ON volume_id = volume.id AND number = head"""
FIND = _SELECT + " WHERE scope = ? AND name = ? AND platform = ? AND instance = ?"
FIND_ALL_OF_KEY = _SELECT + " WHERE scope = ? AND name = ? AND platform = ? ORDER BY instance"
FIND_BY_ID = _SELECT + " WHERE volume.id = ?"
FIND_ALL = _SELECT + " ORDER BY scope, name, platform, instance"


def volume_row(row: "tuple[Any, ...]") -> VolumeRow:
    volume_id, scope, name, platform, instance, last_used_at, number, document = row
    return VolumeRow(volume_id, VolumeKey(scope, name, platform), instance, decode_head(number, document), last_used_at)


def find_or_create(tx: "Transaction", key: VolumeKey, instance: int) -> VolumeRow:
    """The volume of a key, empty if it is new; its last use is now."""
    now = time.time()
    rows = tx.execute(FIND, (key.scope, key.name, key.platform, instance))
    if rows:
        found = volume_row(rows[0])
        tx.execute("UPDATE volume SET last_used_at = ? WHERE id = ?", (now, found.id))
        return found
    volume_id = fresh_name()
    tx.execute(
        "INSERT INTO volume (id, scope, name, platform, instance, head, created_at, last_used_at) VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
        (volume_id, key.scope, key.name, key.platform, instance, now, now),
    )
    return VolumeRow(volume_id, key, instance, Head(), now)


def advance(tx: "Transaction", volume_id: str, old: Head, new: Head) -> bool:
    """Make `new` the head if `old` still is; False otherwise, and nothing has changed."""
    if tx.execute("SELECT head FROM volume WHERE id = ?", (volume_id,)) != [(old.number,)]:
        return False
    tx.execute("DELETE FROM volume_generation WHERE volume_id = ?", (volume_id,))
    tx.execute(
        "INSERT INTO volume_generation (volume_id, number, document, size_bytes, created_at) VALUES (?, ?, ?, ?, ?)",
        (volume_id, new.number, encode_head(new), new.size_bytes, time.time()),
    )
    tx.execute("UPDATE volume SET head = ?, last_used_at = ? WHERE id = ?", (new.number, time.time(), volume_id))
    return True


def fresh_slot() -> str:
    """A name under which this store writes a volume: nobody else's, and it tells when it was first used (design: w<year>-<week>-<id>)."""
    return time.strftime("w%G-%V-", time.gmtime()) + fresh_name()


def slot_of(head: Head, home: str) -> str:
    """The slot under which the store of that home goes on: its own, or a new one where the head was drawn elsewhere."""
    return head.slot if head.slot and head.home == home else fresh_slot()


def encode_head(head: Head) -> str:
    return canonical.encode(
        {
            "format": FORMAT,
            "slot": head.slot,
            "home": head.home,
            "vector": encode_vector(head.vector),
            "lamport": head.lamport,
            "layers": [_encode_layer(layer) for layer in head.layers],
            "tombstones": _encode_tombstones(head.tombstones),
        }
    ).decode()


def decode_head(number: int, text: str | None) -> Head:
    """Raises StoreError volume.format."""
    if number == 0 or text is None:
        return Head()
    document = check_format(json.loads(text))
    return Head(
        number,
        document["slot"],
        decode_vector(document["vector"]),
        document["lamport"],
        tuple([_decode_layer(layer) for layer in document["layers"]]),
        _decode_tombstones(document["tombstones"]),
        document.get("home", ""),
    )


def _encode_tombstones(tombstones: "tuple[tuple[str, VersionVector], ...]") -> "list[list[Any]]":
    """By vector: what was removed together has the same one, which names every writer, and the head is read before each step."""
    paths: dict[VersionVector, list[str]] = {}
    for path, vector in tombstones:
        paths.setdefault(vector, []).append(encode_path(path))
    return [[encode_vector(vector), found] for vector, found in paths.items()]


def _decode_tombstones(document: "Any") -> "tuple[tuple[str, VersionVector], ...]":
    # stores of the first weeks have a vector for each path
    removals = [(vector, [path]) for path, vector in document.items()] if isinstance(document, dict) else document
    decoded = [(decode_vector(vector), paths) for vector, paths in removals]
    return tuple(sorted((decode_path(path), vector) for vector, paths in decoded for path in paths))


def _encode_layer(layer: Layer) -> "dict[str, Any]":
    return {
        "name": layer.name,
        "entries": layer.entries,
        "size": layer.size_bytes,
        "by": encode_vector(layer.by),
        "boot": layer.boot_id,
        "hashed": layer.is_hashed,
        "failed": [list(step) for step in layer.failed],
        "fetched": layer.is_fetched,
    }


def _decode_layer(document: "dict[str, Any]") -> Layer:
    by = decode_vector(document["by"])
    failed = tuple([(slot, sequence) for slot, sequence in document["failed"]])
    return Layer(document["name"], document["entries"], document["size"], by, document["boot"], document["hashed"], failed, document.get("fetched", False))

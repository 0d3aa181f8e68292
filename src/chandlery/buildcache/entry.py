"""`Entry`: a step record as machines share it, and its JSON form.

    {"format": 1, "key": ..., "scope": ..., "document": ..., "op": ..., "name": ..., "base": {"reference": ..., "digest": ...},
     "layers": [{"diff_id": ..., "blob": {descriptor} | absent for a layer of the base, "created": ..., "created_by": ...}, ...],
     "observed": [...], "created_at": s, "duration": s, "size": bytes, "writer": ...}

Nothing that comes from outside is believed: the document must hash to the key that was asked for, the entry must be of the scope that was read, and its chain
must begin with the layers of the base that this build pinned and be as high as the step's place. An unknown format is a miss, and left alone. Whoever may
write to a scope is trusted for the rest: what a step printed and made can't be checked without running it.
"""

import json

from chandlery.buildcache.record import Observation, StepRecord, decode_observed, encode_observed
from chandlery.errors import LyingRegistry
from chandlery.oci import canonical
from chandlery.oci import descriptor as descriptors
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.solver.cache_key import CacheKey
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 1
MAX_BYTES = 2 << 20


@value
class SharedLayer:
    """One layer of a chain. `blob` is None for a layer of the base image, which is named by the base and not copied."""

    diff_id: Digest
    blob: Descriptor | None = None
    created: str = ""
    created_by: str = ""


@value
class Expected:
    """What this build knows of a step's chain before it asks: the base's diff ids, how many layers the steps on it make, and what history says made them."""

    base: tuple[str, ...]
    height: int
    created_by: tuple[str, ...] = ()


@value
class Entry:
    key: Digest
    scope: str
    document: bytes
    op_digest: Digest
    layers: tuple[SharedLayer, ...]
    name: str = ""
    base_reference: str = ""
    base_digest: str = ""
    created_at_s: float = 0.0
    duration_s: float = 0.0
    size_bytes: int = 0
    observed: tuple[Observation, ...] = ()
    writer: str = ""

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that the entry stands on, each once."""
        return tuple({layer.blob.digest: layer.blob for layer in self.layers if layer.blob is not None}.values())

    def record(self) -> StepRecord:
        """The record as this machine keeps it: its layers are known by diff id until something needs their files."""
        result = FileSystem(tuple(LayerRef(diff_id=str(layer.diff_id), created=layer.created, created_by=layer.created_by) for layer in self.layers))
        return StepRecord(
            self.key, self.op_digest, self.document, result, self.name, self.created_at_s, self.duration_s, self.size_bytes, self.observed
        )  # fmt: skip


def encode(entry: Entry) -> bytes:
    return canonical.encode(
        {
            "format": FORMAT, "key": str(entry.key), "scope": entry.scope, "document": entry.document.decode(), "op": str(entry.op_digest),
            "name": entry.name, "base": {"reference": entry.base_reference, "digest": entry.base_digest},
            "layers": [_encode_layer(layer) for layer in entry.layers], "observed": json.loads(encode_observed(entry.observed)),
            "created_at": entry.created_at_s, "duration": round(entry.duration_s, 3), "size": entry.size_bytes, "writer": entry.writer,
        }
    )  # fmt: skip


def decode(raw: bytes, *, key: CacheKey, scope: str, expected: Expected) -> Entry | None:
    """The entry that was asked for; None where its format is of another version. Raises LyingRegistry (cache.bad-entry) for anything that it isn't."""
    entry = read(raw)
    if entry is None:
        return None
    if entry.key != key.digest or sha256(entry.document) != key.digest:
        raise _refused(str(key.digest), "it is the entry of another key")
    if entry.scope != scope:
        raise _refused(str(key.digest), "it is the entry of another scope")
    _check_chain(entry, key, expected)
    return entry


def read(raw: bytes) -> Entry | None:
    """An entry as it is written, nothing of it checked but its form; None for another version's. Raises LyingRegistry (cache.bad-entry)."""
    if len(raw) > MAX_BYTES:
        raise _refused("", f"it has {len(raw)} bytes")
    try:
        document: dict[str, Any] = json.loads(raw)
        return _entry(document) if document["format"] == FORMAT else None
    except Exception as broken:
        raise _refused("", "it isn't an entry") from broken


def _check_chain(entry: Entry, key: CacheKey, expected: Expected) -> None:
    base, own = entry.layers[: len(expected.base)], entry.layers[len(expected.base) :]
    if tuple(str(layer.diff_id) for layer in base) != expected.base or any(layer.blob is not None for layer in base):
        raise _refused(str(key.digest), "its chain doesn't begin with the base's layers")
    if len(own) != expected.height or any(layer.blob is None for layer in own):
        raise _refused(str(key.digest), f"its chain has {len(own)} layers on the base where there must be {expected.height}")
    if any(layer.blob.media_type not in types.LAYERS for layer in own if layer.blob is not None):
        raise _refused(str(key.digest), "its layers are of an unknown type")


def _encode_layer(layer: SharedLayer) -> "dict[str, Any]":
    document: dict[str, Any] = {"diff_id": str(layer.diff_id), "created": layer.created, "created_by": layer.created_by}
    return document | {"blob": descriptors.encode(layer.blob)} if layer.blob is not None else document


def _entry(document: "dict[str, Any]") -> Entry:
    layers = tuple(
        SharedLayer(Digest(row["diff_id"]), descriptors.decode(row["blob"]) if "blob" in row else None, _text(row, "created"), _text(row, "created_by"))
        for row in document["layers"]
    )
    base = document["base"]
    return Entry(
        Digest(document["key"]), _text(document, "scope"), _text(document, "document").encode(), Digest(document["op"]), layers, _text(document, "name"),
        _text(base, "reference"), _text(base, "digest"), float(document["created_at"]), float(document["duration"]), int(document["size"]),
        decode_observed(json.dumps(document["observed"])), _text(document, "writer"),
    )  # fmt: skip


def _text(row: "dict[str, Any]", name: str) -> str:
    found = row[name]
    if not isinstance(found, str):
        raise TypeError(name)
    return found


def _refused(key: str, why: str) -> LyingRegistry:
    return LyingRegistry(f"the entry of {f'step {key[7:19]}' if key else 'a step'} is refused: {why}", code="cache.bad-entry", hint="it is treated as a miss")

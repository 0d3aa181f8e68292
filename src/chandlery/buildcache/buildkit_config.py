"""`CacheConfig`: BuildKit's cache document (application/vnd.buildkit.cacheconfig.v0), decoded, checked and encoded.

    {"layers": [{"blob": digest, "parent": index, "annotations": {...}}, ...],
     "records": [{"digest": key, "inputs": [[{"selector": digest, "link": record}, ...], ...], "layers": [{"layer": index, "createdAt": time}], "chains": ...}]}

A record is the result of an operation: its key's digest, for each input the records (alternatives) that it may stand on, and chains of layers. As Go's encoder
has it, an absent "parent" is 0 and the lowest layer's is -1. In an image's own configuration ("moby.buildkit.cache.v0") the records stand alone, and the
layers are the image's. Whoever may write a cache wrote this, so it is bounded, every index is checked, and a circle refuses the whole document.
"""

import json

from chandlery.errors import InputError, LyingRegistry
from chandlery.oci.digest import Digest
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MEDIA_TYPE = "application/vnd.buildkit.cacheconfig.v0"
INLINE_FIELD = "moby.buildkit.cache.v0"
MAX_BYTES = 8 << 20
MAX_HEIGHT = 512


@value
class CacheLayer:
    """`parent` is the index of the layer below, -1 for none; `created` RFC 3339 or ""."""

    blob: Digest
    parent: int = -1
    created: str = ""


@value
class Link:
    """One record that an input may be; `selector` is a digest of the paths that are read of it, "" for all."""

    record: int
    selector: str = ""


@value
class CacheResult:
    """A result's layers by index: `top` with all below it, or a `chain` of its own, bottom first."""

    top: int = -1
    chain: tuple[int, ...] = ()
    created: str = ""


@value
class CacheRecord:
    digest: str
    inputs: tuple[tuple[Link, ...], ...] = ()
    results: tuple[CacheResult, ...] = ()


@value
class CacheConfig:
    layers: tuple[CacheLayer, ...] = ()
    records: tuple[CacheRecord, ...] = ()

    def chain(self, result: CacheResult) -> tuple[CacheLayer, ...]:
        """A result's layers, bottom first."""
        if result.chain:
            return tuple(self.layers[index] for index in result.chain)
        found: list[CacheLayer] = []
        at = result.top
        while at != -1:
            found.append(self.layers[at])
            at = self.layers[at].parent
        return tuple(reversed(found))


def encode(config: CacheConfig) -> bytes:
    """The document's bytes; the same config has the same ones everywhere."""
    layers = [
        {"blob": str(layer.blob), "parent": layer.parent} | ({"annotations": {"createdAt": layer.created}} if layer.created else {}) for layer in config.layers
    ]
    return _encoded({"layers": layers, "records": [_encode_record(record) for record in config.records]})


def encode_records(config: CacheConfig) -> bytes:
    """The records alone, for a place that has the layers."""
    return _encoded([_encode_record(record) for record in config.records])


def decode(raw: bytes) -> CacheConfig:
    """Raises LyingRegistry (cache.bad-config)."""
    if len(raw) > MAX_BYTES:
        raise _refused(f"it has {len(raw)} bytes")
    try:
        document = json.loads(raw)
        layers = tuple(_decode_layer(row) for row in document.get("layers") or ())
        _check_layers(layers)
        return _with_records(layers, document.get("records") or ())
    except LyingRegistry:
        raise
    except Exception as broken:
        raise _refused("it isn't one") from broken


def decode_inline(raw: bytes, layers: tuple[CacheLayer, ...]) -> CacheConfig:
    """The config of an image that carries its own records. Raises LyingRegistry (cache.bad-config)."""
    if len(raw) > MAX_BYTES:
        raise _refused(f"it has {len(raw)} bytes")
    try:
        return _with_records(layers, json.loads(raw) or ())
    except LyingRegistry:
        raise
    except Exception as broken:
        raise _refused("it isn't one") from broken


def _with_records(layers: tuple[CacheLayer, ...], rows: "Any") -> CacheConfig:
    records = tuple(_decode_record(row, layers) for row in rows)
    _check_records(records)
    return CacheConfig(layers, records)


def _encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _encode_record(record: CacheRecord) -> "dict[str, Any]":
    document: dict[str, Any] = {}
    if record.results:
        document["layers"] = [_encode_result(result) for result in record.results]
    document["digest"] = record.digest
    if record.inputs:
        document["inputs"] = [[({"selector": link.selector} if link.selector else {}) | {"link": link.record} for link in links] for links in record.inputs]
    return document


def _encode_result(result: CacheResult) -> "dict[str, Any]":
    return {"layer": result.top} | ({"createdAt": result.created} if result.created else {})


def _decode_layer(row: "dict[str, Any]") -> CacheLayer:
    annotations = row.get("annotations") or {}
    return CacheLayer(Digest(row["blob"]), int(row.get("parent", 0)), str(annotations.get("createdAt") or ""))


def _check_layers(layers: tuple[CacheLayer, ...]) -> None:
    """Every chain ends, and soon enough."""
    heights = [0] * len(layers)
    for start, layer in enumerate(layers):
        if not -1 <= layer.parent < len(layers):
            raise _refused(f"a layer's parent is {layer.parent}")
        path: list[int] = []
        at = start
        while at != -1 and not heights[at] and len(path) <= MAX_HEIGHT:
            path.append(at)
            at = layers[at].parent if -1 <= layers[at].parent < len(layers) else -1
        below = heights[at] if at != -1 else 0
        if len(path) + below > MAX_HEIGHT:
            raise _refused("its layers go round in a circle, or are too many")
        for index in reversed(path):
            below += 1
            heights[index] = below


def _decode_record(row: "dict[str, Any]", layers: tuple[CacheLayer, ...]) -> CacheRecord:
    digest = str(row.get("digest") or "")
    try:
        Digest(digest)
    except InputError as broken:
        raise _refused("a record's key is no digest") from broken
    inputs = tuple(tuple(Link(int(link.get("link", 0)), str(link.get("selector") or "")) for link in links or ()) for links in row.get("inputs") or ())
    if any(not links for links in inputs):
        raise _refused("a record has an input without records")
    results = [CacheResult(int(result["layer"]), created=str(result.get("createdAt") or "")) for result in row.get("layers") or ()]
    if any(not 0 <= result.top < len(layers) for result in results):
        raise _refused("a result names a layer that isn't there")
    for chain in row.get("chains") or ():
        indexes = tuple(map(int, chain["layers"]))
        if len(indexes) > MAX_HEIGHT or any(not 0 <= index < len(layers) for index in indexes):
            raise _refused("a chain names layers that aren't there")
        if indexes:
            results.append(CacheResult(chain=indexes, created=str(chain.get("createdAt") or "")))
    return CacheRecord(digest, inputs, tuple(results))


def _check_records(records: tuple[CacheRecord, ...]) -> None:
    """Every link leads to a record, and none back to where it came from."""
    waiting = [0] * len(records)
    above: list[list[int]] = [[] for _ in records]
    for at, record in enumerate(records):
        for link in (link for links in record.inputs for link in links):
            if not 0 <= link.record < len(records):
                raise _refused(f"there is no record {link.record}")
            above[link.record].append(at)
            waiting[at] += 1
    ready = [at for at, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        done += 1
        for at in above[ready.pop()]:
            waiting[at] -= 1
            if not waiting[at]:
                ready.append(at)
    if done != len(records):
        raise _refused("its records go round in a circle")


def _refused(why: str) -> LyingRegistry:
    return LyingRegistry(f"the cache's document is refused: {why}", code="cache.bad-config", hint="it is treated as a miss")

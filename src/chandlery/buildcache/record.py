"""`StepRecord`: what a step's cache key stands for (design.md section 4), and its JSON form.

A record lists the complete chain of layers from the base, never one delta alone: two machines that run one key produce different bytes, and mixing their
layers would be wrong. `observed` is what the step resolved upstream; a record of a step that observed a mutable name is volatile.
"""

import json

from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.values import value


@value
class Observation:
    """A mutable name that a step resolved: what kind, where, the validator that it had, and when it was checked (seconds since the epoch). `of` names the
    step below that resolved it; "" means the record's own."""

    kind: str
    url: str
    validator: str
    checked_at_s: float
    of: str = ""


@value
class AgeLimits:
    """How old a record may be to be a hit: `max_age_s` any, `volatile_max_age_s` one that stands on mutable names (since they were checked); None: as old
    as it likes. Clocks differ between machines, so a time that lies that far ahead is as bad: what was made by a clock that is hours fast would never age."""

    max_age_s: float | None = None
    volatile_max_age_s: float | None = None

    def allow(self, created_at_s: float, observed: tuple[Observation, ...], now_s: float) -> bool:
        return _is_within(self.max_age_s, created_at_s, now_s) and all(_is_within(self.volatile_max_age_s, item.checked_at_s, now_s) for item in observed)


NO_LIMITS = AgeLimits()


def _is_within(limit_s: float | None, at_s: float, now_s: float) -> bool:
    return limit_s is None or abs(now_s - at_s) <= limit_s


@value
class LayerSource:
    """Where a layer that isn't here can be had: a blob in a scope of a shared cache, which is called `remote`."""

    diff_id: str
    blob: Descriptor
    remote: str
    scope: str


@value
class StepRecord:
    """`document` is the key's preimage, canonical JSON; `name` what people read; sizes in bytes, times in seconds since the epoch. `sources` are of
    those layers that another machine made and this one may not have fetched."""

    key: Digest
    op_digest: Digest
    document: bytes
    result: FileSystem
    name: str = ""
    created_at_s: float = 0.0
    duration_s: float = 0.0
    size_bytes: int = 0
    observed: tuple[Observation, ...] = ()
    sources: tuple[LayerSource, ...] = ()

    @property
    def own_observed(self) -> tuple[Observation, ...]:
        """What the step itself resolved."""
        return tuple(item for item in self.observed if not item.of)


def encode_layers(result: FileSystem, sources: tuple[LayerSource, ...] = ()) -> str:
    """The chain as JSON: a list of {snapshot, diff_id, created, created_by, source}, empty fields left out, bottom first."""
    rows: list[dict[str, object]] = []
    known = {source.diff_id: source for source in sources}
    for layer in result.layers:
        named = (("snapshot", layer.snapshot), ("diff_id", layer.diff_id), ("created", layer.created), ("created_by", layer.created_by))
        rows.append({name: text for name, text in named if text})
        if (source := known.get(layer.diff_id)) is not None:
            blob = source.blob
            rows[-1]["source"] = [blob.media_type, str(blob.digest), blob.size_bytes, source.remote, source.scope]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def decode_layers(text: str) -> FileSystem:
    layers = (LayerRef(row.get("snapshot", ""), row.get("diff_id", ""), row.get("created", ""), row.get("created_by", "")) for row in json.loads(text))
    return FileSystem(tuple(layers))


def decode_sources(text: str) -> tuple[LayerSource, ...]:
    if '"source":' not in text:
        return ()
    found = ((row["diff_id"], *row["source"]) for row in json.loads(text) if "source" in row)
    return tuple(LayerSource(diff_id, Descriptor(kind, Digest(digest), size), remote, scope) for diff_id, kind, digest, size, remote, scope in found)


def encode_observed(observed: tuple[Observation, ...]) -> str:
    rows = [
        {"kind": item.kind, "url": item.url, "validator": item.validator, "checked_at": item.checked_at_s} | ({"of": item.of} if item.of else {})
        for item in observed
    ]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def decode_observed(text: str) -> tuple[Observation, ...]:
    if text == "[]":
        return ()
    rows = json.loads(text)
    return tuple(Observation(str(row["kind"]), str(row["url"]), str(row["validator"]), float(row["checked_at"]), str(row.get("of", ""))) for row in rows)

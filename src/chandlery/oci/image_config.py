"""`ImageConfig`: what an image says of itself (OCI image spec, config.md), with Docker's fields that a builder must keep.

The document is kept as parsed JSON under a typed surface: a base image may carry fields that we don't know, and an image built from
it must still carry them. `runtime` holds the "config" object (Env, Cmd, Labels ...). Values are never changed in place.
"""

import json

from chandlery.errors import LyingRegistry
from chandlery.oci.digest import Digest
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@value
class HistoryEntry:
    """One entry of "history": what made a layer, or (`is_empty_layer`) what changed the configuration alone. Times are RFC 3339."""

    created: str = ""
    created_by: str = ""
    comment: str = ""
    author: str = ""
    is_empty_layer: bool = False


@value
class ImageConfig:
    """`runtime` and `extra` are JSON objects and must be treated as immutable; `created` is RFC 3339 or ""."""

    architecture: str
    os: str
    variant: str = ""
    created: str = ""
    author: str = ""
    runtime: "dict[str, Any]" = {}
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    extra: "dict[str, Any]" = {}

    @property
    def env(self) -> tuple[str, ...]:
        return tuple(self.runtime.get("Env") or ())

    def with_runtime(self, **fields: "Any") -> "ImageConfig":
        """A copy with fields of "config" set, or removed where the value is None."""
        merged = {**self.runtime, **fields}
        return replace(self, runtime={key: item for key, item in merged.items() if item is not None})


_OWN_FIELDS = frozenset({"architecture", "os", "variant", "created", "author", "config", "rootfs", "history"})


def decode(data: bytes) -> ImageConfig:
    """A config from its blob; raises LyingRegistry (registry.bad-config) where it isn't one."""
    try:
        document = json.loads(data)
        rootfs = document.get("rootfs") or {}
        return ImageConfig(
            architecture=str(document.get("architecture", "")),
            os=str(document.get("os", "")),
            variant=str(document.get("variant", "")),
            created=str(document.get("created") or ""),
            author=str(document.get("author") or ""),
            runtime=dict(document.get("config") or {}),
            diff_ids=tuple(Digest(item) for item in rootfs.get("diff_ids") or ()),
            history=tuple(_decode_history(item) for item in document.get("history") or ()),
            extra={key: item for key, item in document.items() if key not in _OWN_FIELDS},
        )
    except Exception as broken:
        raise LyingRegistry("the image's configuration can't be read", code="registry.bad-config") from broken


def encode(config: ImageConfig) -> bytes:
    """The config's blob: sorted keys, so that the same value has the same digest everywhere."""
    document: dict[str, Any] = dict(config.extra)
    document |= {"architecture": config.architecture, "os": config.os, "config": config.runtime}
    for key, text in (("variant", config.variant), ("created", config.created), ("author", config.author)):
        if text:
            document[key] = text
    document["rootfs"] = {"type": "layers", "diff_ids": [str(item) for item in config.diff_ids]}
    if config.history:
        document["history"] = [_encode_history(entry) for entry in config.history]
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _decode_history(item: "dict[str, Any]") -> HistoryEntry:
    return HistoryEntry(
        created=str(item.get("created") or ""),
        created_by=str(item.get("created_by") or ""),
        comment=str(item.get("comment") or ""),
        author=str(item.get("author") or ""),
        is_empty_layer=bool(item.get("empty_layer", False)),
    )


def _encode_history(entry: HistoryEntry) -> "dict[str, Any]":
    document: dict[str, Any] = {}
    for key, text in (("created", entry.created), ("created_by", entry.created_by), ("comment", entry.comment), ("author", entry.author)):
        if text:
            document[key] = text
    if entry.is_empty_layer:
        document["empty_layer"] = True
    return document

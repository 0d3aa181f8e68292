"""`Manifest` and `Index`: decode, encode and check (OCI image spec, manifest.md and image-index.md; Docker's schema 2 types).

`raw` is the document's exact bytes: a digest names bytes, so what was received is what is stored and pushed.
"""

import json

from chandlery.errors import LyingRegistry
from chandlery.oci import descriptor as descriptors
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.platform import Platform
from chandlery.oci.platform import matches as platform_matches
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 8 * 1024 * 1024


@value
class Manifest:
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    raw: bytes
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""

    @property
    def digest(self) -> Digest:
        return sha256(self.raw)


@value
class Index:
    media_type: str
    manifests: tuple[Descriptor, ...]
    raw: bytes

    @property
    def digest(self) -> Digest:
        return sha256(self.raw)


def decode(raw: bytes, media_type: str = "") -> Manifest | Index:
    """A manifest or index from its bytes; `media_type` is what the registry said, used where the document is silent.

    Raises LyingRegistry (registry.bad-manifest) for anything else, Docker schema 1 included.
    """
    if len(raw) > MAX_BYTES:
        raise LyingRegistry(f"a manifest of {len(raw)} bytes is refused", code="registry.bad-manifest")
    try:
        document: dict[str, Any] = json.loads(raw)
        stated = document.get("mediaType") or media_type or _guess(document)
    except Exception as broken:
        raise LyingRegistry("the manifest is not JSON", code="registry.bad-manifest") from broken
    if stated in types.INDEXES and isinstance(document.get("manifests"), list):
        return Index(stated, tuple(descriptors.decode(item) for item in document["manifests"]), raw)
    if stated in types.MANIFESTS and "config" in document:
        layers = tuple(descriptors.decode(item) for item in document.get("layers") or ())
        annotations = tuple(sorted((str(key), str(text)) for key, text in _object(document.get("annotations")).items()))
        return Manifest(stated, descriptors.decode(document["config"]), layers, raw, annotations, str(document.get("artifactType") or ""))
    raise LyingRegistry(
        f"a manifest of type {stated or 'unknown'} is not supported", code="registry.bad-manifest", hint="Docker schema 1 images must be pushed again"
    )


def build_manifest(
    *, config: Descriptor, layers: tuple[Descriptor, ...], annotations: "dict[str, str] | None" = None, media_type: str = types.OCI_MANIFEST
) -> Manifest:
    """A new manifest, encoded: the one place that decides the bytes of the manifests that we make."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptors.encode(config),
        "layers": [descriptors.encode(layer) for layer in layers],
    }
    if annotations:
        document["annotations"] = annotations
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return Manifest(media_type, config, layers, raw, tuple(sorted((annotations or {}).items())))


def select(index: Index, wanted: Platform) -> Descriptor | None:
    """The index's manifest for a platform, the first that matches; attestations (platform unknown/unknown) are passed over."""
    for candidate in index.manifests:
        stated = dict(candidate.platform)
        offered = Platform(stated.get("os", "linux"), stated.get("architecture", wanted.architecture), stated.get("variant", ""))
        if platform_matches(offered, wanted):
            return candidate
    return None


def _object(item: object) -> "dict[object, object]":
    return item if isinstance(item, dict) else {}


def _guess(document: "dict[str, Any]") -> str:
    if "manifests" in document:
        return types.OCI_INDEX
    return types.OCI_MANIFEST if "config" in document else ""

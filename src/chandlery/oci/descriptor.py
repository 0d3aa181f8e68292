"""`Descriptor`: what a manifest says of a blob (OCI image spec, descriptor.md)."""

from chandlery.errors import LyingRegistry
from chandlery.oci.digest import Digest
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@value
class Descriptor:
    """`annotations` are sorted pairs; `platform` is the raw mapping's pairs, for indexes."""

    media_type: str
    digest: Digest
    size_bytes: int
    annotations: tuple[tuple[str, str], ...] = ()
    platform: tuple[tuple[str, str], ...] = ()


def decode(document: "Any") -> Descriptor:
    """A descriptor from parsed JSON; raises LyingRegistry where it isn't one."""
    try:
        size = document["size"]
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ValueError(size)
        annotations = document.get("annotations") or {}
        platform = document.get("platform") or {}
        return Descriptor(
            media_type=str(document["mediaType"]),
            digest=Digest(document["digest"]),
            size_bytes=size,
            annotations=tuple(sorted((str(k), str(v)) for k, v in annotations.items())),
            platform=tuple(sorted((str(k), str(v)) for k, v in platform.items() if isinstance(v, str))),
        )
    except Exception as broken:
        raise LyingRegistry(f"not a descriptor: {document!r}"[:200], code="registry.bad-manifest") from broken


def encode(descriptor: Descriptor) -> "dict[str, Any]":
    """The JSON document of a descriptor, in the field order that the spec's examples use."""
    document: dict[str, Any] = {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size_bytes}
    if descriptor.annotations:
        document["annotations"] = dict(descriptor.annotations)
    if descriptor.platform:
        document["platform"] = dict(descriptor.platform)
    return document

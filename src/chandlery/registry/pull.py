"""Manifests and configs: registry -> content store, each fetched once and verified.

What is in the store is not asked for again: a digest names bytes. Layers are streamed by whoever extracts them (package source).
"""

from chandlery.errors import Lost, LyingRegistry, NotFound
from chandlery.oci import image_config
from chandlery.oci import manifest as manifests
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.manifest import Index, Manifest
from chandlery.oci.platform import Platform
from chandlery.oci.reference import Reference
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.content.blobs import BlobStore
    from chandlery.content.session import Session
    from chandlery.registry.client import RegistryClient

MAX_DEPTH = 3


@value
class Image:
    """An image of one platform: `top` is what the name led to, an index or the manifest itself."""

    top: Digest
    manifest: Manifest
    config: ImageConfig


class ImageReader:
    """Reads images through the store. `connect` gives the client when something is missing here, and may raise what keeps it from that."""

    def __init__(self, blobs: "BlobStore", session: "Session", connect: "Callable[[], RegistryClient]") -> None:
        self._blobs = blobs
        self._session = session
        self._connect = connect
        self.bytes_moved = 0

    def read(self, reference: Reference, top: Digest, wanted: Platform) -> Image:
        """The image for a platform behind a digest. Raises NotFound registry.no-platform, LyingRegistry registry.bad-manifest or .bad-config."""
        digest = top
        for _ in range(MAX_DEPTH):
            found = manifests.decode(*self._manifest(reference, digest))
            if isinstance(found, Manifest):
                return Image(top, found, self.config(reference, found))
            digest = _choose(found, wanted, reference).digest
        raise LyingRegistry(f"{reference}: an index inside an index inside an index", code="registry.bad-manifest")

    def manifest(self, reference: Reference, digest: Digest) -> Manifest:
        """The manifest of one platform, whose digest is known."""
        found = manifests.decode(*self._manifest(reference, digest))
        if isinstance(found, Index):
            raise LyingRegistry(f"{reference}: an index where a manifest was due", code="registry.bad-manifest")
        return found

    def config(self, reference: Reference, manifest: Manifest) -> ImageConfig:
        """A manifest's config, checked to describe the manifest's layers."""
        raw = self._stored(manifest.config.digest)
        if raw is None:
            if manifest.config.size_bytes > manifests.MAX_BYTES:
                raise LyingRegistry(f"{reference}: a config of {manifest.config.size_bytes} bytes is refused", code="registry.bad-config")
            raw = b"".join(self._connect().read_blob(reference, manifest.config))
            self._keep(raw)
        config = image_config.decode(raw)
        if len(config.diff_ids) != len(manifest.layers):
            text = f"{reference}: {len(manifest.layers)} layers, but the config knows {len(config.diff_ids)}"
            raise LyingRegistry(text, code="registry.bad-config", hint="is this an image, or another kind of artifact?")
        return config

    def _manifest(self, reference: Reference, digest: Digest) -> tuple[bytes, str]:
        raw = self._stored(digest)
        if raw is not None:
            return raw, ""
        raw, media_type = self._connect().get_manifest(reference, digest)
        self._keep(raw)
        return raw, media_type

    def _stored(self, digest: Digest) -> bytes | None:
        try:
            return self._blobs.read(digest)
        except Lost:
            return None

    def _keep(self, raw: bytes) -> None:
        self.bytes_moved += len(raw)
        self._blobs.put(raw, session=self._session)


def _choose(index: Index, wanted: Platform, reference: Reference) -> Descriptor:
    found = manifests.select(index, wanted)
    if found is not None:
        return found
    stated = [dict(item.platform) for item in index.manifests]
    offered = sorted({str(Platform(item["os"], item["architecture"], item.get("variant", ""))) for item in stated if "os" in item and "architecture" in item})
    raise NotFound(f"{reference} has no image for {wanted}", code="registry.no-platform", hint="it has " + (", ".join(offered) or "no images at all"))

"""A plain OCI registry as a `VolumeRemote`: one repository a scope and volume, one tag a head, blobs as the layers of its manifest.

A head's document is an annotation of its manifest, so that reading a head is one request; one that is too large for that is the config blob. A tag
is written once (so tags may be immutable) and deleted by the manifest's digest, which takes away only what was read (distribution spec,
"Deleting manifests"). The annotation SIGNATURE is kept free for a detached signature over the document, which names everything else.
Ranges (RFC 9110, 14): a 206 must say which range it is; a 200 is the whole blob. Addresses that blobs are redirected to expire: a 403 is asked again.
"""

import base64
import binascii
import hashlib
import io

from chandlery.errors import LyingRegistry, NotFound, RegistryError
from chandlery.oci import manifest as manifests
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.reference import Reference
from chandlery.registry.auth import Request
from chandlery.registry.client import RegistryClient
from chandlery.volume.key import VolumeKey
from chandlery.volume.protocol import BlobStream, HeadName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from chandlery.registry.http import Response

HEAD_TYPE = "application/vnd.chandlery.volume.head.v1+json"
PACK_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCUMENT, SIGNATURE = "chandlery.volume.head", "chandlery.volume.signature"
MAX_HEAD_BYTES = 4 << 20
# registries take manifests of 4 MiB; a document grows by a third in base64
_MAX_ANNOTATION_BYTES = 1 << 20


class RegistryRemote:
    """One volume below the repository `base`, e.g. registry.lan/caches."""

    def __init__(self, client: RegistryClient, base: Reference, key: VolumeKey) -> None:
        name = hashlib.sha256(f"{key.scope}\0{key.name}\0{key.platform}".encode(errors="surrogateescape")).hexdigest()[:32]
        self._client = client
        self._at = Reference(base.registry, f"{base.repository}/volume-{name}")
        self._has_config = False
        self.name = self.address = self._at.name

    def heads(self) -> list[HeadName]:
        return [HeadName(tag) for tag in sorted(self._client.tags(self._at))]

    def read_head(self, head: HeadName) -> bytes:
        raw, media_type = self._client.get_manifest(self._at, head.slot)
        found = manifests.decode(raw, media_type)
        if not isinstance(found, manifests.Manifest) or found.config.media_type != HEAD_TYPE or found.config.size_bytes > MAX_HEAD_BYTES:
            raise LyingRegistry(f"{self.name}:{head.slot} is not the head of a volume", code="volume.damaged-head")
        text = dict(found.annotations).get(DOCUMENT)
        if text is None:
            return b"".join(self._client.read_blob(self._at, found.config))
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as broken:
            raise LyingRegistry(f"{self.name}:{head.slot} is not the head of a volume", code="volume.damaged-head") from broken

    def put_head(self, slot: str, document: bytes, blobs: "Iterable[tuple[Digest, int]]") -> HeadName:
        is_small = len(document) <= _MAX_ANNOTATION_BYTES
        content = b"{}" if is_small else document
        config = Descriptor(HEAD_TYPE, sha256(content), len(content))
        if not (is_small and self._has_config):
            if not self._client.has_blob(self._at, config.digest):
                self._client.upload_blob(self._at, config, lambda: io.BytesIO(content))
            self._has_config = self._has_config or is_small
        layers = tuple([Descriptor(PACK_TYPE, digest, size) for digest, size in blobs])
        annotations = {DOCUMENT: base64.b64encode(document).decode()} if is_small else None
        made = manifests.build_manifest(config=config, layers=layers, annotations=annotations)
        return HeadName(slot, str(self._client.put_manifest(self._at, slot, made)))

    def delete_head(self, head: HeadName) -> bool:
        try:
            digest = head.digest or str(sha256(self._client.get_manifest(self._at, head.slot)[0]))
            self._client.delete_manifest(self._at, Digest(digest))
        except NotFound:
            return True
        except RegistryError:
            return False
        return True

    def has_blob(self, digest: Digest) -> bool:
        return self._client.has_blob(self._at, digest)

    def put_blob(self, path: str, digest: Digest, size_bytes: int) -> None:
        self._client.upload_blob(self._at, Descriptor(PACK_TYPE, digest, size_bytes), lambda: open(path, "rb"))  # noqa: SIM115 (upload closes it)

    def collect(self, named: "Collection[Digest]", unnamed: "Collection[Digest]") -> int:  # noqa: ARG002 (the protocol's)
        """A registry collects for itself what no manifest names."""
        return 0

    def open_blob(self, digest: Digest, blob_bytes: int, start: int, size_bytes: int) -> BlobStream:
        doing = f"blob {digest} of {self.name}"
        response = self._ask(digest, start, size_bytes, doing, is_whole=size_bytes == blob_bytes)
        if response.status == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                response.close()
                raise LyingRegistry(f"{doing}: another range came than was asked for", code="registry.wrong-range")
            return BlobStream(start, size_bytes, response.pieces())
        if response.status == 200:
            return BlobStream(0, blob_bytes, response.pieces())
        if response.status == 416:
            response.close()
            raise LyingRegistry(f"{doing}: the blob ends before {start}", code="registry.short-body")
        raise self._client.raise_for(response, self._at, doing)

    def _ask(self, digest: Digest, start: int, size_bytes: int, doing: str, *, is_whole: bool) -> "Response":
        url = f"{self._client.base_url(self._at)}blobs/{digest}"
        headers = () if is_whole else (("Range", f"bytes={start}-{start + size_bytes - 1}"),)
        response = self._client.call(self._at, Request("GET", url, headers), doing=doing, actions="pull")
        if response.status == 403 and response.url != url:
            # the registry sent us elsewhere, and that address is not good any more
            response.close()
            response = self._client.call(self._at, Request("GET", url, headers), doing=doing, actions="pull")
        return response

"""A plain OCI registry as a `VolumeRemote`: one repository a scope and volume, one tag a head, blobs as the layers of its manifest.

A head's document is the manifest's config blob. A tag is written once (so tags may be immutable) and deleted by the manifest's digest, which
takes away only what was read (distribution spec, "Deleting manifests"). Ranges (RFC 9110, 14): a 206 must say which range it is; a 200 is the
whole blob.
"""

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
from chandlery.volume.protocol import HeadName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD_TYPE = "application/vnd.chandlery.volume.head.v1+json"
PACK_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
MAX_HEAD_BYTES = 4 << 20


class RegistryRemote:
    """One volume below the repository `base`, e.g. registry.lan/caches."""

    def __init__(self, client: RegistryClient, base: Reference, key: VolumeKey) -> None:
        name = hashlib.sha256(f"{key.scope}\0{key.name}\0{key.platform}".encode(errors="surrogateescape")).hexdigest()[:32]
        self._client = client
        self._at = Reference(base.registry, f"{base.repository}/volume-{name}")
        self.name = self._at.name

    def heads(self) -> list[HeadName]:
        return [HeadName(tag) for tag in sorted(self._client.tags(self._at))]

    def read_head(self, head: HeadName) -> bytes:
        raw, media_type = self._client.get_manifest(self._at, head.slot)
        found = manifests.decode(raw, media_type)
        if not isinstance(found, manifests.Manifest) or found.config.media_type != HEAD_TYPE or found.config.size_bytes > MAX_HEAD_BYTES:
            raise LyingRegistry(f"{self.name}:{head.slot} is not the head of a volume", code="volume.damaged-head")
        return b"".join(self._client.read_blob(self._at, found.config))

    def put_head(self, slot: str, document: bytes, blobs: "Iterable[tuple[Digest, int]]") -> HeadName:
        config = Descriptor(HEAD_TYPE, sha256(document), len(document))
        self._client.upload_blob(self._at, config, lambda: io.BytesIO(document))
        layers = tuple([Descriptor(PACK_TYPE, digest, size) for digest, size in blobs])
        made = manifests.build_manifest(config=config, layers=layers)
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
        if not self.has_blob(digest):
            self._client.upload_blob(self._at, Descriptor(PACK_TYPE, digest, size_bytes), lambda: open(path, "rb"))  # noqa: SIM115 (upload closes it)

    def read_range(self, digest: Digest, blob_bytes: int, start: int, size_bytes: int) -> bytes:
        doing = f"range of {digest} of {self.name}"
        url = f"{self._client.base_url(self._at)}blobs/{digest}"
        headers = (("Range", f"bytes={start}-{start + size_bytes - 1}"),)
        response = self._client.call(self._at, Request("GET", url, headers), doing=doing, actions="pull")
        if response.status == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                response.close()
                raise LyingRegistry(f"{doing}: another range came than was asked for", code="registry.wrong-range")
            data = response.read(size_bytes)
        elif response.status == 200:
            data = response.read(blob_bytes)[start : start + size_bytes]
        else:
            raise self._client.raise_for(response, self._at, doing)
        if len(data) != size_bytes:
            raise LyingRegistry(f"{doing}: {len(data)} bytes came instead of {size_bytes}", code="registry.short-body")
        return data

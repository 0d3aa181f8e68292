"""`RegistryRemote`: a shared cache in any OCI registry.

An entry is a small artifact: a manifest that names the layers' blobs, so that a registry keeps them, with the entry itself and its key as annotations (one
request a look-up, and no two entries share a manifest digest, which is what registries delete by). Its tag comes from scope and key. Whether a tag is there
is asked before it is put: registries have no "create if absent"; of two writers at once one wins, and both are right.
"""

import json
from _thread import allocate_lock

from chandlery.buildcache.entry import MAX_BYTES
from chandlery.buildcache.remote import entry_name
from chandlery.errors import AccessDenied, Cancelled, LyingRegistry, NotFound, RegistryError, Unavailable
from chandlery.oci import descriptor as descriptors
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.manifest import Manifest
from chandlery.oci.reference import Reference
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chandlery.buildcache.address import RemoteAddress
    from chandlery.buildcache.entry import Entry
    from chandlery.registry.client import RegistryClient
    from chandlery.registry.upload import Readable

ARTIFACT_TYPE = "application/vnd.chandlery.step.v1+json"
KEY_ANNOTATION = "chandlery.step.key"
ENTRY_ANNOTATION = "chandlery.step.entry"
TAG_PREFIX = "s1-"
_EMPTY = b"{}"
_CONFIG = Descriptor(types.OCI_EMPTY, sha256(_EMPTY), len(_EMPTY))


class RegistryRemote:
    """`asking` is a client for look-ups, which gives up soon; `moving` one for blobs. Each is made when first needed."""

    def __init__(self, address: "RemoteAddress", *, asking: "Callable[[], RegistryClient]", moving: "Callable[[], RegistryClient]") -> None:
        self.name = address.text
        self.is_writable = address.is_writable
        self._address = address
        self._make = {"asking": asking, "moving": moving}
        self._made: dict[str, RegistryClient] = {}
        self._lock = allocate_lock()
        self._config_lock = allocate_lock()
        self._with_config: set[str] = set()

    def find(self, scope: str, key: Digest) -> bytes | None:
        try:
            raw, _ = self._client("asking").get_manifest(self._tagged(scope, key))
        except NotFound:
            return None
        if len(raw) > 2 * MAX_BYTES:
            raise LyingRegistry(f"the entry of {key} in {self.name} is too large", code="cache.bad-entry")
        try:
            found = json.loads(raw)["annotations"]
            if found[KEY_ANNOTATION] != str(key):
                raise LyingRegistry(f"the tag of {key} in {self.name} leads to the entry of another key", code="cache.bad-entry")
            return str(found[ENTRY_ANNOTATION]).encode()
        except (ValueError, KeyError, TypeError, RecursionError) as broken:
            raise LyingRegistry(f"the tag of {key} in {self.name} leads to something else", code="cache.bad-entry") from broken

    def has(self, scope: str, key: Digest) -> bool:
        return self._client("moving").head_at_registry(self._tagged(scope, key)) is not None

    def read_blob(self, scope: str, blob: Descriptor) -> "Iterator[bytes]":
        return self._client("moving").read_blob(self._address.reference(scope), blob, is_hashed_by_caller=True)

    def put_blob(
        self,
        scope: str,
        blob: Descriptor,
        open_blob: "Callable[[], Readable]",
        *,
        is_damaged: bool,
        from_scope: str = "",
        pushed_to: tuple[tuple[str, str], ...] = (),
    ) -> int:
        reference, client = self._address.reference(scope), self._client("moving")
        source = next((repository for registry, repository in pushed_to if registry == reference.registry), "")
        # a mount of what was just pushed is one request, whether it is there or not
        if not is_damaged and not source and client.has_blob(reference, blob.digest):
            return 0
        source = source or (self._address.reference(from_scope).repository if from_scope else "")
        begun = client.begin_upload(reference, mount=(blob.digest, source) if source not in ("", reference.repository) else None)
        if not begun.location:
            return 0
        client.upload_blob(reference, blob, open_blob, begun=begun)
        return blob.size_bytes

    def put_entry(self, scope: str, entry: "Entry", raw: bytes, *, replaces: bool) -> None:
        reference, client = self._tagged(scope, entry.key), self._client("moving")
        if not replaces and client.head_at_registry(reference) is not None:
            return
        self._put_config(reference)
        client.put_manifest(reference, reference.tag, _manifest(entry, raw))

    def note_uses(self, scope: str, used: tuple[tuple[str, Digest], ...]) -> None:
        """One request where anything was ever shared in that repository."""
        import time

        from chandlery.buildcache import use_notes

        reference, client = self._address.reference(scope), self._client("moving")
        tag, manifest = use_notes.made([entry_name(whose, key) for whose, key in used], _CONFIG, time.time())
        try:
            client.put_manifest(reference, tag, manifest)
        except (AccessDenied, Unavailable, Cancelled):
            raise
        except RegistryError:
            # it lacks the blob that all manifests name
            self._put_config(reference)
            client.put_manifest(reference, tag, manifest)

    def _put_config(self, reference: Reference) -> None:
        """Entries are put side by side: one of them brings what they all name."""
        from io import BytesIO

        client = self._client("moving")
        with self._config_lock:
            if reference.repository not in self._with_config:
                if not client.has_blob(reference, _CONFIG.digest):
                    client.upload_blob(reference, _CONFIG, lambda: BytesIO(_EMPTY))
                self._with_config.add(reference.repository)

    def repository(self, scope: str) -> tuple[str, str]:
        reference = self._address.reference(scope)
        return reference.registry, reference.repository

    def stop(self) -> None:
        with self._lock:
            made = list(self._made.values())
        for client in made:
            client.http.stop()
            client.close()

    def _client(self, purpose: str) -> "RegistryClient":
        with self._lock:
            if purpose not in self._made:
                self._made[purpose] = self._make[purpose]()
            return self._made[purpose]

    def _tagged(self, scope: str, key: Digest) -> Reference:
        return replace(self._address.reference(scope), tag=TAG_PREFIX + entry_name(scope, key))


def _manifest(entry: "Entry", raw: bytes) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": descriptors.encode(_CONFIG),
        "layers": [descriptors.encode(blob) for blob in entry.blobs],
        "annotations": {KEY_ANNOTATION: str(entry.key), ENTRY_ANNOTATION: raw.decode()},
    }
    encoded = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return Manifest(types.OCI_MANIFEST, _CONFIG, entry.blobs, encoded, (), ARTIFACT_TYPE)

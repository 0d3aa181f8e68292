"""`ImportedCache`: a cache in BuildKit's form as a source of hits (--cache-from), whoever wrote it.

Its document is read once, when the first step misses; layers stay where they are until something needs their files, as those of a shared cache. A result is
believed if its chain begins with the layers of the base that this build pinned and is as high as the step's place; each layer is checked against its digests
when it is fetched. Whoever may write there is trusted for the rest. Nothing that is wrong with it fails a build: it is not used, and one warning says why.
"""

from chandlery.buildcache.buildkit_config import INLINE_FIELD, MAX_BYTES, MEDIA_TYPE, CacheConfig, CacheLayer, decode, decode_inline
from chandlery.buildcache.buildkit_match import Matches
from chandlery.buildcache.entry import Entry, Expected, SharedLayer
from chandlery.errors import InputError, LyingRegistry
from chandlery.oci import manifest as manifests
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.manifest import Index, Manifest
from chandlery.solver.cache_key import CacheKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.buildcache.buildkit_keys import Node
    from chandlery.buildcache.cache_place import CachePlace
    from chandlery.oci.platform import Platform

DIFF_ID = "containerd.io/uncompressed"
CREATED = "buildkit/createdat"
_MAX_IMAGES = 16


class ImportedCache:
    """In the shape of a StepRemote as far as layers go. `find` may be called from several threads once `load` has returned."""

    is_writable = False

    def __init__(self, place: "CachePlace", platform: "Platform") -> None:
        self.name = place.name
        self._place = place
        self._platform = platform
        self._found: list[_Config] = []

    def load(self, nodes: "tuple[Node, ...]", keys: "tuple[CacheKey | None, ...]") -> None:
        """Read what is there. Raises RegistryError, InputError for a directory that is none."""
        raw, media_type = self._place.manifest()
        for config, blobs in self._configs(manifests.decode(raw, media_type)):
            self._found.append(_Config(config, blobs, Matches(config, nodes, keys)))

    def find(self, key: CacheKey, expected: Expected) -> Entry | None:
        """The step's result, if one is there whose chain fits."""
        for found in self._found:
            for result in found.matches.results(key.digest):
                chain = found.config.chain(result)
                layers = self._shared(found, chain, expected)
                if layers:
                    created_at_s = _seconds(result.created) or _seconds(layers[-1].created)
                    size = layers[-1].blob.size_bytes if layers[-1].blob is not None else 0
                    return Entry(key.digest, "", key.document, key.op_digest, layers, created_at_s=created_at_s, size_bytes=size)
        return None

    def read_blob(self, scope: str, blob: Descriptor) -> "Iterator[bytes]":
        del scope
        return self._place.read_blob(blob)

    def repository(self, scope: str) -> tuple[str, str]:
        del scope
        return self._place.repository()

    def stop(self) -> None:
        self._place.stop()

    def _shared(self, found: "_Config", chain: tuple[CacheLayer, ...], expected: Expected) -> tuple[SharedLayer, ...]:
        base, own = chain[: len(expected.base)], chain[len(expected.base) :]
        if len(own) != expected.height or len(base) != len(expected.base):
            return ()
        layers = []
        for at, layer in enumerate(chain):
            blob = found.blobs.get(layer.blob)
            notes = dict(blob.annotations) if blob is not None else {}
            diff_id = notes.get(DIFF_ID, "")
            if at < len(base):
                if diff_id != expected.base[at]:
                    return ()
                layers.append(SharedLayer(Digest(diff_id)))
            elif blob is None or blob.media_type not in types.LAYERS or not _is_digest(diff_id):
                return ()
            else:
                plain = Descriptor(blob.media_type, blob.digest, blob.size_bytes)
                created_by = expected.created_by[at - len(base)] if at - len(base) < len(expected.created_by) else ""
                layers.append(SharedLayer(Digest(diff_id), plain, layer.created or notes.get(CREATED, ""), created_by))
        return tuple(layers)

    # reading

    def _configs(self, top: Manifest | Index) -> "Iterator[tuple[CacheConfig, dict[Digest, Descriptor]]]":
        """A cache's document, or those that images carry in their own configurations."""
        children = top.manifests if isinstance(top, Index) else (*top.layers, top.config)
        described = next((child for child in children if child.media_type == MEDIA_TYPE), None)
        if described is not None:
            yield decode(self._document(described)), {child.digest: child for child in children}
            return
        images = [top] if isinstance(top, Manifest) else [self._child(child) for child in self._meant(top)]
        for image in images:
            found = self._inline(image) if image is not None else None
            if found is not None:
                yield found

    def _meant(self, index: Index) -> list[Descriptor]:
        chosen = manifests.select(index, self._platform)
        return [chosen] if chosen is not None else list(index.manifests[:_MAX_IMAGES])

    def _child(self, described: Descriptor) -> Manifest | None:
        if described.media_type not in types.MANIFESTS:
            return None
        found = manifests.decode(self._document(described), described.media_type)
        return found if isinstance(found, Manifest) else None

    def _inline(self, image: Manifest) -> tuple[CacheConfig, dict[Digest, Descriptor]] | None:
        import binascii
        import json
        from base64 import b64decode

        if image.config.media_type not in (types.OCI_CONFIG, types.DOCKER_CONFIG):
            return None
        try:
            document = json.loads(self._document(image.config))
            encoded = document.get(INLINE_FIELD)
            if not encoded:
                return None
            diff_ids = [str(item) for item in document["rootfs"]["diff_ids"]]
            times = [str(entry.get("created") or "") for entry in document.get("history") or () if not entry.get("empty_layer")]
            raw = b64decode(encoded, validate=True)
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError) as broken:
            raise LyingRegistry("the image's configuration can't be read", code="cache.bad-config") from broken
        if len(diff_ids) != len(image.layers):
            raise LyingRegistry(f"the image has {len(image.layers)} layers, but {len(diff_ids)} diff ids", code="cache.bad-config")
        times += [""] * (len(diff_ids) - len(times))
        layers = tuple(CacheLayer(blob.digest, at - 1, times[at]) for at, blob in enumerate(image.layers))
        blobs = {
            blob.digest: Descriptor(blob.media_type, blob.digest, blob.size_bytes, ((DIFF_ID, diff_id),))
            for blob, diff_id in zip(image.layers, diff_ids, strict=True)
        }
        return decode_inline(raw, layers), blobs

    def _document(self, described: Descriptor) -> bytes:
        """A small blob, whole and checked."""
        if described.size_bytes > MAX_BYTES:
            raise LyingRegistry(f"a document of {described.size_bytes} bytes is refused", code="cache.bad-config")
        return self._place.document(described)


class _Config:
    def __init__(self, config: CacheConfig, blobs: "dict[Digest, Descriptor]", matches: Matches) -> None:
        self.config = config
        self.blobs = blobs
        self.matches = matches


def _is_digest(text: str) -> bool:
    try:
        return bool(Digest(text))
    except InputError:
        return False


def _seconds(text: str) -> float:
    """RFC 3339 in seconds; 0.0 for what isn't."""
    import calendar
    import time

    try:
        return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return 0.0

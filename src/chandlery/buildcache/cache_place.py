"""`CachePlace`: where a cache in BuildKit's form is read from: a tag of a registry, or an OCI layout in a directory."""

from chandlery.errors import LyingRegistry, NotFound
from chandlery.oci.digest import sha256
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from chandlery.oci.descriptor import Descriptor
    from chandlery.oci.reference import Reference
    from chandlery.registry.client import RegistryClient

    class CachePlace(Protocol):
        """`name` is what users called it. Raises RegistryError; InputError for a directory that isn't a layout."""

        @property
        def name(self) -> str: ...

        def manifest(self) -> tuple[bytes, str]:
            """The bytes and media type of the manifest or index that the place's tag names."""

        def document(self, described: Descriptor) -> bytes:
            """A small blob or manifest, checked."""

        def read_blob(self, blob: Descriptor) -> Iterator[bytes]:
            """A blob's bytes, of the promised length; the caller checks the digest."""

        def repository(self) -> tuple[str, str]:
            """(registry, repository) whose blobs a push to the same registry can mount; ("", "") where there is none."""

        def stop(self) -> None:
            """End what threads are doing, at the next piece."""


_PIECE_BYTES = 1 << 20


class RegistryPlace:
    """`asking` is a client that gives up soon, `moving` one for layers; each is made when first needed."""

    def __init__(self, name: str, reference: "Reference", *, asking: "Callable[[], RegistryClient]", moving: "Callable[[], RegistryClient]") -> None:
        self.name = name
        self._reference = reference
        self._make = {"asking": asking, "moving": moving}
        self._made: dict[str, RegistryClient] = {}

    def manifest(self) -> tuple[bytes, str]:
        return self._client("asking").get_manifest(self._reference)

    def document(self, described: "Descriptor") -> bytes:
        from chandlery.oci import media_type as types

        if described.media_type in types.MANIFESTS | types.INDEXES:
            return self._client("asking").get_manifest(replace(self._reference, digest=described.digest), str(described.digest))[0]
        return b"".join(self._client("asking").read_blob(self._reference, described))

    def read_blob(self, blob: "Descriptor") -> "Iterator[bytes]":
        return self._client("moving").read_blob(self._reference, blob, is_hashed_by_caller=True)

    def repository(self) -> tuple[str, str]:
        return self._reference.registry, self._reference.repository

    def stop(self) -> None:
        for client in list(self._made.values()):
            client.http.stop()
            client.close()

    def _client(self, purpose: str) -> "RegistryClient":
        return self._made.setdefault(purpose, self._make[purpose]()) if purpose not in self._made else self._made[purpose]


class LayoutPlace:
    """An OCI layout; `wanted` is a tag in its index, or a digest, which need not be there."""

    def __init__(self, name: str, directory: str, wanted: str) -> None:
        self.name = name
        self._directory = directory
        self._wanted = wanted
        self._is_stopped = False

    def manifest(self) -> tuple[bytes, str]:
        from chandlery.oci.digest import Digest
        from chandlery.oci.manifest import MAX_BYTES
        from chandlery.source.oci_layout import Layout, open_file

        layout = Layout(self._directory)
        if self._wanted.startswith("sha256:"):
            digest = Digest(self._wanted)
            try:
                with open_file(self._directory, f"blobs/sha256/{digest.hex}") as file:
                    raw = file.read(MAX_BYTES + 1)
            except OSError as broken:
                raise NotFound(f"{self._directory} has no {digest}") from broken
            if sha256(raw) != digest:
                raise LyingRegistry(f"{self._directory}: {digest} has other content than its name says", code="registry.wrong-digest")
            return raw, ""
        for entry in layout.index().manifests:
            if dict(entry.annotations).get("org.opencontainers.image.ref.name") == self._wanted:
                return layout.read(entry), entry.media_type
        raise NotFound(f"{self._directory} has no cache {self._wanted!r}")

    def document(self, described: "Descriptor") -> bytes:
        from chandlery.source.oci_layout import Layout

        return Layout(self._directory).read(described)

    def read_blob(self, blob: "Descriptor") -> "Iterator[bytes]":
        from chandlery.errors import Cancelled, Unavailable
        from chandlery.source.oci_layout import open_file

        done = 0
        try:
            with open_file(self._directory, f"blobs/{blob.digest.algorithm}/{blob.digest.hex}") as file:
                while piece := file.read(_PIECE_BYTES):
                    if self._is_stopped:
                        raise Cancelled()
                    done += len(piece)
                    if done > blob.size_bytes:
                        break
                    yield piece
        except (FileNotFoundError, NotADirectoryError) as gone:
            raise NotFound(f"{self.name} has no blob {blob.digest}") from gone
        except OSError as broken:
            raise Unavailable(f"the cache {self.name} can't be read: {broken.strerror or broken}", code="cache.unavailable") from broken
        if done != blob.size_bytes:
            raise LyingRegistry(f"blob {blob.digest} of {self.name} has another size than its descriptor says", code="registry.short-body")

    def repository(self) -> tuple[str, str]:
        return "", ""

    def stop(self) -> None:
        self._is_stopped = True

"""A layer's forms on this machine, and how one becomes another: the directory that mounts, the diff id, the compressed blob.

Each is made at most once and kept: digests in the snapshot's row, blobs in the content store with a row that names the encoder. Safe for threads; two
that want the same form of the same layer wait for each other.
"""

import time

from chandlery.content.session import Session
from chandlery.content.steplock import StepLocks
from chandlery.content.store import Store
from chandlery.errors import Lost, LyingRegistry, StoreError
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from chandlery.content.blobs import VerifiedReader
    from chandlery.layer.compression import Compression
    from chandlery.registry.streamed import StreamedBlob

    Report = Callable[[str, int, int], None]
    Send = Callable[[], StreamedBlob]

    class Elsewhere(Protocol):
        """Layers that registries and shared caches are known to have, by diff id. `knows`: another machine's step made it; `is_away`: its files aren't here."""

        def knows(self, diff_id: str) -> bool: ...

        def is_away(self, diff_id: str) -> bool: ...

        def blob(self, diff_id: str) -> Descriptor | None: ...

        def bring(self, blob: Digest) -> None: ...


PACK_TIMEOUT_S = 3600.0
_PIECE_BYTES = 1 << 20


@value
class BlobForm:
    """How a layer is wanted as a blob. `is_forced`: an existing blob of another compression will not do. `clamp_s` rewrites later mtimes."""

    compression: "Compression"
    level: int | None = None
    is_forced: bool = False
    clamp_s: int | None = None


class LayerForms:
    """`fetch(diff_id)` brings a base image's layer onto this machine and gives its snapshot's id; `fetch_blob(diff_id)` its blob, None where nobody has
    it. `check` raises Cancelled once the build is to end."""

    def __init__(
        self,
        store: Store,
        snapshots: SnapshotStore,
        session: Session,
        *,
        fetch: "Callable[[str], str]",
        fetch_blob: "Callable[[str], Descriptor | None]" = lambda _: None,
        elsewhere: "Elsewhere | None" = None,
        check: "Callable[[], None]" = lambda: None,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._session = session
        self._fetch = fetch
        self._fetch_blob = fetch_blob
        self._elsewhere = elsewhere
        self._check = check
        self._locks = StepLocks(store.layout)
        self._known: dict[tuple[str, int | None], tuple[Digest, int]] = {}

    def directories(self, files: FileSystem) -> tuple[str, ...]:
        """The layers as directories to mount, bottom first; base layers are fetched if they aren't here. Raises Lost.

        Equal layers (two steps that changed nothing) are one directory, and overlayfs takes a directory once: the topmost place decides, for there
        it hides whatever it would have shown below.
        """
        paths = [self._snapshots.path(self.snapshot(layer)) for layer in files.layers]
        return tuple(reversed(dict.fromkeys(reversed(paths))))

    def snapshot(self, layer: LayerRef) -> str:
        return layer.snapshot or self._fetch(layer.diff_id)

    def bring(self, files: FileSystem) -> None:
        """Fetch layers whose files are elsewhere, base images' and other machines', as an image in the store needs them. Raises Lost."""
        for layer in files.layers:
            if self.is_away(layer):
                self._fetch(layer.diff_id)

    def is_away(self, layer: LayerRef) -> bool:
        """Whether the layer's files are to be fetched first."""
        return self._elsewhere is not None and bool(layer.diff_id) and self._elsewhere.is_away(layer.diff_id)

    def localised(self, files: FileSystem) -> FileSystem:
        """The same with other machines' layers named by snapshots, as if they had been made here: for who packs them anew. Raises Lost."""
        if self._elsewhere is None:
            return files
        return FileSystem(
            tuple(replace(layer, snapshot=self._fetch(layer.diff_id), diff_id="") if self._elsewhere.knows(layer.diff_id) else layer for layer in files.layers)
        )

    def open_blob(self, blob: Descriptor) -> "VerifiedReader":
        """A blob that `blob` described, fetched if it was left where it is. Raises Lost, RegistryError."""
        if self._elsewhere is not None and not self._store.blobs.has(blob.digest):
            self._elsewhere.bring(blob.digest)
        return self._store.blobs.open(blob.digest)

    def diff_id(self, layer: LayerRef, *, clamp_s: int | None = None) -> Digest:
        """The layer's diff id, computed if nobody has yet. Raises Lost."""
        if layer.diff_id:
            return Digest(layer.diff_id)
        return self._digested(layer.snapshot, clamp_s)[0]

    def has_diff_id(self, layer: LayerRef) -> bool:
        """Whether the diff id can be had without reading the layer."""
        try:
            return bool(layer.diff_id) or self._snapshots.row(layer.snapshot).diff_id is not None
        except Lost:
            return False

    def has_same_content(self, one: LayerRef, other: LayerRef) -> bool:
        """Whether two layers are the same but for modification times; sizes are compared before anything is read."""
        rows = [self._snapshots.row(self.snapshot(layer)) for layer in (one, other)]
        if rows[0].size_bytes != rows[1].size_bytes:
            return False
        return self._content(rows[0].id) == self._content(rows[1].id)

    def blob(
        self, layer: LayerRef, form: BlobForm, *, report: "Report | None" = None, send: "Send | None" = None, may_stay_away: bool = False
    ) -> tuple[Digest, Descriptor]:
        """The layer as a blob of the content store: (diff id, descriptor). An existing blob is taken, of any compression unless forced.

        A layer whose diff id nobody knows yet gets it from being packed: its files are read once. `send` begins an upload that a blob which
        has to be packed goes to meanwhile, and that the caller finishes; what fails there is raised. `may_stay_away`: a blob that a registry or a shared
        cache is known to have is described and not fetched; `open_blob` fetches it.
        """
        name = layer.diff_id or layer.snapshot
        with self._locks.hold(f"pack:{name}:{form.compression}", timeout_s=PACK_TIMEOUT_S, while_waiting=self._check):
            known = Digest(layer.diff_id) if layer.diff_id else self._known_diff_id(layer.snapshot, form.clamp_s)
            found = self._existing(known, form) if known is not None else None
            if found is None and known is not None and may_stay_away and layer.diff_id and self._elsewhere is not None:
                described = self._elsewhere.blob(layer.diff_id)
                if described is not None and (not form.is_forced or compression_of(described.media_type) is form.compression):
                    return known, described
            if found is None and known is not None and not layer.snapshot:
                # a base image's layer comes with the blob that it was pulled as
                self._fetch(layer.diff_id)
                found = self._existing(known, form)
            if known is not None and found is None and not layer.snapshot:
                found = self._base_blob(known, form, report)
            return (known, found) if known is not None and found is not None else self._pack(layer, known, form, report, send)

    def existing_blob(self, diff_id: str) -> Descriptor | None:
        """A blob of the layer, whatever its compression, if there is one."""
        from chandlery.layer.compression import Compression

        return self._existing(Digest(diff_id), BlobForm(Compression.GZIP))

    def _existing(self, diff_id: Digest, form: BlobForm) -> Descriptor | None:
        with self._store.db.transaction(durable=False) as tx:
            rows = tx.execute("SELECT compression, media_type, digest, size_bytes FROM layer_blob WHERE diff_id = ?", (str(diff_id),)).fetchall()
            rows.sort(key=lambda row: row[0] != str(form.compression))
            for compression, media_type, digest, size_bytes in rows:
                if form.is_forced and compression != str(form.compression):
                    continue
                if self._store.blobs.has(Digest(digest)):
                    self._session.lease(tx, "blob", digest)
                    return Descriptor(media_type, Digest(digest), size_bytes)
        return None

    def _base_blob(self, diff_id: Digest, form: BlobForm, report: "Report | None") -> Descriptor | None:
        """A layer that others packed, in the form that is wanted: our tar of its files would be another one, so its blob is fetched or compressed anew."""
        found = self.existing_blob(diff_id) or self._fetch_blob(diff_id)
        if found is None:
            return None
        compression = compression_of(found.media_type)
        self.note_blob(diff_id, compression, found, "")
        return found if compression is form.compression or not form.is_forced else self._transcoded(diff_id, found, form, report)

    def _transcoded(self, diff_id: Digest, blob: Descriptor, form: BlobForm, report: "Report | None") -> Descriptor:
        from chandlery.layer.compression import decompressed
        from chandlery.layer.pack import compress

        with self._store.blobs.open(blob.digest) as reader, self._store.blobs.ingest(self._session, is_hashed_by_caller=True) as ingest:
            done = 0

            def sink(block: "bytes | bytearray | memoryview") -> None:
                nonlocal done
                done += ingest.write(block)
                if report is not None:
                    report("compressing", done, 0)

            plain = decompressed(iter(lambda: reader.read(_PIECE_BYTES), b""), compression_of(blob.media_type))
            packed = compress(plain, sink, compression=form.compression, level=form.level)
            if packed.diff_id != diff_id:
                raise LyingRegistry(f"blob {blob.digest} is not layer {diff_id}", code="registry.wrong-digest", hint="pull the base image again")
            ingest.commit(packed.digest, packed.size_bytes)
        made = Descriptor(packed.media_type, packed.digest, packed.size_bytes)
        self.note_blob(diff_id, form.compression, made, packed.encoder)
        return made

    def _pack(self, layer: LayerRef, known: Digest | None, form: BlobForm, report: "Report | None", send: "Send | None") -> tuple[Digest, Descriptor]:
        from contextlib import nullcontext

        from chandlery.layer.pack import pack_layer

        snapshot = self.snapshot(layer)
        done = 0
        with self._store.blobs.ingest(self._session, is_hashed_by_caller=True) as ingest, send() if send else nullcontext() as sent:

            def sink(block: "bytes | bytearray | memoryview") -> None:
                nonlocal done
                done += ingest.write(block)
                if sent is not None:
                    sent.write(block)
                if report is not None:
                    report("compressing", done, 0)

            clamp_s = None if layer.diff_id else form.clamp_s
            packed = pack_layer(self._snapshots.path(snapshot), sink, compression=form.compression, level=form.level, clamp_mtime_s=clamp_s)
            if known is not None and packed.diff_id != known:
                hint = "pull the base image again, or build from an image that is in a registry"
                raise StoreError(f"nobody has the blob of layer {known} any more", code="store.base-lost", hint=hint)
            ingest.commit(packed.digest, packed.size_bytes)
            if sent is not None:
                sent.end(packed.digest)
        if clamp_s is None:
            self._snapshots.set_digests(snapshot, diff_id=packed.diff_id, tar_size=packed.tar_size)
        self._known[snapshot, clamp_s] = (packed.diff_id, packed.tar_size)
        blob = Descriptor(packed.media_type, packed.digest, packed.size_bytes)
        self.note_blob(packed.diff_id, form.compression, blob, packed.encoder)
        return packed.diff_id, blob

    def _known_diff_id(self, snapshot: str, clamp_s: int | None) -> Digest | None:
        if clamp_s is not None:
            return self._known[snapshot, clamp_s][0] if (snapshot, clamp_s) in self._known else None
        row = self._snapshots.row(snapshot)
        return Digest(row.diff_id) if row.diff_id else None

    def note_blob(self, diff_id: Digest, compression: "Compression", blob: Descriptor, encoder: str) -> None:
        """Remember that a blob is a compressed form of a layer."""
        with self._store.db.transaction() as tx:
            tx.execute(
                "INSERT OR REPLACE INTO layer_blob (diff_id, compression, media_type, digest, size_bytes, encoder, last_used_at) VALUES (?,?,?,?,?,?,?)",
                (str(diff_id), str(compression), blob.media_type, str(blob.digest), blob.size_bytes, encoder, time.time()),
            )
            self._session.lease(tx, "blob", str(blob.digest))

    def tar(self, layer: LayerRef, *, clamp_s: int | None = None) -> "Iterator[memoryview]":
        """The layer as a plain tar, in pieces."""
        from chandlery.layer.pack import tar_chunks

        return tar_chunks(self._snapshots.path(self.snapshot(layer)), clamp_mtime_s=clamp_s)

    def tar_size(self, layer: LayerRef, *, clamp_s: int | None = None) -> int:
        """The length of that tar in bytes."""
        return self._digested(self.snapshot(layer), clamp_s)[1]

    def _digested(self, snapshot: str, clamp_s: int | None) -> tuple[Digest, int]:
        if (snapshot, clamp_s) in self._known:
            return self._known[snapshot, clamp_s]
        row = self._snapshots.row(snapshot)
        if clamp_s is None and row.diff_id and row.tar_size is not None:
            return Digest(row.diff_id), row.tar_size
        from chandlery.layer.pack import diff_id_of, digest_diff

        with self._locks.hold(f"digest:{snapshot}", timeout_s=PACK_TIMEOUT_S, while_waiting=self._check):
            directory = self._snapshots.path(snapshot)
            if clamp_s is not None:
                self._known[snapshot, clamp_s] = diff_id_of(directory, clamp_mtime_s=clamp_s)
            else:
                digests = digest_diff(directory)
                self._snapshots.set_digests(snapshot, diff_id=digests.diff_id, tar_size=digests.tar_size, content_digest=digests.content_digest)
                self._known[snapshot, None] = (digests.diff_id, digests.tar_size)
        return self._known[snapshot, clamp_s]

    def _content(self, snapshot: str) -> str:
        row = self._snapshots.row(snapshot)
        if row.content_digest:
            return row.content_digest
        from chandlery.layer.pack import digest_diff

        digests = digest_diff(self._snapshots.path(snapshot))
        try:
            self._snapshots.set_digests(snapshot, diff_id=row.diff_id or digests.diff_id, tar_size=digests.tar_size, content_digest=digests.content_digest)
        except Lost:
            pass  # pruned meanwhile: what was read still is what it is
        return str(digests.content_digest)


def compression_of(media_type: str) -> "Compression":
    """How a layer of a media type is compressed. Raises LyingRegistry for what no layer is."""
    from chandlery.layer.compression import Compression

    for kinds, compression in ((types.GZIP_LAYERS, Compression.GZIP), (types.ZSTD_LAYERS, Compression.ZSTD), (types.PLAIN_LAYERS, Compression.NONE)):
        if media_type in kinds:
            return compression
    raise LyingRegistry(f"a layer of type {media_type} is not supported", code="registry.bad-manifest", hint="only layers of images can be packed")


def layer_media_type(media_type: str, *, is_docker: bool) -> str:
    """A layer's media type in the family of the manifest that will name it."""
    for kinds, oci, docker in (
        (types.GZIP_LAYERS, types.OCI_LAYER_GZIP, types.DOCKER_LAYER_GZIP),
        (types.ZSTD_LAYERS, types.OCI_LAYER_ZSTD, types.DOCKER_LAYER_ZSTD),
        (types.PLAIN_LAYERS, types.OCI_LAYER, types.DOCKER_LAYER),
    ):
        if media_type in kinds:
            return docker if is_docker else oci
    return media_type

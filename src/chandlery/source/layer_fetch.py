"""Layers on their way: registry or blob store -> snapshots, a few at a time.

One process fetches a layer; another that wants it waits at the layer's lock and finds it done, or takes over. A layer from the network passes once:
hashed and written as a blob by one thread, decompressed and extracted by others. Digest and diff id are checked before anything gets a name.
"""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from chandlery.content.steplock import StepLocks
from chandlery.errors import Cancelled, Lost, LyingRegistry
from chandlery.layer.compression import Compression
from chandlery.layer.prefetch import Prefetch
from chandlery.layer.unpack import AppliedLayer, apply_layer
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.reference import Reference
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Protocol

    from chandlery.content.ingest import Ingest
    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.snapshot.snapshots import SnapshotStore

    class BlobReader(Protocol):
        """Where blobs come from: a registry's client, or a shared cache."""

        def read_blob(self, reference: Reference, wanted: Descriptor, *, is_hashed_by_caller: bool = False) -> Iterator[bytes]: ...

        def stop(self) -> None: ...


PARALLEL = 3
LOCK_TIMEOUT_S = 3600.0
PIECE_BYTES = 1 << 20
QUEUE_PIECES = 8
_COMPRESSIONS = {
    **dict.fromkeys(types.GZIP_LAYERS, Compression.GZIP),
    **dict.fromkeys(types.ZSTD_LAYERS, Compression.ZSTD),
    **dict.fromkeys(types.PLAIN_LAYERS, Compression.NONE),
}


@value
class LayerProgress:
    """One layer's compressed bytes that went by; `moved_bytes` are those of this piece that crossed the network."""

    layer: Digest
    done_bytes: int
    total_bytes: int
    moved_bytes: int = 0


class LayerFetch:
    """Fetches layers of one image for one session. `connect` gives the client, if a layer has to come from the network."""

    def __init__(
        self,
        store: "Store",
        snapshots: "SnapshotStore",
        session: "Session",
        connect: "Callable[[], BlobReader]",
        reference: Reference,
        on_progress: "Callable[[LayerProgress], None]",
        should_stop: "Callable[[], bool]",
    ) -> None:
        self._should_stop = should_stop
        self._store = store
        self._snapshots = snapshots
        self._session = session
        self._connect = connect
        self._reference = reference
        self._on_progress = on_progress
        self._locks = StepLocks(store.layout)

    def all(self, layers: "dict[Digest, Descriptor | None]") -> dict[Digest, str]:
        """Snapshots by diff id. After the first failure no further layer is begun, and that failure is raised."""
        if len(layers) == 1:
            return {diff_id: self._one(diff_id, blob) for diff_id, blob in layers.items()}
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="pull") as pool:
            futures = {diff_id: pool.submit(self._one, diff_id, blob) for diff_id, blob in layers.items()}
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
            except BaseException:
                # a signal takes this thread away: end what the others do
                self._connect().stop()
                raise
            finally:
                for future in futures.values():
                    future.cancel()
        for future in futures.values():
            if not future.cancelled():
                future.result()
        return {diff_id: future.result() for diff_id, future in futures.items()}

    def _one(self, diff_id: Digest, blob: Descriptor | None) -> str:
        with self._locks.hold(f"layer:{diff_id}", timeout_s=LOCK_TIMEOUT_S, while_waiting=self._check):
            found = self._snapshots.by_diff_id(diff_id, self._session)
            if found is not None:
                return found
            stored = self._stored(diff_id, blob)
            if stored is not None:
                try:
                    return self._extract(diff_id, stored, self._from_store(stored))
                except Lost:
                    pass  # it was damaged, and is gone now: fetch it
            if blob is None:
                raise Lost(diff_id)
            return self._fetch(diff_id, blob)

    def _check(self) -> None:
        if self._should_stop():
            raise Cancelled()

    def _stored(self, diff_id: Digest, blob: Descriptor | None) -> Descriptor | None:
        """A blob of the layer that is here, in whatever compression."""
        if blob is not None and self._store.blobs.has(blob.digest):
            return blob
        for media_type, digest, size in self._store.db.read("SELECT media_type, digest, size_bytes FROM layer_blob WHERE diff_id = ?", (diff_id,)):
            if self._store.blobs.has(str(digest)):
                return Descriptor(str(media_type), Digest(str(digest)), int(size))
        return None

    def _from_store(self, blob: Descriptor) -> "Iterator[bytes]":
        self._store.blobs.lease(self._session, blob.digest)
        done = 0
        with self._store.blobs.open(blob.digest) as reader:
            while piece := reader.read(PIECE_BYTES):
                done += len(piece)
                yield piece
                self._on_progress(LayerProgress(blob.digest, done, blob.size_bytes))

    def _fetch(self, diff_id: Digest, blob: Descriptor) -> str:
        client = self._connect()
        received = self._received(client, blob, ingest := self._store.blobs.ingest(self._session, blob.digest.algorithm))
        try:
            with ingest, Prefetch(received, QUEUE_PIECES) as pieces:
                return self._extract(diff_id, blob, pieces, before_commit=lambda: ingest.commit(blob.digest, blob.size_bytes))
        finally:
            received.close()

    def _received(self, client: "BlobReader", blob: Descriptor, ingest: "Ingest") -> "Generator[bytes, None, None]":
        done = 0
        for piece in client.read_blob(self._reference, blob, is_hashed_by_caller=True):
            ingest.write(piece)
            done += len(piece)
            self._on_progress(LayerProgress(blob.digest, done, blob.size_bytes, len(piece)))
            yield piece

    def _extract(self, diff_id: Digest, blob: Descriptor, pieces: "Iterator[bytes]", *, before_commit: "Callable[[], object]" = lambda: None) -> str:
        """Extract a layer into a new snapshot; the blob and the diff id are right before it gets a name."""
        compression = _compression(blob)
        # an iterator that its consumer can't close: what a failed extraction leaves must still be read
        open_pieces = iter(lambda: next(pieces, b""), b"")
        active = self._snapshots.prepare(self._session)
        try:
            try:
                applied = apply_layer(open_pieces, active.upper, expected_diff_id=diff_id)
            except LyingRegistry:
                # Damage on the way shows up in a decompressor first; the digest says whose fault it is.
                _drain(pieces)
                before_commit()
                raise
            _drain(pieces)
            before_commit()
            snapshot = self._snapshots.commit(active, diff_id=diff_id, tar_size=applied.tar_size, size_bytes=_disk_bytes(applied))
        except BaseException:
            self._snapshots.discard(active)
            raise
        self._record(diff_id, blob, compression)
        return snapshot

    def _record(self, diff_id: Digest, blob: Descriptor, compression: Compression) -> None:
        """Note the blob as a compressed form of the layer, so that a push can send it as it is. One that is noted and there stays."""
        with self._store.db.transaction(durable=False) as tx:
            row = tx.execute("SELECT digest FROM layer_blob WHERE diff_id = ? AND compression = ?", (diff_id, compression)).fetchone()
            if row is None or not self._store.blobs.has(row[0]):
                tx.execute(
                    "INSERT OR REPLACE INTO layer_blob (diff_id, compression, media_type, digest, size_bytes, encoder, last_used_at)"
                    " VALUES (?, ?, ?, ?, ?, '', unixepoch())",
                    (diff_id, compression, blob.media_type, blob.digest, blob.size_bytes),
                )


def _compression(blob: Descriptor) -> Compression:
    found = _COMPRESSIONS.get(blob.media_type)
    if found is None:
        hint = "only layers of images can be extracted"
        raise LyingRegistry(f"a layer of type {blob.media_type} is not supported", code="registry.bad-manifest", hint=hint)
    return found


def _disk_bytes(applied: AppliedLayer) -> int:
    """About what a layer takes on a disk, without looking at each file again: half a block more for each."""
    return applied.stats.size_bytes + applied.stats.entries * 2048


def _drain(pieces: "Iterator[bytes]") -> None:
    """Take what is left: a blob is more than its tar, and its digest counts all of it."""
    for _ in pieces:
        pass

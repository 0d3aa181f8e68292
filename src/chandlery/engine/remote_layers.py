"""`RemoteLayers`: layers that another machine made and this one hasn't fetched, brought here when something needs their files or their bytes.

A layer that its remote no longer has, or has damaged, is lost: `Lost` names it, the solver revokes the hits that stand on it, and this build believes no
entry that lists it any more. So a remote can cost time, never a build.
"""

from _thread import allocate_lock

from chandlery.buildcache.record import LayerSource, StepRecord
from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.engine.steps import Step, StepBook
from chandlery.errors import Cancelled, Lost, RegistryError
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.reference import Reference
from chandlery.snapshot.snapshots import SnapshotStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chandlery.buildcache.imported import ImportedCache
    from chandlery.buildcache.remote import StepRemote
    from chandlery.content.blobs import VerifiedReader
    from chandlery.source.layer_fetch import LayerProgress

_NOWHERE = Reference("chandlery.local", "cache", "layer")


class RemoteLayers:
    """For one build; safe for threads. `remotes` by their names: a source in any other one is as good as none."""

    def __init__(
        self,
        store: Store,
        snapshots: SnapshotStore,
        session: Session,
        remotes: "dict[str, StepRemote | ImportedCache]",
        book: StepBook,
        should_stop: "Callable[[], bool]",
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._session = session
        self._remotes = remotes
        self._book = book
        self._should_stop = should_stop
        self._lock = allocate_lock()
        self._sources: dict[str, LayerSource] = {}
        self._chains: dict[str, tuple[str, ...]] = {}
        self._here: set[str] = set()
        self.lost: set[str] = set()
        self.lost_blobs: set[Digest] = set()
        self.bytes_moved = 0

    def learn(self, record: StepRecord) -> None:
        """Remember where the layers of a hit can be had, and which of them are here."""
        chain = tuple(source.diff_id for source in record.sources)
        if not chain:
            return
        here = self._snapshots.by_diff_ids(chain, self._session)
        self._here.update(diff_id for diff_id, snapshot in zip(chain, here, strict=True) if snapshot is not None)
        for source in record.sources:
            self._sources.setdefault(source.diff_id, source)
            if len(chain) > len(self._chains.get(source.diff_id, ())):
                self._chains[source.diff_id] = chain

    def knows(self, diff_id: str) -> bool:
        return diff_id in self._sources

    def is_away(self, diff_id: str) -> bool:
        """Whether the layer is another machine's and its files aren't here."""
        return diff_id in self._sources and diff_id not in self._here

    def source(self, diff_id: str) -> LayerSource | None:
        return self._sources.get(diff_id)

    def blob(self, diff_id: str) -> Descriptor | None:
        """The layer's blob as its remote has it, not fetched."""
        return self._sources[diff_id].blob if diff_id in self._sources and diff_id not in self.lost else None

    def origins(self) -> "Iterator[tuple[str, str, Digest]]":
        """(registry, repository, blob): what a push to the same registry can mount."""
        for source in list(self._sources.values()):
            remote = self._remotes.get(source.remote)
            if remote is not None:
                registry, repository = remote.repository(source.scope)
                yield registry, repository, source.blob.digest

    def fetch(self, diff_id: str) -> str:
        """The layer's snapshot, with those of its chain, because who mounts one mounts all. Raises Lost."""
        with self._lock:
            found = self._snapshots.by_diff_id(diff_id, self._session)
            if found is not None:
                self._here.add(diff_id)
                return found
            self._fetch_chain(self._chains.get(diff_id, (diff_id,)))
        found = self._snapshots.by_diff_id(diff_id, self._session)
        if found is None:
            raise Lost(diff_id)
        return found

    def bring(self, blob: Digest) -> bool:
        """Have a blob in the store; False where it isn't one of these layers. Raises Lost, naming the layer."""
        source = next((source for source in list(self._sources.values()) if source.blob.digest == blob), None)
        if source is None:
            return False
        shown = _Shown(self, self._book, f"[internal] fetch layer {source.diff_id[7:19]} from the shared cache")
        with shown:
            self._guarded(source, lambda: self._ingest(source, shown))
        return True

    def _fetch_chain(self, chain: tuple[str, ...]) -> None:
        from chandlery.source.layer_fetch import LayerFetch

        missing = [diff_id for diff_id in chain if diff_id not in self._here]
        with _Shown(self, self._book, f"[internal] fetch {len(missing)} layers from the shared cache") as shown:
            fetch = LayerFetch(self._store, self._snapshots, self._session, lambda: _Reader(self), _NOWHERE, shown.progress, self._should_stop)
            wanted: dict[Digest, Descriptor | None] = {Digest(diff_id): self._sources[diff_id].blob for diff_id in missing}
            try:
                fetch.all(wanted)
            except (RegistryError, Lost):
                # which one it was, and once more: the others are there already
                for diff_id, blob in wanted.items():
                    source, one = self._sources[diff_id], {diff_id: blob}
                    self._guarded(source, lambda one=one: fetch.all(one))  # type: ignore[misc]
        self._here.update(missing)

    def _guarded(self, source: LayerSource, work: "Callable[[], object]") -> None:
        """Whatever a remote does wrong, its layer is lost."""
        try:
            work()
        except (RegistryError, Lost) as failure:
            self.lost.add(source.diff_id)
            self.lost_blobs.add(source.blob.digest)
            text = f"a layer in the shared cache {source.remote} can't be used, its step is made anew: {failure.message}"
            self._book.warn("cache.lost-layer", text)
            raise Lost(source.diff_id) from failure

    def _ingest(self, source: LayerSource, shown: "_Shown") -> None:
        from chandlery.source.layer_fetch import LayerProgress

        blob, done = source.blob, 0
        try:
            self._store.blobs.lease(self._session, blob.digest)
            return
        except Lost:
            pass
        with self._store.blobs.ingest(self._session, blob.digest.algorithm) as ingest:
            for piece in self.read(blob):
                ingest.write(piece)
                done += len(piece)
                shown.progress(LayerProgress(blob.digest, done, blob.size_bytes, len(piece)))
            ingest.commit(blob.digest, blob.size_bytes)

    def open_blob(self, blob: Descriptor) -> "VerifiedReader":
        """A blob to read, fetched if it isn't here. Raises Lost."""
        if not self._store.blobs.has(blob.digest):
            self.bring(blob.digest)
        return self._store.blobs.open(blob.digest)

    def read(self, blob: Descriptor) -> "Iterator[bytes]":
        source = next((source for source in list(self._sources.values()) if source.blob.digest == blob.digest), None)
        remote = self._remotes.get(source.remote) if source is not None else None
        if source is None or remote is None:
            raise Lost(str(blob.digest))
        for piece in remote.read_blob(source.scope, blob):
            if self._should_stop():
                raise Cancelled()
            yield piece


class _Reader:
    """Remotes in the shape of a registry client, as far as LayerFetch uses one."""

    def __init__(self, layers: RemoteLayers) -> None:
        self._layers = layers

    def read_blob(self, reference: Reference, wanted: Descriptor, *, is_hashed_by_caller: bool = False) -> "Iterator[bytes]":
        del reference, is_hashed_by_caller
        return self._layers.read(wanted)

    def stop(self) -> None:
        for remote in self._layers._remotes.values():
            remote.stop()


class _Shown:
    """A fetch as a step of its own, shown from its first byte on."""

    def __init__(self, layers: RemoteLayers, book: StepBook, name: str) -> None:
        self._layers = layers
        self._book = book
        self._name = name
        self._step: Step | None = None
        self._lock = allocate_lock()

    def progress(self, progress: "LayerProgress") -> None:
        with self._lock:
            if self._step is None:
                self._step = self._book.start(self._name)
        self._step.moved(progress.moved_bytes)
        self._layers.bytes_moved += progress.moved_bytes
        self._step.progress(str(progress.layer)[:19], progress.done_bytes, progress.total_bytes)

    def __enter__(self) -> "_Shown":
        return self

    def __exit__(self, kind: object, failure: BaseException | None, _: object) -> None:
        from chandlery.events import Outcome

        if self._step is not None:
            self._step.finish(Outcome.DONE if failure is None else Outcome.CANCELLED)

"""`Publisher`: sending finished steps to a shared cache, behind the build's back.

A record is offered as soon as its step has ended and goes out beside the steps that follow: layers first, the entry last, so that an interruption leaves
nothing half-visible. Layers are sent from the store's blobs, never held in memory. A failure costs the entry, and is told once; whoever may not write
reads only.
"""

import time
from functools import partial

from chandlery.buildcache.entry import MAX_BYTES, Entry, SharedLayer, encode
from chandlery.buildcache.record import LayerSource, StepRecord
from chandlery.errors import AccessDenied, Cancelled, ChandleryError, Unavailable
from chandlery.oci.digest import Digest
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import queue
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    from chandlery.buildcache.remote import StepRemote
    from chandlery.oci.descriptor import Descriptor
    from chandlery.registry.upload import Readable
    from chandlery.snapshot.state import LayerRef

    T = TypeVar("T")

    class Layers(Protocol):
        """Where layers come from, as blobs."""

        def packed(self, layer: LayerRef) -> tuple[Digest, Descriptor]:
            """A step's layer as a blob that can be opened."""

        def source(self, diff_id: str) -> LayerSource | None:
            """Where a layer that another machine made can be had."""

        def open_blob(self, blob: Descriptor) -> Readable: ...


THREADS = 2
STOP_GRACE_S = 5.0
EARLIER_PATIENCE_S = 1.0


@value
class Base:
    """The image that a chain stands on: its diff ids, and the name and digest that the build pinned."""

    diff_ids: tuple[str, ...] = ()
    reference: str = ""
    digest: str = ""


@value
class Offer:
    """A record to be shared under its key and, `by_content`, under others that stand for it. `replaces`: the entry that is there is known
    to be broken or too old. `is_earlier`: the step is not of this build, which doesn't wait for it as long as the remote hasn't answered. `pushed_to` are
    (registry, repository) that have the blobs already."""

    record: StepRecord
    base: Base
    by_content: tuple[StepRecord, ...] = ()
    replaces: bool = False
    is_earlier: bool = False
    pushed_to: tuple[tuple[str, str], ...] = ()


@value
class Published:
    """What came of it. `missing` names the steps that were not shared, `why` the reason. `has_answered`: the remote did anything at all; `is_denied`: but
    it may not be written."""

    steps: int = 0
    bytes_moved: int = 0
    missing: tuple[str, ...] = ()
    why: str = ""
    has_answered: bool = True
    is_denied: bool = False


class Publisher:
    """To one scope of one remote. `is_lost(digest)` says that the remote's copy of a blob is known to be damaged; `note(keys, is_new)` hears what it has."""

    def __init__(
        self,
        remote: "StepRemote",
        scope: str,
        layers: "Layers",
        *,
        writer: str,
        is_lost: "Callable[[Digest], bool]",
        warn: "Callable[[str, str], None]",
        note: "Callable[[tuple[Digest, ...], bool], None]",
    ) -> None:
        import threading

        self._remote = remote
        self._scope = scope
        self._layers = layers
        self._writer = writer
        self._is_lost = is_lost
        self._warn = warn
        self._note = note
        self._has_answered = self._is_denied = False
        self._queue: queue.SimpleQueue[Offer | None] | None = None
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._waiting: list[Offer] = []
        self._blob_locks: dict[Digest, threading.Lock] = {}
        self._there: set[Digest] = set()
        self._done = self._bytes = 0
        self._missing: list[str] = []
        self._why = ""
        self._is_over = threading.Event()

    def offer(self, offer: Offer) -> None:
        """Share a record some time soon. Does not wait."""
        import queue
        import threading

        with self._changed:
            self._waiting.append(offer)
            if self._queue is None:
                self._queue = queue.SimpleQueue()
            if len(self._threads) < THREADS:
                self._threads.append(threading.Thread(target=self._work, args=(self._queue,), name="chandlery-publish", daemon=True))
                self._threads[-1].start()
        self._queue.put(offer)

    def finish(self, timeout_s: float | None) -> Published:
        """Wait until everything is out, at most `timeout_s` (None: as long as it takes); then nothing more is sent. What came of it."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            with self._changed:
                self._wait(lambda: all(offer.is_earlier for offer in self._waiting), until)
                if self._waiting and not self._has_answered and not self._why:
                    patience = time.monotonic() + EARLIER_PATIENCE_S
                    self._wait(lambda: self._has_answered or not self._waiting, patience if until is None else min(until, patience))
                if self._has_answered:
                    self._wait(lambda: not self._waiting, until)
                if self._waiting and not self._why and timeout_s is not None:
                    self._why = f"the build didn't wait longer than {timeout_s:g} s (--cache-publish-timeout)"
        finally:
            self._end()
        missing = (*self._missing, *(offer.record.name for offer in self._waiting if self._is_worth_telling(offer)))
        return Published(self._done, self._bytes, tuple(dict.fromkeys(missing)), self._why, self._has_answered, self._is_denied)

    def _is_worth_telling(self, offer: Offer) -> bool:
        """Whoever builds where the cache can't be reached, or may only read it, needn't hear of steps that were made before."""
        return not offer.is_earlier or (self._has_answered and not self._is_denied)

    def _wait(self, is_done: "Callable[[], bool]", until_s: float | None) -> None:
        self._changed.wait_for(is_done, None if until_s is None else max(0.0, until_s - time.monotonic()))

    def _end(self) -> None:
        self._is_over.set()
        if self._waiting:
            self._remote.stop()
        for _ in self._threads:
            if self._queue is not None:
                self._queue.put(None)
        until = time.monotonic() + STOP_GRACE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self, offers: "queue.SimpleQueue[Offer | None]") -> None:
        while (offer := offers.get()) is not None:
            if self._is_over.is_set():
                continue
            failure = self._try(offer)
            if failure is not None and self._is_over.is_set():
                continue
            with self._changed:
                self._waiting.remove(offer)
                if failure is not None and self._is_worth_telling(offer):
                    self._missing.append(offer.record.name)
                if failure is not None:
                    self._why = self._why or failure
                self._changed.notify_all()

    def _try(self, offer: Offer) -> str | None:
        """Share one record; why it wasn't."""
        if self._why:
            self._tell_if_denied(offer)
            return self._why
        try:
            self._share(offer)
        except Cancelled:
            return "the build was stopped"
        except AccessDenied as denied:
            self._why, self._is_denied = denied.message, True
            self._tell_if_denied(offer)
            return denied.message
        except Unavailable as broken:
            self._why = broken.message
            return broken.message
        except (ChandleryError, OSError) as failure:
            return str(failure)
        except Exception as failure:
            return f"{type(failure).__name__}: {failure}"
        return None

    def _tell_if_denied(self, offer: Offer) -> None:
        if self._is_denied and not offer.is_earlier:
            self._warn("cache.read-only", f"the shared cache {self._remote.name} is only read: scope {self._scope} can't be written ({self._why})")

    def _share(self, offer: Offer) -> None:
        record = offer.record
        items = (record, *offer.by_content)
        there = [False] * len(items) if offer.replaces else _side_by_side([partial(self._remote.has, self._scope, item.key) for item in items])
        missing = [item for item, is_there in zip(items, there, strict=True) if not is_there]
        with self._changed:
            self._has_answered = True
            self._changed.notify_all()
        if not missing:
            self._note(tuple(item.key for item in items), False)
            return
        layers = tuple(self._layer(layer, offer, is_base=at < len(offer.base.diff_ids)) for at, layer in enumerate(record.result.layers))
        entry = Entry(
            record.key, self._scope, record.document, record.op_digest, layers, record.name, offer.base.reference, offer.base.digest,
            record.created_at_s, record.duration_s, record.size_bytes, record.observed, self._writer,
        )  # fmt: skip
        named = [replace(entry, key=item.key, document=item.document, observed=item.observed) for item in missing]
        _side_by_side([partial(self._put, entry, offer) for entry in named])
        self._note(tuple(item.key for item in items), True)
        with self._changed:
            self._done += 1

    def _put(self, entry: Entry, offer: Offer) -> None:
        raw = encode(entry)
        if len(raw) <= MAX_BYTES:
            self._remote.put_entry(self._scope, entry, raw, replaces=offer.replaces)

    def _layer(self, layer: "LayerRef", offer: Offer, *, is_base: bool) -> SharedLayer:
        if is_base:
            return SharedLayer(Digest(layer.diff_id), None, layer.created, layer.created_by)
        source = self._layers.source(layer.diff_id) if layer.diff_id else None
        diff_id, blob = (Digest(layer.diff_id), source.blob) if source is not None else self._layers.packed(layer)
        from_scope = source.scope if source is not None and source.remote == self._remote.name else ""
        self._put_blob(blob, from_scope, offer.pushed_to)
        return SharedLayer(diff_id, blob, layer.created, layer.created_by)

    def _put_blob(self, blob: "Descriptor", from_scope: str, pushed_to: tuple[tuple[str, str], ...]) -> None:
        import threading

        with self._changed:
            lock = self._blob_locks.setdefault(blob.digest, threading.Lock())
        with lock:
            if blob.digest in self._there:
                return
            is_damaged = self._is_lost(blob.digest)
            opened = lambda: self._layers.open_blob(blob)  # noqa: E731
            moved = self._remote.put_blob(self._scope, blob, opened, is_damaged=is_damaged, from_scope=from_scope, pushed_to=pushed_to)
            self._there.add(blob.digest)
        with self._changed:
            self._bytes += moved


def _side_by_side(requests: "list[Callable[[], T]]") -> "list[T]":
    """What each gives; a record has a key or two, and each request is a round trip. Raises what the first of them raises."""
    if len(requests) == 1:
        return [requests[0]()]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(requests)) as pool:
        return [done.result() for done in [pool.submit(request) for request in requests]]

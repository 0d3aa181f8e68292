"""An image -> a registry: what is there is skipped, what another repository there has is mounted, the rest is sent; children before parents.

A push of what is there costs one HEAD. Blobs go out several at a time; a manifest is put when everything that it names is there, so a reader
never meets a tag whose parts are missing.
"""

import threading

from chandlery.errors import RegistryError
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.reference import Reference
from chandlery.registry.client import RegistryClient
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    from chandlery.oci.manifest import Index, Manifest
    from chandlery.registry.upload import Readable

    OpenBlob = Callable[[Descriptor], Readable]

    class OnItsWay(Protocol):
        """A blob that is being sent to the same repository (streamed.py)."""

        digest: Digest | None

        def finish(self) -> bool:
            """Wait for it; False where it has to be sent after all. Raises RegistryError."""


@value
class PushReceipt:
    """`digest` is what the tag now names; bytes are what crossed the network as blobs."""

    digest: Digest
    bytes_moved: int = 0
    blobs_sent: int = 0
    blobs_skipped: int = 0
    blobs_mounted: int = 0


@value
class PushProgress:
    """Bytes of a push's blobs, done (skipped and mounted ones included) and in all."""

    done_bytes: int
    total_bytes: int


def push(
    client: RegistryClient,
    reference: Reference,
    *,
    blobs: "Iterable[Descriptor]",
    open_blob: "OpenBlob",
    manifest: "Manifest | Index",
    children: "tuple[Manifest | Index, ...]" = (),
    mount_from: "Mapping[Digest, str] | None" = None,
    streams: "tuple[OnItsWay, ...]" = (),
    on_blobs: "Callable[[], None]" = lambda: None,
    parallel: int = 4,
    on_progress: "Callable[[PushProgress], None]" = lambda _: None,
) -> PushReceipt:
    """Push `manifest`, under the reference's tag (or by digest where it has none), with everything below it.

    `blobs` are configs and layers in any order; `open_blob` opens one from its start, and may be called again for a second try. `children` are the
    manifests of an index. `mount_from` knows repositories on this registry that have a blob; `streams` are blobs that are already on their way. `on_blobs`
    is called when all blobs are there. Raises RegistryError, and whatever `open_blob` raises.
    """
    target = reference.tag or str(manifest.digest)
    wanted = list({blob.digest: blob for blob in blobs if blob.media_type != types.DOCKER_FOREIGN_LAYER}.values())
    on_their_way = {stream.digest for stream in streams}
    fresh = [blob for blob in wanted if blob.digest not in on_their_way]
    if not streams:
        there = client.head_at_registry(replace(reference, digest=None if reference.tag else manifest.digest))
        if there is not None and there.digest == manifest.digest:
            return PushReceipt(manifest.digest, blobs_skipped=len(wanted))
    work = _Work(client, reference, open_blob, mount_from or {}, on_progress, sum(blob.size_bytes for blob in fresh))
    work.transfer_all(fresh, parallel)
    lost = {stream.digest for stream in streams if not stream.finish()}
    work.transfer_all([blob for blob in wanted if blob.digest in lost], parallel)
    on_blobs()
    for child in children:
        client.put_manifest(reference, str(child.digest), child)
    client.put_manifest(reference, target, manifest)
    return work.receipt(manifest.digest)


class _Work:
    """The state that a push's threads share."""

    def __init__(
        self,
        client: RegistryClient,
        reference: Reference,
        open_blob: "OpenBlob",
        mount_from: "Mapping[Digest, str]",
        on_progress: "Callable[[PushProgress], None]",
        total_bytes: int,
    ) -> None:
        self._client = client
        self._reference = reference
        self._open_blob = open_blob
        self._mount_from = mount_from
        self._on_progress = on_progress
        self._total_bytes = total_bytes
        self._lock = threading.Lock()
        self._done_bytes = 0
        self._bytes_moved = self._sent = self._skipped = self._mounted = 0

    def transfer_all(self, blobs: list[Descriptor], parallel: int) -> None:
        _in_parallel(self.transfer, sorted(blobs, key=lambda blob: -blob.size_bytes), parallel, stop=self._client.http.stop)

    def transfer(self, blob: Descriptor) -> None:
        """Make one blob be there, the cheapest way that works."""
        if self._client.has_blob(self._reference, blob.digest):
            with self._lock:
                self._skipped += 1
            self._advance(blob.size_bytes)
            return
        source = self._mount_from.get(blob.digest, "")
        begun = self._client.begin_upload(self._reference, mount=(blob.digest, source) if source not in ("", self._reference.repository) else None)
        if not begun.location:
            with self._lock:
                self._mounted += 1
            self._advance(blob.size_bytes)
            return
        self._client.upload_blob(self._reference, blob, lambda: self._open_blob(blob), begun=begun, on_bytes=self._advance)
        with self._lock:
            self._sent += 1
            self._bytes_moved += blob.size_bytes

    def receipt(self, digest: Digest) -> PushReceipt:
        return PushReceipt(digest, self._bytes_moved, self._sent, self._skipped, self._mounted)

    def _advance(self, count: int) -> None:
        with self._lock:
            self._done_bytes += count
            progress = PushProgress(self._done_bytes, self._total_bytes)
        self._on_progress(progress)


def _in_parallel(act: "Callable[[Descriptor], None]", blobs: list[Descriptor], parallel: int, *, stop: "Callable[[], None]") -> None:
    """Run `act` for each blob on a few threads; after the first failure nothing new begins, and that failure is raised.

    `stop` ends what the threads do, where a signal takes this one away from waiting for them.
    """
    if len(blobs) <= 1:
        for blob in blobs:
            act(blob)
        return
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(min(parallel, len(blobs)), thread_name_prefix="push") as pool:
        futures = [pool.submit(act, blob) for blob in blobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            stop()
            raise
        finally:
            for future in futures:
                future.cancel()
    failures = [future.exception() for future in futures if not future.cancelled() and future.exception() is not None]
    first = next((failure for failure in failures if not isinstance(failure, RegistryError)), None) or next(iter(failures), None)
    if first is not None:
        raise first

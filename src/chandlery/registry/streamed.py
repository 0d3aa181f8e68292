"""`StreamedBlob`: a blob that is sent to a registry while it is still being made.

A sink for whoever compresses a layer: `write` hands a chunk to a thread that uploads, a bounded number of chunks behind. The maker hashes what
it makes anyway and says the digest at the end; what is still on its way then is waited for by the push of which the blob is a part.
"""

import queue
import threading

from chandlery.errors import InternalError, Unavailable
from chandlery.oci.digest import Digest
from chandlery.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chandlery.registry.client import RegistryClient

    Buffer = bytes | bytearray | memoryview

QUEUE_CHUNKS = 16


class _Abandoned(Exception):
    """Tells the uploading thread that the blob's maker failed."""


class StreamedBlob:
    """`with StreamedBlob(client, reference) as blob: packed = make(blob.write); blob.end(packed.digest)`, then `blob.finish()`.

    Leaving the block without `end` cancels the upload. What the upload raises is raised by the next `write`, or by `finish`; but where the registry can't
    be reached for a while, nothing is: the blob is then sent as any other, with second tries, by the push that follows.
    """

    def __init__(self, client: "RegistryClient", reference: Reference, *, on_bytes: "Callable[[int], None]" = lambda _: None) -> None:
        self._client = client
        self._reference = reference
        self._on_bytes = on_bytes
        self._queue: queue.Queue[Buffer | Digest | _Abandoned] = queue.Queue(QUEUE_CHUNKS)
        self.digest: Digest | None = None
        """What the maker said at the end."""
        self._failure: BaseException | None = None
        self._has_ended = self._is_done = False
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    def __enter__(self) -> "StreamedBlob":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.digest is None:
            self._queue.put(_Abandoned())
            self._thread.join()

    def write(self, chunk: "Buffer") -> int:
        """Send some bytes, soon; waits where the network is slower than the maker. The chunk must not change afterwards."""
        if self._failure is None:
            self._queue.put(chunk)
        elif not self._failure_is_passing:
            raise self._failure
        return len(chunk)

    def end(self, digest: Digest) -> None:
        """Nothing more is written. `digest` is what the maker computed; the registry checks it."""
        self.digest = digest
        self._queue.put(digest)

    def finish(self) -> bool:
        """Wait until the registry has everything; False if it couldn't be reached for a while. Raises RegistryError."""
        self._thread.join()
        if self._failure is not None and not self._failure_is_passing:
            raise self._failure
        if not self._is_done and self._failure is None:
            raise InternalError("a streamed upload ended without a result", code="internal.upload")
        return self._is_done

    @property
    def _failure_is_passing(self) -> bool:
        return isinstance(self._failure, Unavailable)

    def _chunks(self) -> "Iterator[Buffer]":
        while not isinstance(chunk := self._queue.get(), Digest):
            if isinstance(chunk, _Abandoned):
                raise chunk
            yield chunk
        self._has_ended = True

    def _run(self) -> None:
        try:
            self._client.upload_stream(self._reference, self._chunks(), on_bytes=self._on_bytes, digest_at_end=self._stated)
            self._is_done = True
        except _Abandoned:
            return
        except BaseException as failure:
            self._failure = failure
            self._drain()

    def _stated(self) -> Digest:
        if self.digest is None:
            raise InternalError("a streamed upload ended before its blob", code="internal.upload")
        return self.digest

    def _drain(self) -> None:
        """Take what the maker still writes, so that it never waits for a thread that has given up."""
        while not self._has_ended:
            self._has_ended = isinstance(self._queue.get(), (Digest, _Abandoned))

"""`StreamedBlob`: a blob that is sent to a registry while it is still being made.

A sink for whoever compresses a layer: `write` hands a chunk to a thread that uploads, a bounded number of chunks behind. Its digest is known
when it is finished; the registry has checked it then.
"""

import queue
import threading

from chandlery.errors import InternalError
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
    """`with StreamedBlob(client, reference) as blob: make(blob.write); digest, size = blob.finish()`.

    Leaving the block without `finish` cancels the upload. What the upload raises is raised by the next `write`, or by `finish`.
    """

    def __init__(self, client: "RegistryClient", reference: Reference, *, on_bytes: "Callable[[int], None]" = lambda _: None) -> None:
        self._client = client
        self._reference = reference
        self._on_bytes = on_bytes
        self._queue: queue.Queue[Buffer | _Abandoned | None] = queue.Queue(QUEUE_CHUNKS)
        self._failure: BaseException | None = None
        self._result: tuple[Digest, int] | None = None
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    def __enter__(self) -> "StreamedBlob":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._queue.put(_Abandoned())
            self._thread.join()

    def write(self, chunk: "Buffer") -> int:
        """Send some bytes, soon; waits where the network is slower than the maker. The chunk must not change afterwards."""
        if self._failure is not None:
            raise self._failure
        self._queue.put(chunk)
        return len(chunk)

    def finish(self) -> tuple[Digest, int]:
        """Wait until the registry has everything; the blob's digest and size."""
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        if self._result is None:
            raise InternalError("a streamed upload ended without a result", code="internal.upload")
        return self._result

    def _chunks(self) -> "Iterator[Buffer]":
        while (chunk := self._queue.get()) is not None:
            if isinstance(chunk, _Abandoned):
                raise chunk
            yield chunk

    def _run(self) -> None:
        chunks = self._chunks()
        try:
            self._result = self._client.upload_stream(self._reference, chunks, on_bytes=self._on_bytes)
        except _Abandoned:
            return
        except BaseException as failure:
            self._failure = failure
            self._drain()

    def _drain(self) -> None:
        """Take what the maker still writes, so that it never waits for a thread that has given up."""
        while (chunk := self._queue.get()) is not None:
            if isinstance(chunk, _Abandoned):
                return

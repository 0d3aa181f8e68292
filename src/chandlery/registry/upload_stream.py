"""A blob that is sent while it is still made (OCI distribution spec, "Pushing blobs"), for `RegistryClient`.

It goes out as POST, one PATCH without end, and a closing PUT. The last of what was sent is kept: where the connection is cut, the registry is asked how far
it got, and the rest goes out in pieces, each a PATCH of its own that can be sent again. So it does where a registry states a least size of pieces, or wants
to know sizes beforehand.
"""

import hashlib
from collections import deque
from functools import partial
from io import BytesIO

from chandlery.errors import LyingRegistry, Unavailable
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, from_hex
from chandlery.oci.reference import Reference
from chandlery.registry.auth import UNKNOWN_SIZE, Request
from chandlery.registry.http import PIECE_BYTES
from chandlery.registry.upload import BINARY, begin, cancel, location_of, whole, with_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from chandlery.registry.client import RegistryClient

    Buffer = bytes | bytearray | memoryview

STREAM_PIECE_BYTES = 8 * 1024 * 1024
WHOLE_BYTES = 1024 * 1024
"""What isn't larger than this is sent when all of it is there, by one request less."""
KEPT_BYTES = 2 * STREAM_PIECE_BYTES
"""More than what sockets on the way hold: what was sent and may have to be sent again."""
# what a registry answers that doesn't take a body of unknown length, or not at this place
_WANTS_PIECES = frozenset({400, 411, 413, 416, 501})


def stream(
    client: "RegistryClient",
    reference: Reference,
    chunks: "Iterable[Buffer]",
    on_bytes: "Callable[[int], None]",
    digest_at_end: "Callable[[], Digest] | None" = None,
) -> tuple[Digest, int]:
    """Send a stream; its digest and size. A small one is sent whole. A failure cancels the upload.

    `digest_at_end` is asked once `chunks` has ended, by who hashes them anyway; else they are hashed here.
    """
    begun = begin(client, reference)
    hasher = hashlib.sha256()
    if digest_at_end is None:
        chunks = _hashed(chunks, hasher)
        digest_at_end = lambda: from_hex(hasher.hexdigest())  # noqa: E731
    sending = _Sending(client, chunks, on_bytes)
    try:
        start = sending.read_ahead(min(WHOLE_BYTES, STREAM_PIECE_BYTES))
        if start is not None:
            digest = digest_at_end()
            whole(client, reference, Descriptor("", digest, len(start)), lambda: BytesIO(start), begun, on_bytes)
            return digest, len(start)
        location, done = begun.location, 0
        if not begun.minimum_bytes:
            location, done = _flow(client, reference, location, sending)
        for piece in _pieces(sending.chunks_from(done), max(STREAM_PIECE_BYTES, begun.minimum_bytes)):
            location = _patch(client, reference, location, piece, done)
            done += len(piece)
            sending.note_sent(done)
        digest = digest_at_end()
        _close(client, reference, location, digest)
        return digest, done
    except _MakerFailed as failed:
        cancel(client, reference, begun.location)
        raise failed.failure from None
    except BaseException:
        cancel(client, reference, begun.location)
        raise


class _MakerFailed(Exception):
    """What is sent could not be made: `failure` says why. (It may be an OSError, which isn't the network's.)"""

    def __init__(self, failure: BaseException) -> None:
        super().__init__(str(failure))
        self.failure = failure


class _Sending:
    """A stream, the last KEPT_BYTES of which can be had again, and how much of it went out."""

    def __init__(self, client: "RegistryClient", chunks: "Iterable[Buffer]", on_bytes: "Callable[[int], None]") -> None:
        self._client = client
        self._chunks = iter(chunks)
        self._on_bytes = on_bytes
        self._kept: deque[Buffer] = deque()
        self._kept_from = 0
        self.taken = 0
        self._sent = 0

    def read_ahead(self, size_bytes: int) -> bytes | None:
        """All of the stream, if that isn't more than `size_bytes`; else None, and nothing is lost."""
        for _ in self.chunks_from(0):
            if self.taken > size_bytes:
                return None
        return b"".join(self._kept)

    def chunks_from(self, start: int) -> "Generator[Buffer, None, None]":
        """The chunks from a byte on. Raises Unavailable where that is kept no more: the blob has to be sent anew."""
        if not self._kept_from <= start <= self.taken:
            raise Unavailable("the registry lost bytes of an upload", code="registry.upload-lost", hint="the push can be repeated")
        at = self._kept_from
        for chunk in list(self._kept):
            if at + len(chunk) > start:
                yield memoryview(chunk)[max(start - at, 0) :]
            at += len(chunk)
        while chunk := self._next():
            yield chunk

    def body(self) -> "Generator[Buffer, None, None]":
        """All of it as the body of a request."""
        done = 0
        for chunk in self.chunks_from(0):
            self._client.http.check()
            yield chunk
            done += len(chunk)
            self.note_sent(done)

    def note_sent(self, size_bytes: int) -> None:
        """So much went out, counted from the start; what goes out again is counted once."""
        if size_bytes > self._sent:
            self._on_bytes(size_bytes - self._sent)
            self._sent = size_bytes

    def _next(self) -> "Buffer":
        """The next chunk that isn't empty, or b"" at the end."""
        try:
            chunk: Buffer = next((chunk for chunk in self._chunks if chunk), b"")
        except BaseException as failure:
            raise _MakerFailed(failure) from failure
        if not chunk:
            return chunk
        self._kept.append(chunk)
        self.taken += len(chunk)
        while self.taken - self._kept_from - len(self._kept[0]) >= KEPT_BYTES:
            self._kept_from += len(self._kept.popleft())
        return chunk


def _flow(client: "RegistryClient", reference: Reference, location: str, sending: _Sending) -> tuple[str, int]:
    """Send everything by one PATCH; where the upload continues, and from which byte on, which is the stream's end unless something went wrong."""
    doing = f"upload to {reference.name}"
    request = Request("PATCH", location, (BINARY,), sending.body, UNKNOWN_SIZE)
    try:
        response = client.call(reference, request, doing=doing, attempts=1)
    except Unavailable:
        client.http.back_off(1)
    else:
        if response.status in (202, 204):
            response.close()
            return location_of(response, doing), sending.taken
        broken = client.raise_for(response, reference, doing)
        if not (broken.retryable or response.status in _WANTS_PIECES):
            raise broken
        client.http.back_off(1, response.headers)
    return _status(client, reference, location)


def _hashed(chunks: "Iterable[Buffer]", hasher: "hashlib._Hash") -> "Iterator[Buffer]":
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk


def _close(client: "RegistryClient", reference: Reference, location: str, digest: Digest) -> None:
    """The PUT that ends an upload, without a body: some registries refuse bytes here after PATCHes."""
    doing = f"upload of {digest} to {reference.name}"
    try:
        response = client.call(reference, Request("PUT", with_digest(location, digest), (BINARY,), b""), doing=doing, attempts=1)
        if response.status in (201, 204):
            response.close()
            return
        broken = client.raise_for(response, reference, doing)
    except Unavailable as lost:
        broken = lost
    # the answer may be what was lost, not the request
    if not broken.retryable or not client.has_blob(reference, digest):
        raise broken


def _patch(client: "RegistryClient", reference: Reference, location: str, piece: bytes, start: int) -> str:
    """Send one piece that begins at `start` of the blob; the location of the next. A broken try continues where the registry got to."""
    doing = f"upload to {reference.name}"
    done = 0
    attempts = client.http.settings.attempts
    for attempt in range(1, attempts + 1):
        rest = memoryview(piece)[done:]
        content_range = f"{start + done}-{start + len(piece) - 1}"
        request = Request("PATCH", location, (BINARY, ("Content-Range", content_range)), partial(_views, client, rest), len(rest))
        try:
            response = client.call(reference, request, doing=doing, attempts=1)
        except Unavailable:
            if attempt == attempts:
                raise
            client.http.back_off(attempt)
        else:
            if response.status in (202, 204):
                response.close()
                return location_of(response, doing)
            broken = client.raise_for(response, reference, doing)
            if attempt == attempts or not (broken.retryable or response.status == 416):
                raise broken
            client.http.back_off(attempt, response.headers)
        location, received = _status(client, reference, location)
        if not start <= received <= start + len(piece):
            raise LyingRegistry(f"{doing}: the registry lost bytes that it had taken", code="registry.upload-lost", hint="the push can be repeated")
        done = received - start
        if done == len(piece):
            return location
    raise AssertionError("unreachable: the last attempt returns or raises")


def _status(client: "RegistryClient", reference: Reference, location: str) -> tuple[str, int]:
    """Where an upload goes on and how many bytes the registry has ("Range: 0-N", N inclusive; "0-0" also stands for nothing)."""
    doing = f"state of an upload to {reference.name}"
    response = client.call(reference, Request("GET", location), doing=doing)
    if response.status not in (200, 204):
        raise client.raise_for(response, reference, doing)
    last = response.headers.get("Range", "").removeprefix("bytes=").rpartition("-")[2]
    response.close()
    received = int(last) + 1 if last.isdigit() and last != "0" else 0
    return (location_of(response, doing) if response.headers.get("Location") else location), received


def _views(client: "RegistryClient", piece: memoryview) -> "Generator[memoryview, None, None]":
    for at in range(0, len(piece), PIECE_BYTES):
        client.http.check()
        yield piece[at : at + PIECE_BYTES]


def _pieces(chunks: "Iterable[Buffer]", size: int) -> "Iterator[bytes]":
    """The same bytes in pieces of at least `size`, but for the last."""
    waiting: list[Buffer] = []
    total = 0
    for chunk in chunks:
        waiting.append(chunk)
        total += len(chunk)
        if total >= size:
            yield b"".join(waiting)
            waiting, total = [], 0
    if total:
        yield b"".join(waiting)

"""Blob uploads, whole and streamed (OCI distribution spec, "Pushing blobs"), for `RegistryClient`.

A blob whose digest is known goes out as POST and PUT. A stream goes out as POST, PATCHes of pieces and a closing PUT; each piece is held in
memory until the registry has it, so that a cut connection costs one piece: the registry is asked how far it got, and the rest is sent again.
"""

import hashlib
from functools import partial
from io import BytesIO
from itertools import chain

from chandlery.errors import LyingRegistry, RegistryError, Unavailable
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, from_hex
from chandlery.oci.reference import Reference
from chandlery.registry.auth import Request
from chandlery.registry.http import PIECE_BYTES, Response
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Protocol

    from chandlery.registry.client import RegistryClient

    Buffer = bytes | bytearray | memoryview

    class Readable(Protocol):
        def read(self, size: int, /) -> bytes: ...

        def close(self) -> None: ...


STREAM_PIECE_BYTES = 8 * 1024 * 1024
MAX_MINIMUM_BYTES = 64 * 1024 * 1024
_BINARY = ("Content-Type", "application/octet-stream")


@value
class Begun:
    """An open upload: where it continues ("" where a mount made the blob exist) and the least size of a piece that isn't the last."""

    location: str
    minimum_bytes: int = 0


def begin(client: "RegistryClient", reference: Reference, mount: "tuple[Digest, str] | None" = None) -> Begun:
    """POST an upload; a refused mount is an open upload (the spec's 202), or is asked for again without the mount."""
    doing = f"upload to {reference.name}"
    base = client.base_url(reference) + "blobs/uploads/"
    query = f"?mount={mount[0]}&from={mount[1]}" if mount else ""
    also_from = mount[1] if mount else ""
    response = client.call(reference, Request("POST", base + query), doing=doing, also_from=also_from)
    if mount and response.status == 201:
        response.close()
        return Begun("")
    if mount and response.status != 202:
        response.close()
        return begin(client, reference)
    if response.status != 202:
        raise client.raise_for(response, reference, doing)
    response.close()
    return Begun(_location(response, doing), _minimum(response))


def cancel(client: "RegistryClient", reference: Reference, location: str) -> None:
    """Tell the registry that an upload won't be finished; it forgets it by itself where it doesn't listen."""
    try:
        client.call(reference, Request("DELETE", location), doing="cancelling an upload", attempts=1).close()
    except RegistryError:
        pass


def whole(
    client: "RegistryClient",
    reference: Reference,
    blob: Descriptor,
    open_blob: "Callable[[], Readable]",
    begun: Begun,
    on_bytes: "Callable[[int], None]",
) -> None:
    """One PUT of everything. The location is good for one try: a broken one starts with a new upload."""
    doing = f"upload of {blob.digest} to {reference.name}"
    for attempt in range(client.http.settings.attempts):
        body = _Body(client, open_blob, on_bytes)
        url = _with_digest(begun.location, blob.digest)
        try:
            response = client.call(reference, Request("PUT", url, (_BINARY,), body.open, blob.size_bytes), doing=doing, attempts=1)
        except Unavailable:
            body.take_back()
            if attempt + 1 == client.http.settings.attempts:
                raise
            client.http.back_off(attempt + 1)
            begun = begin(client, reference)
            continue
        if response.status in (201, 204):
            response.close()
            return
        body.take_back()
        broken = client.raise_for(response, reference, doing)
        if attempt + 1 == client.http.settings.attempts or not (broken.retryable or response.status == 404):
            raise broken
        client.http.back_off(attempt + 1, response.headers)
        begun = begin(client, reference)


def stream(
    client: "RegistryClient",
    reference: Reference,
    chunks: "Iterable[Buffer]",
    on_bytes: "Callable[[int], None]",
    digest_at_end: "Callable[[], Digest] | None" = None,
) -> tuple[Digest, int]:
    """Send a stream in pieces; its digest and size. What fits into one piece is sent whole. A failure cancels the upload.

    `digest_at_end` is asked once `chunks` has ended, by who hashes them anyway; else they are hashed here.
    """
    begun = begin(client, reference)
    hasher = hashlib.sha256()
    if digest_at_end is None:
        chunks = _hashed(chunks, hasher)
        digest_at_end = lambda: from_hex(hasher.hexdigest())  # noqa: E731
    try:
        pieces = _pieces(chunks, max(STREAM_PIECE_BYTES, begun.minimum_bytes))
        first, second = next(pieces, b""), next(pieces, b"")
        if not second:
            digest = digest_at_end()
            whole(client, reference, Descriptor("", digest, len(first)), lambda: BytesIO(first), begun, on_bytes)
            return digest, len(first)
        location, size = begun.location, 0
        for piece in chain((first, second), pieces):
            location = _patch(client, reference, location, piece, size)
            size += len(piece)
            on_bytes(len(piece))
        digest = digest_at_end()
        _close(client, reference, location, digest)
        return digest, size
    except BaseException:
        cancel(client, reference, begun.location)
        raise


def _hashed(chunks: "Iterable[Buffer]", hasher: "hashlib._Hash") -> "Iterator[Buffer]":
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk


def _close(client: "RegistryClient", reference: Reference, location: str, digest: Digest) -> None:
    """The PUT that ends an upload, without a body: some registries refuse bytes here after PATCHes."""
    doing = f"upload of {digest} to {reference.name}"
    try:
        response = client.call(reference, Request("PUT", _with_digest(location, digest), (_BINARY,), b""), doing=doing, attempts=1)
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
        request = Request("PATCH", location, (_BINARY, ("Content-Range", content_range)), partial(_views, client, rest), len(rest))
        try:
            response = client.call(reference, request, doing=doing, attempts=1)
        except Unavailable:
            if attempt == attempts:
                raise
            client.http.back_off(attempt)
        else:
            if response.status in (202, 204):
                response.close()
                return _location(response, doing)
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
    return (_location(response, doing) if response.headers.get("Location") else location), received


class _Body:
    """A blob's bytes as urllib3 wants them, reporting each piece; `take_back` unreports what a failed try had sent."""

    def __init__(self, client: "RegistryClient", open_blob: "Callable[[], Readable]", on_bytes: "Callable[[int], None]") -> None:
        self._client = client
        self._open = open_blob
        self._on_bytes = on_bytes
        self._sent = 0

    def open(self) -> "Generator[bytes, None, None]":
        self.take_back()
        reader = self._open()
        try:
            while piece := reader.read(PIECE_BYTES):
                self._client.http.check()
                yield piece
                self._sent += len(piece)
                self._on_bytes(len(piece))
        finally:
            reader.close()

    def take_back(self) -> None:
        if self._sent:
            self._on_bytes(-self._sent)
            self._sent = 0


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


def _location(response: Response, doing: str) -> str:
    from urllib.parse import urljoin

    location = response.headers.get("Location", "")
    if not location:
        raise LyingRegistry(f"{doing}: the registry doesn't say where the upload continues", code="registry.no-location")
    target = urljoin(response.url, location)
    if response.url.startswith("https:") and target.startswith("http:"):
        # A registry behind a proxy that ends TLS often doesn't know that it is reached by https.
        target = "https:" + target.removeprefix("http:")
    return target


def _minimum(response: Response) -> int:
    stated = response.headers.get("OCI-Chunk-Min-Length", "")
    if not stated.isdigit():
        return 0
    if int(stated) > MAX_MINIMUM_BYTES:
        raise LyingRegistry(f"the registry wants pieces of {stated} bytes", code="registry.chunk-size", hint="its smallest upload piece is too large")
    return int(stated)


def _with_digest(location: str, digest: Digest) -> str:
    return location + ("&" if "?" in location else "?") + "digest=" + str(digest)

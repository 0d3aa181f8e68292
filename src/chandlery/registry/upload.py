"""Uploads of blobs (OCI distribution spec, "Pushing blobs"), for `RegistryClient`: what begins and ends each of them, and the blob whose digest is known,
which goes out as POST and PUT."""

from chandlery.errors import LyingRegistry, RegistryError, Unavailable
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.reference import Reference
from chandlery.registry.auth import Request
from chandlery.registry.http import PIECE_BYTES, Response
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Protocol

    from chandlery.registry.client import RegistryClient

    class Readable(Protocol):
        def read(self, size: int, /) -> bytes: ...

        def close(self) -> None: ...


MAX_MINIMUM_BYTES = 64 * 1024 * 1024
BINARY = ("Content-Type", "application/octet-stream")


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
    return Begun(location_of(response, doing), _minimum(response))


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
        url = with_digest(begun.location, blob.digest)
        try:
            response = client.call(reference, Request("PUT", url, (BINARY,), body.open, blob.size_bytes), doing=doing, attempts=1)
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


def location_of(response: Response, doing: str) -> str:
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


def with_digest(location: str, digest: Digest) -> str:
    return location + ("&" if "?" in location else "?") + "digest=" + str(digest)

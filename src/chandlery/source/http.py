"""ADD of an http(s) URL: a URL becomes a digest, a file name and a modification time, and a blob in the store.

The store's `pin` table remembers what a URL last was, with the server's validators; asking again moves nothing while they hold (RFC 9110, 13). A URL with
--checksum that was fetched once is not asked again at all. Redirects, retries, proxies, certificates and time-outs are the client's (registry/http.py).
"""

import json
import time

from chandlery.errors import AccessDenied, ContextError, LyingRegistry, NotFound, RegistryError, Unavailable
from chandlery.oci.digest import Digest
from chandlery.registry.auth import Request
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.registry.http import HttpClient, Response

MAX_BYTES = 64 << 30
_UNNAMED = "__unnamed__"
_VALIDATORS = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))


@value
class HttpPin:
    """What a URL is: the blob `digest` is in the store, leased. `mtime_s` is Last-Modified, 0 where the server didn't say."""

    url: str
    digest: Digest
    file_name: str
    mtime_s: int = 0


class HttpSource:
    """Safe for threads. `headers` are extra ones by host (Authorization from a secret, say)."""

    def __init__(
        self, store: "Store", client: "HttpClient", *, headers: "dict[str, tuple[tuple[str, str], ...]] | None" = None, max_bytes: int = MAX_BYTES
    ) -> None:
        self._store = store
        self._client = client
        self._headers = headers or {}
        self._max_bytes = max_bytes

    def pin(self, url: str, session: "Session", *, checksum: Digest | None = None) -> HttpPin:
        """The URL as it is now, fetched unless the store has it.

        Raises ContextError (code http.checksum-mismatch), NotFound, AccessDenied, Unavailable, LyingRegistry, RegistryError (codes http.* or the client's),
        NoSpace.
        """
        known = self._known(url)
        if known is not None and not self._hold(session, known.digest):
            known = None
        if known is not None and checksum is not None and known.digest == checksum:
            return known
        response = self._ask(url, known is not None)
        if response.status == 304 and known is not None:
            response.close()
            return self._checked(known, checksum)
        self._refuse(response, url)
        try:
            pin = self._fetch(response, url, session, checksum)
        finally:
            response.close()
        self._remember(pin, response)
        return pin

    # -- what is remembered

    def _known(self, url: str) -> HttpPin | None:
        document = self._document(url)
        try:
            return HttpPin(url, Digest(document["digest"]), file_name_of(url), int(document["mtime_s"])) if document else None
        except (KeyError, ValueError):
            return None

    def _document(self, url: str) -> "dict[str, str]":
        rows = self._store.db.read("SELECT value FROM pin WHERE name = ?", ("http:" + url,))
        found: dict[str, str] = json.loads(rows[0][0]) if rows else {}
        return found

    def _hold(self, session: "Session", digest: Digest) -> bool:
        from chandlery.errors import Lost

        try:
            self._store.blobs.lease(session, digest)
        except Lost:
            return False
        return True

    def _remember(self, pin: HttpPin, response: "Response") -> None:
        document: dict[str, str | int] = {"digest": pin.digest, "mtime_s": pin.mtime_s}
        for name, _ in _VALIDATORS:
            if response.headers.get(name):
                document[name] = response.headers[name]
        with self._store.db.transaction() as tx:
            tx.execute(
                "INSERT INTO pin (name, value, checked_at) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value, checked_at = excluded.checked_at",
                ("http:" + pin.url, json.dumps(document, sort_keys=True), time.time()),
            )

    # -- asking

    def _ask(self, url: str, revalidates: bool) -> "Response":
        from chandlery.registry.http import host_of

        headers = list(self._headers.get(host_of(url), ()))
        if revalidates:
            document = self._document(url)
            headers += [(question, document[name]) for name, question in _VALIDATORS if name in document]
        return self._client.send(Request("GET", url, tuple(headers)), doing=f"downloading {shown(url)}")

    def _fetch(self, response: "Response", url: str, session: "Session", checksum: Digest | None) -> HttpPin:
        algorithm = checksum.algorithm if checksum is not None else "sha256"
        stated = response.headers.get("Content-Length", "")
        with self._store.blobs.ingest(session, algorithm) as ingest:
            for piece in response.pieces():
                if ingest.size_bytes + len(piece) > self._max_bytes:
                    hint = "download it in a RUN step"
                    raise LyingRegistry(f"{shown(url)} is larger than {self._max_bytes} bytes", code="http.too-large", hint=hint)
                ingest.write(piece)
            if stated.isdigit() and ingest.size_bytes != int(stated):
                raise Unavailable(f"{shown(url)} broke off after {ingest.size_bytes} of {stated} bytes", code="http.short-body", hint="try again")
            try:
                digest = ingest.commit(checksum)
            except LyingRegistry as error:
                raise _mismatch(url, checksum, error.message) from error
        return HttpPin(url, digest, file_name_of(url), _mtime_of(response.headers.get("Last-Modified", "")))

    def _checked(self, pin: HttpPin, checksum: Digest | None) -> HttpPin:
        if checksum is None or checksum == pin.digest:
            return pin
        if checksum.algorithm != pin.digest.algorithm:
            import hashlib

            hasher = hashlib.new(checksum.algorithm)
            with self._store.blobs.open(pin.digest) as reader:
                while piece := reader.read(1 << 20):
                    hasher.update(piece)
            if hasher.hexdigest() == checksum.hex:
                return pin
        raise _mismatch(pin.url, checksum, f"its digest is {pin.digest}")

    @staticmethod
    def _refuse(response: "Response", url: str) -> None:
        """Raise for an answer that isn't the file."""
        status = response.status
        if status == 200:
            return
        response.close()
        what = f"{shown(url)}: the server answered {status}"
        if status in (404, 410):
            raise NotFound(what, code="http.not-found", hint="check the URL")
        if status in (401, 403, 407):
            raise AccessDenied(what, code="http.denied", hint="check the URL, and whether it needs credentials")
        if status in (408, 425, 429) or status >= 500:
            raise Unavailable(what, code="http.unavailable", hint="try again")
        raise RegistryError(what, code="http.refused", hint="check the URL with a browser or curl")


def file_name_of(url: str) -> str:
    """The name that ADD gives a URL's file: the last part of its path."""
    from urllib.parse import unquote, urlsplit

    name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    return name if name not in ("", ".", "..") and "\0" not in name and "/" not in name else _UNNAMED


def shown(url: str) -> str:
    """A URL for people: without password and query, which may be a signature."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _mtime_of(text: str) -> int:
    from email.utils import parsedate_to_datetime

    try:
        return max(0, int(parsedate_to_datetime(text).timestamp())) if text else 0
    except (ValueError, OverflowError):
        return 0


def _mismatch(url: str, checksum: Digest | None, found: str) -> ContextError:
    return ContextError(
        f"{shown(url)} is not what --checksum={checksum} says: {found}",
        code="http.checksum-mismatch",
        hint="the file has changed, or the checksum is another file's",
    )

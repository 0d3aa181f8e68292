"""One HTTP client for everything that talks to registries: pooled connections, bounded retries, redirects by hand, proxies, TLS per host.

What must stay true: every wait has a limit; Authorization never crosses to another host; plain http is spoken only with hosts that may; nothing
that a message shows carries a secret; a body that is sent again is opened again. Threads share one client.
"""

import os
import threading
import time

from chandlery.errors import Cancelled, LyingRegistry, RegistryError, Unavailable
from chandlery.registry import error as errors
from chandlery.registry import host as hosts
from chandlery.registry import tls
from chandlery.registry.auth import UNKNOWN_SIZE, Request
from chandlery.registry.contacts import Contacts
from chandlery.registry.settings import RegistrySettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from urllib3 import BaseHTTPResponse, PoolManager

PIECE_BYTES = 512 * 1024
MAX_REDIRECTS = 10
MAX_RETRY_AFTER_S = 60.0
MAX_BACK_OFF_S = 8.0
MAX_ERROR_BYTES = 64 * 1024
MAX_DRAIN_BYTES = 64 * 1024
_POOL_SIZE = 32
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Response:
    """An answer whose body is still on the wire. Read it to its end or `close` it, or its connection can't be used again."""

    def __init__(self, raw: "BaseHTTPResponse", url: str, client: "HttpClient") -> None:
        self._raw = raw
        self._client = client
        self.url = url
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers

    def pieces(self, size: int = PIECE_BYTES) -> "Iterator[bytes]":
        """The body in pieces of at most `size`; raises Unavailable where the connection breaks or stalls before the promised length."""
        from urllib3.exceptions import HTTPError

        try:
            while True:
                self._client.check()
                piece = self._raw.read(size, decode_content=False)
                if not piece:
                    break
                yield piece
        except (HTTPError, OSError) as broken:
            raise errors.from_transport(broken, doing="download", host=host_of(self.url)) from broken
        finally:
            self.close()

    def read(self, limit: int) -> bytes:
        """The whole body; raises LyingRegistry (registry.too-large) beyond `limit` bytes."""
        parts: list[bytes] = []
        total = 0
        for piece in self.pieces():
            total += len(piece)
            if total > limit:
                raise LyingRegistry(f"{host_of(self.url)} sent more than {limit} bytes where a small document was due", code="registry.too-large")
            parts.append(piece)
        return b"".join(parts)

    def read_error(self) -> bytes:
        """The start of an error's body; never raises, as the status already says what happened."""
        try:
            return next(self.pieces(MAX_ERROR_BYTES), b"")
        except RegistryError:
            return b""
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back. A short rest of the body is read, a longer one costs the connection: reading it could take for ever."""
        rest = self._raw.length_remaining
        if rest is not None and rest <= MAX_DRAIN_BYTES:
            self._raw.drain_conn()
        else:
            self._raw.close()
        self._raw.release_conn()


class HttpClient:
    """`should_stop` is asked between pieces and tries, and makes every thread raise Cancelled; `sleep` and `clock` are time's."""

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        contacts: Contacts | None = None,
        should_stop: "Callable[[], bool]" = lambda: False,
        sleep: "Callable[[float], None]" = time.sleep,
        jitter: "Callable[[], float]" = lambda: os.urandom(1)[0] / 255,
    ) -> None:
        self.settings = settings
        self.contacts = contacts or Contacts()
        self._should_stop = should_stop
        self._is_stopped = False
        self._sleep = sleep
        self._jitter = jitter
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str], PoolManager] = {}

    def send(self, request: Request, *, doing: str, attempts: int = 0) -> Response:
        """Send until an answer comes that isn't worth a retry, following redirects; the last answer or error when tries run out.

        An answer of any status is returned, except a redirect that can't be followed. `attempts` 0 means the settings' number.
        """
        last = attempts or self.settings.attempts
        for attempt in range(1, last + 1):
            self.check()
            try:
                response = self._follow(request, doing=doing)
            except Unavailable:
                if attempt == last or self._is_given_up(host_of(request.url)):
                    raise
                self.back_off(attempt)
                continue
            if response.status not in errors.RETRYABLE_STATUSES or attempt == last:
                return response
            delay_s = self._retry_after_s(response.headers, attempt)
            if delay_s > MAX_RETRY_AFTER_S:
                return response
            response.read_error()
            self._wait(delay_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def check(self) -> None:
        """Raises Cancelled once `should_stop` says so, or `stop` was called."""
        if self._is_stopped or self._should_stop():
            raise Cancelled()

    def watch(self, should_stop: "Callable[[], bool]") -> None:
        """Ask this from now on: a client is made before the build that can be cancelled."""
        self._should_stop = should_stop

    def stop(self) -> None:
        """End every transfer of every thread at its next piece. There is no way back."""
        self._is_stopped = True

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            for key in pool.pools.keys():  # noqa: SIM118 (urllib3's container can't be iterated)
                pool.pools[key].close()  # clear() leaves that to the garbage collector, and an error may hold a response
            pool.clear()

    def may_be_plain(self, host: str) -> bool:
        """Whether a host may be spoken to without TLS."""
        return hosts.is_loopback(host) or hosts.is_insecure(host, self.settings.insecure)

    def _follow(self, request: Request, *, doing: str) -> Response:
        from urllib.parse import urljoin

        # what has a body is answered when that was taken, and a place that a registry redirects to can be slow: neither says that nobody is there
        is_limited = self.settings.first_answer_s > 0 and request.body is None
        for _ in range(MAX_REDIRECTS + 1):
            response = self._first(request, doing=doing) if is_limited else self._once(request, doing=doing)
            is_limited = False
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target:
                return response
            response.close()
            url = urljoin(request.url, target)
            self._check_redirect(request.url, url, doing)
            request = redirected(request, url, response.status)
        hint = "the registry's redirects lead in a circle: check its configuration and its proxies"
        raise RegistryError(f"{doing}: more than {MAX_REDIRECTS} redirects from {host_of(request.url)}", code="registry.redirect-loop", hint=hint)

    def _check_redirect(self, before: str, after: str, doing: str) -> None:
        scheme = after.partition(":")[0]
        if scheme == "https" or (scheme == "http" and (before.startswith("http:") or self.may_be_plain(host_of(after)))):
            return
        text = f"{doing}: {host_of(before)} redirects to {errors.redacted(after)[:200]}, which is not encrypted"
        raise RegistryError(text, code="registry.insecure-redirect", hint="name that host as insecure if this is intended")

    def _first(self, request: Request, *, doing: str) -> Response:
        """As `_once`, but a host that never answered is waited for no longer than all clients of these contacts want to."""
        host = host_of(request.url)
        left_s = self.contacts.left_s(host, self.settings.first_answer_s)
        if left_s is None:
            return self._once(request, doing=doing)
        if left_s <= 0:
            raise errors.silent(doing, host)
        try:
            return self._once(request, doing=doing, within_s=left_s)
        except RegistryError as broken:
            if broken.code != errors.TIMEOUT:
                self.contacts.refused(host)
            raise

    def _is_given_up(self, host: str) -> bool:
        return self.settings.first_answer_s > 0 and self.contacts.left_s(host, self.settings.first_answer_s) == 0.0

    def _once(self, request: Request, *, doing: str, within_s: float | None = None) -> Response:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        host = host_of(request.url)
        headers = {"Accept-Encoding": "identity", "User-Agent": "chandlery", **dict(request.headers)}
        body: Any = request.body() if callable(request.body) else request.body
        if request.body is not None and request.body_size != UNKNOWN_SIZE:
            headers["Content-Length"] = str(request.body_size)
        timeout = Timeout(total=within_s, connect=self.settings.connect_timeout_s, read=self.settings.read_timeout_s)
        try:
            raw = self._pool(request.url).urlopen(
                request.method, request.url, body=body, headers=headers, retries=False, redirect=False, preload_content=False, assert_same_host=False,
                timeout=timeout,
            )  # fmt: skip
        except (HTTPError, OSError) as broken:
            raise errors.from_transport(broken, doing=doing, host=host) from broken
        finally:
            if callable(request.body):
                body.close()
        self.contacts.heard(host)
        return Response(raw, request.url, self)

    def _pool(self, url: str) -> "PoolManager":
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0].rpartition("@")[2]
        proxy = hosts.proxy_for(scheme, host, self.settings.proxies)
        has_own_tls = scheme == "https" and (self.may_be_plain(host) or bool(tls.certs_directories(self.settings, host)))
        key = (proxy, host if has_own_tls else scheme)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._make_pool(proxy, host if has_own_tls else "", scheme)
            return self._pools[key]

    def _make_pool(self, proxy: str, tls_host: str, scheme: str) -> "PoolManager":
        import urllib3

        options: dict[str, Any] = {
            "num_pools": 64,
            "maxsize": _POOL_SIZE,
            "blocksize": PIECE_BYTES,
            "timeout": urllib3.Timeout(connect=self.settings.connect_timeout_s, read=self.settings.read_timeout_s),
        }
        if scheme == "https":
            options["ssl_context"] = self.contacts.context(self.settings, tls_host)
            if not options["ssl_context"].check_hostname:
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        if not proxy:
            return urllib3.PoolManager(**options)
        user_info = urllib3.util.parse_url(proxy).auth
        headers = urllib3.make_headers(proxy_basic_auth=user_info) if user_info else {}
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)

    def back_off(self, attempt: int, headers: "Mapping[str, str] | None" = None) -> None:
        """Wait before try `attempt` + 1, as long as an answer's Retry-After says, but never longer than MAX_RETRY_AFTER_S."""
        self._wait(min(self._retry_after_s(headers or {}, attempt), MAX_RETRY_AFTER_S))

    def _back_off_s(self, attempt: int) -> float:
        ceiling = min(self.settings.back_off_s * 2.0 ** (attempt - 1), MAX_BACK_OFF_S)
        return ceiling * (0.5 + self._jitter() / 2)

    def _retry_after_s(self, headers: "Mapping[str, str]", attempt: int) -> float:
        stated = headers.get("Retry-After", "").strip()
        if stated.isdigit():
            return max(float(stated), self._back_off_s(attempt))
        if stated:
            from email.utils import parsedate_to_datetime

            try:
                return max(parsedate_to_datetime(stated).timestamp() - time.time(), self._back_off_s(attempt))
            except ValueError:
                pass
        return self._back_off_s(attempt)

    def _wait(self, seconds: float) -> None:
        """Sleep in steps, so that a cancelled build doesn't wait for a registry that asked for a minute."""
        while seconds > 0:
            self.check()
            self._sleep(min(seconds, 0.25))
            seconds -= 0.25


def redirected(request: Request, url: str, status: int) -> Request:
    """The request that a redirect asks for: credentials stay with their host; 303 turns into GET (RFC 9110, 15.4.4)."""
    is_same_host = origin_of(url) == origin_of(request.url)
    kept = tuple(pair for pair in request.headers if is_same_host or pair[0].lower() not in ("authorization", "cookie"))
    if status == 303 and request.method not in ("GET", "HEAD"):
        return Request("GET", url, kept)
    return Request(request.method, url, kept, request.body, request.body_size)


def origin_of(url: str) -> str:
    """Scheme, host and port: the unit that credentials belong to."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0].rpartition('@')[2].lower()}"


def host_of(url: str) -> str:
    return origin_of(url).partition("://")[2]

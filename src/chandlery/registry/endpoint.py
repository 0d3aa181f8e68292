"""Where a registry's requests go: its own host, its mirrors, with or without TLS; and the URLs of the distribution spec.

Whether a host that may be plain really is plain is found out once, by asking /v2/: loopback hosts http first, unless certs.d knows them;
hosts named as insecure https first, as docker does. The other is asked as well where the first says nothing for a moment.
"""

import json
import re

from chandlery.errors import ChandleryError, LyingRegistry
from chandlery.oci.reference import DEFAULT_REGISTRY, Reference
from chandlery.registry import host as hosts
from chandlery.registry import tls
from chandlery.registry.auth import Request
from chandlery.registry.http import HttpClient, host_of, origin_of
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import queue

HEAD_START_S = 0.3
GRACE_S = 2.0


@value
class Endpoint:
    """`base` is a URL without a trailing slash, to which /v2/ is added; `registry` is the name that credentials are kept under."""

    base: str
    registry: str

    def url(self, reference: Reference, path: str) -> str:
        return f"{self.base}/v2/{reference.repository}/{path}"


class Endpoints:
    """Endpoints by registry name, each host's scheme found out once. Threads share it."""

    def __init__(self, client: HttpClient) -> None:
        self._http = client

    def of_registry(self, registry: str) -> Endpoint:
        host = hosts.HUB_HOST if registry == DEFAULT_REGISTRY else registry
        return Endpoint(f"{self._scheme(host)}://{host}", registry)

    def mirrors_of(self, registry: str) -> tuple[Endpoint, ...]:
        """The mirrors to ask first, as configured: URLs, or host names whose scheme follows the rules of registries."""
        found: list[Endpoint] = []
        for base in dict(self._http.settings.mirrors).get(registry, ()):
            url = base.rstrip("/")
            if "://" not in url:
                url = f"{self._scheme(url.partition('/')[0])}://{url}"
            found.append(Endpoint(url, host_of(url)))
        return tuple(found)

    def _scheme(self, host: str) -> str:
        if not self._http.may_be_plain(host):
            return "https"
        if hosts.is_plain(host, self._http.settings.insecure):
            return "http"
        is_plain_first = hosts.is_loopback(host) and not tls.certs_directories(self._http.settings, host)
        candidates = ("http", "https") if is_plain_first else ("https", "http")
        return self._http.contacts.scheme(host, lambda: self._find_scheme(host, candidates)) or candidates[0]

    def _find_scheme(self, host: str, candidates: tuple[str, ...]) -> str:
        """The first candidate that is answered rightly; "" where none is. One that says nothing doesn't hold up the next for long, but is preferred to it for
        GRACE_S: what is slow to encrypt isn't spoken to in plain http for that."""
        import queue
        import threading

        answers: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        waiting: list[str] = []
        right: list[str] = []
        for scheme in candidates:
            waiting.append(scheme)
            threading.Thread(target=self._ask, args=(scheme, host, answers), name=f"chandlery-contact-{scheme}", daemon=True).start()
            while waiting and not right:
                wait_s = None if scheme == candidates[-1] else HEAD_START_S
                if not _take(answers, waiting, right, wait_s):
                    break
        while right and waiting and candidates.index(waiting[0]) < candidates.index(right[0]) and _take(answers, waiting, right, GRACE_S):
            pass
        self._http.check()
        return min(right, key=candidates.index, default="")

    def _ask(self, scheme: str, host: str, answers: "queue.SimpleQueue[tuple[str, bool]]") -> None:
        is_right = False
        try:
            response = self._http.send(Request("GET", f"{scheme}://{host}/v2/"), doing=f"first contact with {host}", attempts=1)
            response.close()
            # A TLS server that is spoken to in plain http answers 400, if anything.
            is_right = not (scheme == "http" and response.status == 400)
        except ChandleryError:
            pass
        finally:
            answers.put((scheme, is_right))


def _take(answers: "queue.SimpleQueue[tuple[str, bool]]", waiting: list[str], right: list[str], wait_s: float | None) -> bool:
    """Wait for one more answer; whether one came."""
    import queue

    try:
        scheme, is_right = answers.get(timeout=wait_s)
    except queue.Empty:
        return False
    waiting.remove(scheme)
    if is_right:
        right.append(scheme)
    return True


def tag_names(raw: bytes, doing: str) -> tuple[str, ...]:
    """The names in a page of a tag list."""
    return _names(raw, "tags", doing)


def repository_names(raw: bytes, doing: str) -> tuple[str, ...]:
    """The names in a page of a registry's list of repositories."""
    return _names(raw, "repositories", doing)


def _names(raw: bytes, of: str, doing: str) -> tuple[str, ...]:
    try:
        names = json.loads(raw)[of] or ()
        return tuple(name for name in names if isinstance(name, str))
    except (ValueError, KeyError, TypeError) as broken:
        raise LyingRegistry(f"{doing}: the list can't be read", code=f"registry.bad-{of}") from broken


def next_page(link: str) -> str:
    """The target of a Link header with rel=next (RFC 8288), or ""."""
    found = re.search(r'<([^>]*)>\s*;[^,]*\brel="?next"?', link)
    return found[1] if found else ""


def relative_to(at: Endpoint, reference: Reference, link: str, page_url: str, doing: str) -> str:
    """A next page's path below the repository; raises LyingRegistry where the link leads elsewhere."""
    from urllib.parse import urljoin

    target = urljoin(page_url, link)
    repository = at.url(reference, "")
    if origin_of(target) != origin_of(repository) or "/tags/list" not in target:
        raise LyingRegistry(f"{doing}: the next page is said to be somewhere else", code="registry.bad-tags")
    return "tags/list" + target.partition("/tags/list")[2]

"""Where a registry's requests go: its own host, its mirrors, with or without TLS; and the URLs of the distribution spec.

Whether a host that may be plain really is plain is found out once, by asking /v2/: loopback hosts http first, unless certs.d knows them;
hosts named as insecure https first, as docker does.
"""

import json
import re

from chandlery.errors import LyingRegistry, RegistryError
from chandlery.oci.reference import DEFAULT_REGISTRY, Reference
from chandlery.registry import host as hosts
from chandlery.registry import tls
from chandlery.registry.auth import Request
from chandlery.registry.http import HttpClient, host_of, origin_of
from chandlery.values import value


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
        is_plain_first = hosts.is_loopback(host) and not tls.certs_directories(self._http.settings, host)
        candidates = ("http", "https") if is_plain_first else ("https", "http")
        return self._http.contacts.scheme(host, lambda: self._find_scheme(host, candidates)) or candidates[0]

    def _find_scheme(self, host: str, candidates: tuple[str, ...]) -> str:
        for scheme in candidates:
            try:
                response = self._http.send(Request("GET", f"{scheme}://{host}/v2/"), doing=f"first contact with {host}", attempts=1)
            except RegistryError:
                continue
            response.close()
            # A TLS server that is spoken to in plain http answers 400, if anything.
            if not (scheme == "http" and response.status == 400):
                return scheme
        return ""


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

"""Answering a registry's challenge, as a generator that does no I/O: it yields what to send and is sent what came back.

The flows are those of distribution's docs/spec/auth (token.md, oauth.md) and RFC 7617: send the request; a 401 names a scheme; Basic repeats
the request with the credentials, Bearer first gets a token from the realm that the challenge names: anonymously, with the credentials, or by
exchanging an identity (refresh) token. Tokens are kept per registry and scope until they expire.
"""

import json
import re
import threading

from chandlery.errors import AccessDenied, RegistryError
from chandlery.registry.credentials import Credentials
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import Any

CLIENT_ID = "chandlery"
MAX_TOKEN_BYTES = 1024 * 1024
_CHALLENGE = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)\s+(?=[A-Za-z0-9_-]+\s*=)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


UNKNOWN_SIZE = -1


@value
class Request:
    """One HTTP request. `body` is bytes, or a function that opens the body again for each try (`body_size` then says how long it is, or UNKNOWN_SIZE)."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: "bytes | Callable[[], Any] | None" = None
    body_size: int = 0

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url.partition('?')[0]})"

    def with_header(self, name: str, text: str) -> "Request":
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, text)))


@value
class Call:
    """A request that the flow wants sent; `wants_body` asks for the answer's body beside its status."""

    request: Request
    wants_body: bool = False


@value
class Answer:
    status: int
    headers: "Mapping[str, str]"
    body: bytes = b""


@value
class Challenge:
    scheme: str
    parameters: "dict[str, str]"


class TokenStore:
    """Authorization values that worked, per registry and scope; shared by threads. `clock` counts seconds."""

    def __init__(self, clock: "Callable[[], float]") -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}

    def get(self, registry: str, scope: str) -> str:
        with self._lock:
            for key in ((registry, scope), (registry, "")):
                header, expires = self._tokens.get(key, ("", 0.0))
                if header and self._clock() < expires:
                    return header
        return ""

    def put(self, registry: str, scope: str, header: str, *, lifetime_s: float) -> None:
        with self._lock:
            self._tokens[registry, scope] = (header, self._clock() + lifetime_s)

    def forget(self, registry: str, scope: str, header: str) -> None:
        with self._lock:
            for key in ((registry, scope), (registry, "")):
                if self._tokens.get(key, ("", 0.0))[0] == header:
                    del self._tokens[key]


def flow(
    request: Request, *, registry: str, scopes: "Sequence[str]", credentials: "Callable[[], Credentials]", tokens: TokenStore
) -> "Generator[Call, Answer, None]":
    """Send `request` with whatever authorisation it takes; the last answer sent in is the result (a 401 means: refused).

    `scopes` are what the request needs ("repository:a/b:pull,push"), the own repository's first; `credentials` is asked at most once.
    """
    key = " ".join(sorted(scopes))
    known = tokens.get(registry, key)
    answer = yield Call(request.with_header("Authorization", known) if known else request)
    if answer.status != 401:
        return
    if known:
        tokens.forget(registry, key, known)
    challenge = choose(parse_challenges(answer.headers.get("WWW-Authenticate", "")))
    if challenge is None:
        return
    held = credentials()
    if challenge.scheme == "basic":
        if held.is_anonymous or held.basic == known:
            return
        header, lifetime_s, key = held.basic, 1e9, ""
    else:
        header, lifetime_s = yield from _token(challenge, request.url, registry, scopes, held)
    answer = yield Call(request.with_header("Authorization", header))
    if answer.status != 401:
        tokens.put(registry, key, header, lifetime_s=lifetime_s)


def _token(challenge: Challenge, asked_url: str, registry: str, scopes: "Sequence[str]", held: Credentials) -> "Generator[Call, Answer, tuple[str, float]]":
    from urllib.parse import urlencode, urlsplit

    realm = challenge.parameters.get("realm", "")
    scheme = urlsplit(realm).scheme
    if scheme not in ("http", "https") or (scheme == "http" and asked_url.startswith("https:")):
        raise RegistryError(f"{registry} names {realm[:100]!r} as the place for tokens, which is not safe", code="registry.bad-challenge")
    service = challenge.parameters.get("service", "")
    wanted = list(dict.fromkeys([*scopes, *(challenge.parameters.get("scope", "").split() if not scopes else ())]))
    if held.identity_token:
        form = {"grant_type": "refresh_token", "refresh_token": held.identity_token, "service": service, "client_id": CLIENT_ID}
        body = urlencode({**form, "scope": " ".join(wanted)}).encode()
        call = Call(Request("POST", realm, (("Content-Type", "application/x-www-form-urlencoded"),), body, len(body)), wants_body=True)
    else:
        query = [("service", service)] * bool(service) + [("scope", scope) for scope in wanted]
        request = Request("GET", realm + ("&" if "?" in realm else "?") + urlencode(query))
        if not held.is_anonymous:
            request = request.with_header("Authorization", held.basic)
        call = Call(request, wants_body=True)
    answer = yield call
    return _read_token(answer, registry, held)


def _read_token(answer: Answer, registry: str, held: Credentials) -> tuple[str, float]:
    from chandlery.registry.error import from_response

    if answer.status in (400, 401, 403):
        text = f"{registry} refuses a token" + (f" for the user {held.username!r}" if held.username else "")
        hint = f"log in with `docker login {registry}`"
        raise AccessDenied(text, hint=f"{held.problem}; {hint}" if held.problem else hint)
    if answer.status != 200:
        raise from_response(answer.status, answer.body, doing="a token", registry=registry)
    try:
        document = json.loads(answer.body)
        token = document.get("token") or document.get("access_token")
        lifetime_s = float(document.get("expires_in") or 60)
    except (ValueError, AttributeError, TypeError):
        token, lifetime_s = None, 0.0
    if not isinstance(token, str) or not token or not token.isprintable():
        raise RegistryError(f"{registry} sent no usable token", code="registry.bad-token", hint="its token server answers, but without a token")
    return "Bearer " + token, max(lifetime_s - 10.0, 5.0)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a WWW-Authenticate header (RFC 9110, 11.6.1), several headers joined by commas included; scheme names in lower case."""
    found: list[Challenge] = []
    at = 0
    while at < len(header):
        start = _CHALLENGE.match(header, at)
        if start is None:
            break
        at = start.end()
        parameters: dict[str, str] = {}
        while (parameter := _PARAMETER.match(header, at)) is not None:
            quoted = parameter[2]
            parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else parameter[3]
            at = parameter.end()
        found.append(Challenge(start[1].lower(), parameters))
    return tuple(found)


def choose(challenges: tuple[Challenge, ...]) -> Challenge | None:
    """Bearer before Basic, as a token tells less; None where neither is offered."""
    by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
    return by_scheme.get("bearer") or by_scheme.get("basic")

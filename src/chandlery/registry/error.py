"""What a registry or the network did wrong -> the classes of errors.py. The only place that decides what may be tried again.

Registries explain themselves as {"errors": [{"code", "message", "detail"}]} (OCI distribution spec, "Error Codes"); what they say is quoted,
shortened, and URLs lose their query and user info first: both carry tokens.
"""

import json
import re

from chandlery.errors import AccessDenied, LyingRegistry, NotFound, RegistryError, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT = "registry.timeout"
RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_SECRETS = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]+|://[^/@\s]+@|\?[^\s\"']*")


def redacted(text: str) -> str:
    """A text for people: authorisation values, user info and queries of URLs are cut out."""
    return _SECRETS.sub(lambda found: "://" if found[0].startswith("://") else "?..." if found[0].startswith("?") else f"{found[1]} ***", text)


def from_response(status: int, body: bytes, *, doing: str, registry: str, problem: str = "") -> RegistryError:
    """The error for an answer that isn't what was hoped for. `doing` says what was asked ("push of x/y:1"), `problem` what was wrong with the credentials."""
    code, said = _explanation(body)
    sentence = f"{doing}: {registry} answered {status}" + (f" ({said})" if said else "")
    if status == 401 or (status == 403 and "TOOMANYREQUESTS" not in code):
        hint = f"log in with `docker login {registry}`, or check that this account may do it"
        return AccessDenied(sentence, hint=f"{problem}; {hint}" if problem else hint)
    if status == 404:
        return NotFound(sentence, hint="check the name and the tag; a private repository may look absent without credentials")
    if status == 429 or "TOOMANYREQUESTS" in code:
        return Unavailable(sentence, code="registry.rate-limited", hint="the registry limits requests: wait, log in, or use a mirror")
    if status >= 500 or status in RETRYABLE_STATUSES:
        return Unavailable(sentence, hint="the registry has a problem; the same command may pass later")
    if "immutable" in said.lower():
        return RegistryError(sentence, code="registry.tag-immutable", hint="push under another tag, or allow tags to be overwritten")
    if "DIGEST_INVALID" in code:
        return LyingRegistry(sentence, code="registry.wrong-digest", hint="the bytes were changed on their way, or on this disk")
    return RegistryError(sentence, code="registry.refused", hint="the registry doesn't accept this request")


def from_transport(broken: Exception, *, doing: str, host: str) -> RegistryError:
    """The error for a connection that failed: `broken` is urllib3's exception or an OSError."""
    import ssl

    from urllib3 import exceptions

    reason = _root(broken)
    if isinstance(reason, ssl.SSLCertVerificationError):
        hint = f"put the registry's certificate authority into /etc/docker/certs.d/{host}/ca.crt, or name the registry as insecure"
        return RegistryError(f"{doing}: the certificate of {host} is not trusted ({reason.verify_message})", code="registry.untrusted", hint=hint)
    if isinstance(reason, ssl.SSLError):
        hint = "a registry without TLS must be named with --insecure-registry; one that asks for a client certificate needs certs.d"
        return Unavailable(f"{doing}: no TLS connection to {host} ({reason.reason or 'closed'})", code="registry.tls", hint=hint)
    if isinstance(broken, exceptions.ProxyError):
        return Unavailable(f"{doing}: the proxy for {host} can't be used", code="registry.proxy", hint="check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
    if isinstance(broken, (exceptions.TimeoutError, TimeoutError)) and not isinstance(broken, exceptions.NewConnectionError):
        return silent(doing, host)
    if isinstance(broken, (exceptions.NewConnectionError, exceptions.NameResolutionError)):
        return Unavailable(f"{doing}: {host} can't be reached ({_text(reason)})", hint="check the name, the network and the proxy settings")
    return Unavailable(f"{doing}: the connection to {host} broke ({_text(reason)})", hint="the same command may pass later")


def silent(doing: str, host: str) -> Unavailable:
    return Unavailable(f"{doing}: {host} did not answer in time", code=TIMEOUT, hint="the same command may pass later")


def wrong_digest(what: str, *, promised: str, got: str) -> LyingRegistry:
    return LyingRegistry(
        f"{what}: the registry sent other bytes than promised ({got} instead of {promised})",
        code="registry.wrong-digest",
        hint="something between here and the registry changes data, or its storage is damaged",
    )


def _explanation(body: bytes) -> tuple[str, str]:
    try:
        errors: Any = json.loads(body)["errors"]
        codes = " ".join(str(error.get("code", "")) for error in errors)
        said = "; ".join(f"{error.get('code', '')}: {error.get('message', '')} {_detail(error.get('detail'))}".strip(" :") for error in errors)
        return codes.upper(), redacted(said)[:500]
    except Exception:
        return "", redacted(body[:200].decode("utf-8", "replace").strip()) if body and not body.lstrip().startswith(b"<") else ""


def _detail(detail: object) -> str:
    return detail[:200] if isinstance(detail, str) else ""


def _root(broken: BaseException) -> BaseException:
    seen = {id(broken)}
    while True:
        inner = getattr(broken, "reason", None) or getattr(broken, "original_error", None)
        inner = inner if isinstance(inner, BaseException) else broken.__cause__ or broken.__context__
        inner = inner if isinstance(inner, BaseException) else next((arg for arg in broken.args if isinstance(arg, BaseException)), None)
        if inner is None or id(inner) in seen:
            return broken
        seen.add(id(inner))
        broken = inner


def _text(reason: BaseException) -> str:
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return redacted(str(reason))[:120] or type(reason).__name__

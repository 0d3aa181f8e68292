"""`RemoteAddress`: where a shared cache is, as users write it: registry://host/repository[/{scope}][,mode=ro|rw] or file:///directory[,mode=ro|rw]."""

from chandlery.errors import RequestError
from chandlery.oci.digest import sha256
from chandlery.oci.reference import Reference
from chandlery.oci.reference import parse as parse_reference
from chandlery.values import value

_HINT = "write registry://HOST/REPOSITORY[/{scope}][,mode=ro|rw] or file:///DIRECTORY[,mode=ro|rw]"
_PLACE = "{scope}"


@value
class RemoteAddress:
    """`location` is a directory, or "host/repository" where `{scope}` may stand for each scope's own part."""

    text: str
    location: str
    is_directory: bool
    is_writable: bool = True

    @property
    def has_scope_in_it(self) -> bool:
        """Whether each scope has a repository of its own."""
        return _PLACE in self.location

    def has_repository(self, name: str) -> bool:
        """Whether a repository of the registry belongs to the cache: a scope's, or one beside it."""
        if self.has_scope_in_it:
            return name.startswith(self.location.partition("/")[2].partition(_PLACE)[0])
        own = self.reference("x").repository
        return name == own or name.startswith(own + "/")

    def reference(self, scope: str) -> Reference:
        """The repository of a scope."""
        return parse_reference(self.location.replace(_PLACE, repository_part(scope)))


def parse(text: str) -> RemoteAddress:
    """Raises RequestError (request.bad-cache-remote)."""
    url, *options = text.split(",")
    mode = "rw"
    for option in options:
        name, _, given = option.partition("=")
        if name != "mode" or given not in ("ro", "rw"):
            raise RequestError(f"--cache-remote {text!r}: {option!r} is not understood", code="request.bad-cache-remote", hint=_HINT)
        mode = given
    scheme, separator, location = url.partition("://")
    if not separator or scheme not in ("registry", "file") or not location or (scheme == "file" and not location.startswith("/")):
        raise RequestError(f"--cache-remote {text!r} is not an address of a cache", code="request.bad-cache-remote", hint=_HINT)
    address = RemoteAddress(url, location.rstrip("/"), scheme == "file", mode == "rw")
    if not address.is_directory:
        try:
            named = address.reference("example")
        except RequestError as malformed:
            raise RequestError(f"--cache-remote {text!r}: {malformed.message}", code="request.bad-cache-remote", hint=_HINT) from malformed
        if named.tag != "latest" or named.digest is not None:
            raise RequestError(f"--cache-remote {text!r} names a tag: entries have tags of their own", code="request.bad-cache-remote", hint=_HINT)
    return address


def repository_part(scope: str) -> str:
    """A scope as a part of a repository's name (distribution spec: lower case, few signs). Where that loses something, a hash of the scope tells it apart."""
    project, _, branch = scope.partition("@")
    parts = [_component(part) for part in project.split("/") if part]
    if branch:
        parts.append(_component(f"b-{branch}"))
    made = "/".join(part for part in parts if part) or "scope"
    made = made[:120].rstrip("-/")
    is_exact = made == f"{project}/b-{branch}"
    return made if is_exact else f"{made}-{sha256(scope.encode('utf-8', 'surrogateescape')).hex[:10]}"


def _component(text: str) -> str:
    kept = "".join(sign if sign.isascii() and sign.isalnum() else "." if sign == "." else "-" for sign in text.lower())
    while ".." in kept:
        kept = kept.replace("..", ".")
    return kept.replace(".-", "-").replace("-.", "-").strip("-.")

"""`Reference`: the name of an image, as docker writes it, and the registry, repository, tag and digest that it means.

The grammar and the defaults ("debian" is "docker.io/library/debian:latest") are those of distribution/reference.
"""

import re

from chandlery.errors import RequestError
from chandlery.oci.digest import Digest
from chandlery.values import value

_HOST = r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:(?P<host>{_HOST})/)?(?P<path>{_PATH}(?:/{_PATH})*))(?::(?P<tag>[\w][\w.-]{{0,127}}))?(?:@(?P<digest>[a-z0-9]+:[0-9a-f]+))?",
    re.ASCII,
)
DEFAULT_REGISTRY = "docker.io"


@value
class Reference:
    """`registry` is "docker.io" or "host[:port]"; `tag` is "" where only a digest was given; `str()` is the full form."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The short form that people type: without docker.io/ and library/."""
        full = str(self)
        return full.removeprefix("docker.io/").removeprefix("library/") if self.registry == DEFAULT_REGISTRY else full


def parse(text: str) -> Reference:
    """A reference from what a user wrote, defaults applied; raises RequestError (code reference.malformed)."""
    found = _REFERENCE.fullmatch(text)
    if found is None or len(text) > 4096:
        hint = "repository names are lower case" if _REFERENCE.fullmatch(text.lower()) else "write [registry/]repository[:tag][@digest]"
        raise RequestError(f"{text!r} is not an image reference", code="reference.malformed", hint=hint)
    host, path = found["host"], found["path"]
    if host is None or not (("." in host) or (":" in host) or host == "localhost" or host.lower() != host):
        host, path = DEFAULT_REGISTRY, found["name"]
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = DEFAULT_REGISTRY
    if host == DEFAULT_REGISTRY and "/" not in path:
        path = "library/" + path
    digest = Digest(found["digest"]) if found["digest"] else None
    return Reference(host, path, found["tag"] or ("" if digest else "latest"), digest)

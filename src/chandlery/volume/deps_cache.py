"""`DepsCache`: one `--deps-cache`, as users write it: tar:DIRECTORY or dir:DIRECTORY, with [,target=/root/.m2].

It stands where a step has no cache mount: the older way of keeping dependencies, on a share, for Dockerfiles that nobody wants to change.
"""

import os
from enum import StrEnum

from chandlery.errors import RequestError
from chandlery.values import value

DEFAULT_TARGET = "/root/.m2"
_HINT = "write tar:DIRECTORY or dir:DIRECTORY, with [,target=/root/.m2]"


class DepsKind(StrEnum):
    """A tar that is unpacked before a step and written after it, or the directory itself."""

    TAR = "tar"
    DIRECTORY = "dir"


@value
class DepsCache:
    """`directory` is on the share, absolute; `target` is where steps find what is kept there."""

    kind: DepsKind
    directory: str
    target: str = DEFAULT_TARGET

    def __str__(self) -> str:
        return f"{self.kind}:{self.directory},target={self.target}"


def parse(text: str) -> DepsCache:
    """A relative directory counts from the working directory. Raises RequestError (request.bad-deps-cache)."""
    kind, colon, rest = text.partition(":")
    directory, *options = rest.split(",")
    if not colon or kind not in tuple(DepsKind) or not directory:
        raise RequestError(f"--deps-cache {text!r} is not understood", code="request.bad-deps-cache", hint=_HINT)
    target = DEFAULT_TARGET
    for option in options:
        name, _, target = option.partition("=")
        if name != "target":
            raise RequestError(f"--deps-cache {text!r}: {option!r} is not understood", code="request.bad-deps-cache", hint=_HINT)
    clean = os.path.normpath(target)
    if not target.startswith("/") or clean.strip("/") == "" or ".." in target.split("/"):
        hint = "the target is a directory of the step, as an absolute path: target=/root/.m2"
        raise RequestError(f"--deps-cache {text!r}: {target!r} can't be a target", code="request.bad-deps-cache", hint=hint)
    return DepsCache(DepsKind(kind), os.path.abspath(directory), "/" + clean.lstrip("/"))


def parse_all(texts: "tuple[str, ...]") -> tuple[DepsCache, ...]:
    """Raises RequestError (request.bad-deps-cache), also where two would be in each other's way."""
    caches = tuple([parse(text) for text in texts])
    for at, cache in enumerate(caches):
        for other in caches[:at]:
            if contains(cache.target, other.target) or contains(other.target, cache.target):
                message = f"--deps-cache is given for {other.target} and for {cache.target}"
                raise RequestError(message, code="request.bad-deps-cache", hint="give each directory of a step one --deps-cache")
    return caches


def contains(directory: str, path: str) -> bool:
    """Whether a path is a directory or lies in it; both are absolute."""
    return f"{path.rstrip('/')}/".startswith(f"{directory.rstrip('/')}/")

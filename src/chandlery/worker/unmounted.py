"""What a step downloaded into a tool's cache that lies in its layer, where a cache mount would have kept it. Some look-ups, unless there is such a cache."""

import os
import re

from chandlery.values import value
from chandlery.volume import nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chandlery.graph.op import ExecOp

# in a home directory: what is mounted, and what in it tells that a tool downloaded something
_IN_HOME = (
    (".m2", "repository"),
    (".gradle", "caches"),
    (".npm", "_cacache"),
    (".cache/pip", ""),
    (".cache/uv", ""),
    (".cache/pypoetry", ""),
    (".cache/yarn", ""),
    (".yarn/berry/cache", ""),
    (".local/share/pnpm/store", ""),
    ("go/pkg/mod", "cache"),
    (".cargo/registry", ""),
)
_ANYWHERE = (("/usr/local/cargo/registry", ""), ("/go/pkg/mod", "cache"), ("/usr/local/share/.cache/yarn", ""), ("/var/cache/apt/archives", ""))
_NAMED_BY = {
    "GRADLE_USER_HOME": "",
    "npm_config_cache": "",
    "NPM_CONFIG_CACHE": "",
    "YARN_CACHE_FOLDER": "",
    "PIP_CACHE_DIR": "",
    "UV_CACHE_DIR": "",
    "GOMODCACHE": "",
    "GOPATH": "/pkg/mod",
    "CARGO_HOME": "/registry",
}
_MAVEN = re.compile(r"-Dmaven\.repo\.local=([^\s\"']+)")
# less is no reason to change a Dockerfile
_LEAST_BYTES = 64 << 10


@value
class Unmounted:
    target: str
    size_bytes: int

    @property
    def hint(self) -> str:
        size = f"{self.size_bytes / 1e6:.1f} MB"
        return f"{size} that this step downloaded into {self.target} are in its layer; --mount=type=cache,target={self.target} keeps them for other builds"


def in_upper(upper: str, op: "ExecOp") -> "Iterator[Unmounted]":
    """The caches that a step filled in its own layer, the directory `upper`."""
    told: list[str] = []
    for target, mark in _places(upper, op):
        target = os.path.normpath(target)
        if not target.startswith("/") or any(target == other or target.startswith(f"{other}/") for other in told):
            continue
        # a step may have made a link of any part of it
        directory = nodes.lookup((upper,), target[1:])
        if not directory or not os.path.isdir(f"{directory}/{mark}"):
            continue
        size_bytes = _size(directory)
        if size_bytes >= _LEAST_BYTES:
            told.append(target)
            yield Unmounted(target, size_bytes)


def _places(upper: str, op: "ExecOp") -> "Iterator[tuple[str, str]]":
    for name, text in _settings(op.env):
        if name in _NAMED_BY and text.startswith("/"):
            yield text.rstrip("/") + _NAMED_BY[name], ""
        elif found := _MAVEN.search(text):
            yield found.group(1), ""
    for word in op.argv:
        if (found := _MAVEN.search(word)) and found.group(1).startswith("/"):
            yield found.group(1), ""
    yield from _ANYWHERE
    homes = ["/root", *(f"/home/{name}" for name in nodes.names_in((upper,), "home"))]
    for home in homes:
        if nodes.lookup((upper,), home[1:]):
            yield from ((f"{home}/{place}", mark) for place, mark in _IN_HOME)


def _settings(env: "Sequence[str]") -> "Iterator[tuple[str, str]]":
    for setting in env:
        name, _, text = setting.partition("=")
        yield name, text


def _size(directory: str) -> int:
    """The bytes of the files below; links are not followed."""
    total = 0
    for above, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(f"{above}/{name}").st_size
            except OSError:
                continue
    return total

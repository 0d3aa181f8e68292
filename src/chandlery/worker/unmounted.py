"""What a step downloaded into a tool's cache that lies in its layer, where a cache mount would have kept it. Some look-ups, unless there is such a cache."""

import os
import re

from chandlery.values import value
from chandlery.volume import nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.graph.op import ExecOp

# in a home directory: what is mounted, and what in it tells that a tool downloaded something
_IN_HOME = (
    (".m2", "repository"),
    (".m2", "wrapper/dists"),
    (".gradle", "caches"),
    (".gradle", "wrapper/dists"),
    (".npm", "_cacache"),
    (".cache/pip", ""),
    (".cache/uv", ""),
    (".cache/pypoetry", ""),
    (".cache/yarn", ""),
    (".yarn/berry", "cache"),
    (".local/share/pnpm/store", ""),
    ("go/pkg/mod", "cache"),
    (".cargo/registry", ""),
)
_ANYWHERE = (
    ("/usr/local/cargo/registry", ""),
    ("/go/pkg/mod", "cache"),
    ("/usr/local/share/.cache/yarn", ""),
    ("/.pnpm-store", ""),
    ("/var/cache/apt", "archives"),
    ("/var/lib/apt", "lists"),
)
# a variable, or a word of a command; what of the directory that it names is mounted
_NAMED_BY = {
    "MAVEN_USER_HOME": "",
    "GRADLE_USER_HOME": "",
    "npm_config_cache": "",
    "NPM_CONFIG_CACHE": "",
    "npm_config_store_dir": "",
    "NPM_CONFIG_STORE_DIR": "",
    "YARN_CACHE_FOLDER": "",
    "YARN_GLOBAL_FOLDER": "",
    "PIP_CACHE_DIR": "",
    "UV_CACHE_DIR": "",
    "POETRY_CACHE_DIR": "",
    "GOMODCACHE": "",
    "GOPATH": "/pkg/mod",
    "CARGO_HOME": "/registry",
    "-Dmaven.repo.local": "",
    "--gradle-user-home": "",
    "--cache": "",
    "--cache-dir": "",
    "--cache-folder": "",
    "--store-dir": "",
}
_TOLD = re.compile(rf"(?:^|[\s\"'=;&|])({'|'.join(map(re.escape, _NAMED_BY))})[=\s][\"']?(/[^\s\"';&|:]+)")
# what is in the directories that these name
_SHARED_BY_TOOLS = {"XDG_CACHE_HOME": ("pip", "uv", "pypoetry", "yarn"), "XDG_DATA_HOME": ("pnpm/store",), "PNPM_HOME": ("store",)}
_MAVEN_CONFIG = ".mvn/maven.config"
# less is no reason to change a Dockerfile
_LEAST_BYTES = 64 << 10
_LONGEST_CONFIG = 64 << 10


@value
class Unmounted:
    target: str
    size_bytes: int

    @property
    def hint(self) -> str:
        size = f"{self.size_bytes / 1e6:.1f} MB"
        return f"{size} that this step downloaded into {self.target} are in its layer; --mount=type=cache,target={self.target} keeps them for other builds"


def in_upper(upper: str, op: "ExecOp", lowers: tuple[str, ...] = ()) -> "Iterator[Unmounted]":
    """The caches that a step filled in its own layer, the directory `upper`; `lowers` (bottom first) are what it found."""
    told: list[str] = []
    for target, mark in _places(upper, op, lowers):
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


def _places(upper: str, op: "ExecOp", lowers: tuple[str, ...]) -> "Iterator[tuple[str, str]]":
    """Where caches may be, and the directory in each that tells that something was downloaded."""
    env = dict(setting.partition("=")[::2] for setting in op.env)
    for text in (*op.env, *op.argv, " ".join(op.argv), _maven_config((*lowers, upper), op.cwd)):
        for found in _TOLD.finditer(text):
            yield found[2].rstrip("/") + _NAMED_BY[found[1]], ""
    for name, caches in _SHARED_BY_TOOLS.items():
        yield from ((f"{env[name]}/{cache}", "") for cache in caches if env.get(name, "").startswith("/"))
    yield from _ANYWHERE
    homes = dict.fromkeys(["/root", *(f"/home/{name}" for name in nodes.names_in((upper,), "home")), env.get("HOME", "/root").rstrip("/")])
    for home in homes:
        if home.startswith("/") and nodes.lookup((upper,), home[1:]):
            yield from ((f"{home}/{place}", mark) for place, mark in _IN_HOME)


def _maven_config(layers: tuple[str, ...], directory: str) -> str:
    """What a project in `directory` tells Maven, whoever put it there."""
    place = nodes.lookup(layers, os.path.normpath(f"{directory}/{_MAVEN_CONFIG}").lstrip("/"))
    try:
        with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return file.read(_LONGEST_CONFIG).decode(errors="replace")
    except OSError:
        return ""


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

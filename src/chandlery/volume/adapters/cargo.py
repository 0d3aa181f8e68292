"""Cargo's home: registry/cache/*.crate, registry/src/<index>/<crate>/, registry/index, git/db, git/checkouts, bin."""

import hashlib
import re

from chandlery.volume.adapters.adapter import MutableName, Plain, after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.adapters.adapter import Files, Read

# the sparse index's cache (cargo's SummariesCache): its version, the index's, "<where it came from>\0", then "<version>\0<JSON>\0" for each
_CACHE_VERSION = 3
_HEADER_BYTES = 5
# cargo's own word for an index without a validator: it asks the registry again, but works with what it has when offline
_UNKNOWN = b"Unknown"
_INSTALLED = (".crates.toml", ".crates2.json")
_LOCAL_CRATE = re.compile(r'"[^"]*\(path\+file:[^"]*\)"\s*=\s*\[([^\]]*)\]')
_BETWEEN_PARTS = re.compile(r"-(?=\d+\.\d+\.\d+)")


class Cargo(Plain):
    name = "cargo"
    observes = r"(?:^|/)git/db/[^/]+/(?:FETCH_HEAD$|refs/remotes/)"
    traces: tuple[str, ...] = ("git/db/",)

    def observed(self, path: str, read: "Read") -> MutableName | None:
        """A git dependency. The registry's index is not counted: Cargo.lock names what is taken from it."""
        parts = path.split("/")
        return MutableName("git-ref", parts[parts.index("db") + 1].rpartition("-")[0])

    def is_never_stored(self, path: str) -> bool:
        """Locks, and when this machine last used what."""
        name = path.rpartition("/")[2]
        return name.startswith((".package-cache", ".global-cache")) and path.count("/") <= 2

    def unit_of(self, path: str) -> str:
        parts = path.split("/")
        for names, length in ((("registry", "src"), 2), (("git", "db"), 1), (("git", "checkouts"), 2)):
            depth = after(parts, *names)
            if 0 < depth < len(parts) - length:
                return "/".join(parts[: depth + length])
        return ""

    def is_complete(self, unit: str, files: "Files") -> bool:
        """.cargo-ok is written last, and trusted (rust-lang/cargo#9691). A fetch into a repository that was killed leaves its pack half done."""
        if after([*unit.split("/"), ""], "git", "db") > 0:
            return files.has(f"{unit}/HEAD") and not any("/tmp_pack_" in path or path.endswith(".lock") for path in files.below(unit))
        return bool(files.read(f"{unit}/.cargo-ok"))

    def is_index(self, path: str) -> bool:
        return "/.cache/" in path and after(path.split("/"), "registry", "index") > 0

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        if not self.is_index(path):
            return None
        mine, other = _parsed(ours), _parsed(theirs)
        if mine is None or other is None or mine[0] != other[0]:
            return None
        versions = {version: max(mine[2].get(version, b""), other[2].get(version, b"")) for version in mine[2].keys() | other[2].keys()}
        # a validator stays good for a side that has all there is
        sources = [source for _, source, known in (mine, other) if known == versions and source != _UNKNOWN]
        listed = b"".join([version + b"\0" + versions[version] + b"\0" for version in sorted(versions)])
        return mine[0] + max(sources, default=_UNKNOWN) + b"\0" + listed

    def private(self, paths: "Iterable[str]", files: "Files") -> "Iterable[str]":
        """What `cargo install --path` put into bin."""
        local: dict[str, frozenset[str]] = {}
        for path in paths:
            directory, _, name = path.rpartition("/")
            home = directory.rpartition("/")[0] if directory.rpartition("/")[2] == "bin" else directory
            if home == directory and name not in _INSTALLED:
                continue
            if home not in local:
                text = files.read(f"{home}/.crates.toml".lstrip("/")).decode(errors="replace")
                local[home] = frozenset(program.strip().strip('"') for found in _LOCAL_CRATE.findall(text) for program in found.split(","))
            if local[home] and (name in local[home] or name in _INSTALLED):
                yield path

    def may_share(self, path: str, files: "Files") -> bool:
        """A .crate's checksum stands in the index. An index file is whole if it can be read to its end."""
        parts = path.split("/")
        if self.is_index(path):
            return _parsed(files.read(path)) is not None
        depth = after(parts, "registry", "cache")
        if depth < 0 or not path.endswith(".crate") or len(parts) != depth + 2:
            return False
        crate = _BETWEEN_PARTS.split(parts[-1].removesuffix(".crate"))[0]
        index = "/".join([*parts[: depth - 1], "index", parts[depth], ".cache", *_index_directories(crate.lower()), crate.lower()])
        return hashlib.sha256(files.read(path)).hexdigest().encode() in files.read(index)


def _parsed(data: bytes) -> tuple[bytes, bytes, dict[bytes, bytes]] | None:
    """The header, where it came from, and the versions; None for a format that isn't known."""
    if len(data) < _HEADER_BYTES or data[0] != _CACHE_VERSION or not data.endswith(b"\0"):
        return None
    source, *rest = data[_HEADER_BYTES:-1].split(b"\0")
    if len(rest) % 2:
        return None
    return data[:_HEADER_BYTES], source, dict(zip(rest[::2], rest[1::2], strict=True))


def _index_directories(crate: str) -> list[str]:
    """https://doc.rust-lang.org/cargo/reference/registry-index.html#index-files"""
    if len(crate) <= 2:
        return [str(len(crate))]
    return ["3", crate[0]] if len(crate) == 3 else [crate[:2], crate[2:4]]

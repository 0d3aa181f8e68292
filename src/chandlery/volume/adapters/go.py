"""Go's module cache: cache/download/<module>/@v/<version>.*, and modules unpacked into <module>@<version>/; and GOPATH around it."""

import base64
import hashlib
import re

from chandlery.volume.adapters.adapter import MutableName, Plain, after, union_of_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.adapters.adapter import Files, Read

_MAIN_MODULE = re.compile(rb"\nmod\t[^\t\n]+\t[^\t\n]+(\th1:[^\n]+)?\n")


class Go(Plain):
    name = "go"
    observes = r"(?:^|/)cache/download/.+/@v/list$|(?:^|/)cache/vcs/[^/]+/FETCH_HEAD$"
    traces: tuple[str, ...] = ("/@v/list", "cache/vcs/")

    def observed(self, path: str, read: "Read") -> MutableName | None:
        """A module's list of versions, or a repository that was fetched from; what go.mod names by version is neither."""
        if path.endswith("/@v/list"):
            module = path.rpartition("cache/download/")[2].removesuffix("/@v/list")
            return MutableName("go-versions", re.sub("!([a-z])", lambda match: match[1].upper(), module))
        directory = path.rpartition("/")[0]
        source = read(f"{directory}.info").decode(errors="replace").strip().partition(":")[2]
        return MutableName("git-ref", source or directory.rpartition("/")[2])

    def is_never_stored(self, path: str) -> bool:
        if self.unit_of(path):
            return False
        if path == "cache/lock" or path.endswith("/cache/lock"):
            return True
        return "cache/download/" in path and "/@v/" in path and path.endswith((".lock", ".partial", ".tmp"))

    def unit_of(self, path: str) -> str:
        """An unpacked module is neither verified nor recovered (golang/go#27952)."""
        parts = path.split("/")
        depth = after(parts, "cache", "vcs")
        if depth > 0:
            return "/".join(parts[: depth + 1]) if len(parts) > depth + 1 else ""
        if "/download/" in f"/{path}":
            return ""
        for depth, part in enumerate(parts[:-1]):
            if "@v" in part and not part.startswith("@"):
                return "/".join(parts[: depth + 1])
        return ""

    def is_broken(self, unit: str, files: "Files") -> bool:
        """go writes <version>.partial before it unpacks a module, and takes it away afterwards."""
        download = _download_of(unit, files)
        return bool(download) and files.has(f"{download}.partial")

    def is_complete(self, unit: str, files: "Files") -> bool:
        """The hash of the unpacked module is that of its archive (what `go mod verify` asks; golang.org/x/mod/sumdb/dirhash, Hash1)."""
        expected = files.read(f"{_download_of(unit, files)}.ziphash").strip()
        if not expected.startswith(b"h1:"):
            return False
        name = _module_of(unit, files)
        hasher = hashlib.sha256()
        for path in sorted(files.below(unit), key=lambda path: name + path.removeprefix(unit)):
            hasher.update(f"{hashlib.sha256(files.read(path)).hexdigest()}  {name}{path.removeprefix(unit)}\n".encode())
        return base64.b64encode(hasher.digest()) == expected.removeprefix(b"h1:")

    def is_index(self, path: str) -> bool:
        return path.endswith("/@v/list") or _is_tree_head(path)

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        """Lists of versions; and the checksum database's latest tree: the larger one includes the other. Tiles and look-ups never differ in meaning."""
        if _is_tree_head(path):
            return max((ours, theirs), key=_tree_rank)
        return union_of_lines(ours, theirs) if path.endswith("/@v/list") and "cache/download/" in path else None

    def private(self, paths: "Iterable[str]", files: "Files") -> "Iterable[str]":
        """GOPATH/bin has what the project built of itself, whose main module has no checksum, beside tools that `go install tool@version` brought."""
        for path in paths:
            directory, _, name = path.rpartition("/")
            if name and directory.rpartition("/")[2] == "bin" and files.has_directory(f"{directory.rpartition('/')[0]}/pkg/mod".lstrip("/")):
                main = _MAIN_MODULE.search(files.read(path))
                if main is not None and main.group(1) is None:
                    yield path

    def may_share(self, path: str, files: "Files") -> bool:
        """A download gets its name when it is whole; an archive's hash is written after it."""
        if "cache/download/" not in path or "/@v/" not in path:
            return "cache/download/sumdb/" in path
        return not path.endswith(".zip") or files.has(f"{path.removesuffix('.zip')}.ziphash")


def _is_tree_head(path: str) -> bool:
    return path.endswith("/latest") and "pkg/sumdb/" in path


def _tree_rank(head: bytes) -> tuple[int, bytes]:
    lines = head.splitlines()
    return (int(lines[1]) if len(lines) > 1 and lines[1].isdigit() else 0), head


def _root_of(unit: str, files: "Files") -> str:
    """The module cache that a module was unpacked in: the directory that has cache/download."""
    parts = unit.split("/")
    for depth in range(len(parts)):
        root = "".join(part + "/" for part in parts[:depth])
        if files.has_directory(f"{root}cache/download"):
            return root
    return ""


def _download_of(unit: str, files: "Files") -> str:
    """Where the archive of an unpacked module lies, without its suffix."""
    root = _root_of(unit, files)
    module, _, version = unit.removeprefix(root).rpartition("@")
    return f"{root}cache/download/{module}/@v/{version}"


def _module_of(unit: str, files: "Files") -> str:
    """A module's name and version; in paths "!a" stands for "A"."""
    escaped = unit.removeprefix(_root_of(unit, files))
    return re.sub("!([a-z])", lambda found: found.group(1).upper(), escaped)

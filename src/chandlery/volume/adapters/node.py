"""npm's _cacache, pnpm's store and yarn's cache; and links to what the project itself is."""

import base64
import hashlib
import json
import re

from chandlery.volume.adapters import pnpm_index
from chandlery.volume.adapters.adapter import MutableName, Plain, after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from chandlery.volume.adapters.adapter import Files, Read

_OF_THIS_MACHINE = ("_logs", "_locks", "_update-notifier-last-checked")
# <name>-<version>-<hash of both>-<10c0, how it was packed, or the digest's start>.zip
_ARCHIVE = re.compile(r"-[0-9a-f]{10}-(?:\d{1,2}(?:c\d+)?|([0-9a-f]{10}))\.zip$")
_LARGEST_PACKAGE = 1 << 30
_LOCAL_KEYS = ("pacote:tarball:file:", "pacote:tarball:git+file:")


class Npm(Plain):
    name = "npm"
    observes = r"(?:^|/)index-v5/.{2}/.{2}/"
    traces: tuple[str, ...] = ("index-v5/",)

    def observed(self, path: str, read: "Read") -> MutableName | None:
        """A package's document, which its dist-tags are in, or a git dependency; tarballs are named by lock files, and checked. The last line of a
        key is the one that counts."""
        for line in reversed(read(path).splitlines()):
            try:
                entry = json.loads(line.partition(b"\t")[2])
                key, metadata = str(entry["key"]), entry.get("metadata") or {}
                headers = metadata.get("resHeaders") or {}
                if "git+" in key:
                    return MutableName("git-ref", _without_credentials(key[key.index("git+") :]))
                if "json" in str(headers.get("content-type", "")):
                    return MutableName("npm-dist-tag", _without_credentials(str(metadata.get("url", key))), str(headers.get("etag", "")))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
        return None

    def is_never_stored(self, path: str) -> bool:
        """What is being written, and npm's logs and notes about itself, which lie beside _cacache."""
        parts = path.split("/")
        if after(parts, "_cacache", "tmp") > 0:
            return True
        return parts[max(0, after(parts, ".npm"))] in _OF_THIS_MACHINE

    def unit_of(self, path: str) -> str:
        """What npx installed to run something."""
        parts = path.split("/")
        depth = after(parts, "_npx")
        return "/".join(parts[: depth + 1]) if 0 < depth < len(parts) - 1 else ""

    def is_index(self, path: str) -> bool:
        return "/index-v5/" in f"/{path}"

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        """A bucket is lines, each with its own checksum, of which a reader takes the last of a key: in order of npm's own time of writing."""
        if not self.is_index(path):
            return None
        mine, other = ({line for line in text.split(b"\n") if _bucket_entry(line) is not None} for text in (ours, theirs))
        return b"".join([b"\n" + line for line in sorted(mine | other, key=_written)]) if mine and other else None

    def private(self, paths: "Iterable[str]", files: "Files") -> "Iterable[str]":
        """Tarballs that lay beside the project, and links that `npm link`, `yarn link` and `pnpm link` make to it."""
        for path in paths:
            if self.is_index(path):
                entries = [entry for line in files.read(path).split(b"\n") if (entry := _bucket_entry(line)) is not None]
                if any(str(entry.get("key", "")).startswith(_LOCAL_KEYS) for entry in entries):
                    yield path
            elif ("/node_modules/" in f"/{path}" or "/link/" in f"/{path}" or "/projects/" in f"/{path}") and _leads_out(path, files.target(path)):
                yield path

    def may_share(self, path: str, files: "Files") -> bool:
        """content-v2/<algorithm>/ab/cd/<rest of the digest>; and buckets whose every line is whole."""
        if self.is_index(path):
            return all(_bucket_entry(line) is not None for line in files.read(path).split(b"\n") if line)
        parts = path.split("/")
        if len(parts) < 5 or parts[-5] != "content-v2" or parts[-4] not in ("sha1", "sha256", "sha512"):
            return False
        return hashlib.new(parts[-4], files.read(path), usedforsecurity=False).hexdigest() == "".join(parts[-3:])


class Pnpm(Plain):
    name = "pnpm"
    observes = r"(?:^|/)(?:metadata(?:-full|-ff)?-v\d[\d.]*|v\d+/metadata(?:-full|-ff)?)/[^/]+/.+\.jsonl?$"
    traces: tuple[str, ...] = ("metadata",)

    def observed(self, path: str, read: "Read") -> MutableName | None:
        """metadata-v1.3/<registry>/<package>.json; since pnpm 11 v11/metadata/..., since 12 .jsonl."""
        parts = path.removesuffix("l").removesuffix(".json").split("/")
        at = next(at for at, part in enumerate(parts) if part.startswith("metadata"))
        return MutableName("npm-dist-tag", "/".join(parts[at + 1 :]))

    def is_never_stored(self, path: str) -> bool:
        parts = path.split("/")
        return (len(parts) >= 3 and parts[-3] == "files" and len(parts[-2]) == 2 and "_tmp_" in parts[-1]) or pnpm_index.is_beside_index(path)

    def is_index(self, path: str) -> bool:
        return pnpm_index.is_index(path)

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        return pnpm_index.merged(ours, theirs) if pnpm_index.is_index(path) else None

    def may_share(self, path: str, files: "Files") -> bool:
        """files/ab/<rest of the sha512>, with -exec where it is a program; and the lists of which of them a package has."""
        if pnpm_index.is_index(path):
            return pnpm_index.is_sound(files.read(path))
        parts = path.split("/")
        if len(parts) < 3 or parts[-3] not in ("files", "index") or len(parts[-2]) != 2:
            return False
        if parts[-3] == "index" or parts[-1].endswith("-index.json"):
            return _lists_what_is_there("/".join([*parts[:-3], "files"]), files.read(path), files)
        return hashlib.sha512(files.read(path)).hexdigest() == parts[-2] + parts[-1].removesuffix("-exec")


def _lists_what_is_there(contents: str, listing: bytes, files: "Files") -> bool:
    """Whether pnpm's list of a package's files is whole, and all of them are in the directory `contents`."""
    try:
        digests = [base64.b64decode(item["integrity"].removeprefix("sha512-")).hex() for item in json.loads(listing)["files"].values()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    places = [f"{contents}/{digest[:2]}/{digest[2:]}" for digest in digests]
    return all(files.has(place) or files.has(f"{place}-exec") for place in places)


class Yarn(Plain):
    name = "yarn"
    observes = r"(?:^|/)metadata/npm/[^/]+/.+\.json$"
    traces: tuple[str, ...] = ("metadata/npm/",)

    def observed(self, path: str, read: "Read") -> MutableName | None:
        """metadata/npm/<hash>/<package>.json of later versions; Yarn 1 keeps no such documents."""
        return MutableName("npm-dist-tag", path.removesuffix(".json").rpartition("metadata/npm/")[2].partition("/")[2])

    def is_never_stored(self, path: str) -> bool:
        parts = path.split("/")
        return len(parts) >= 3 and parts[-2] == ".tmp" and parts[-3] in ("v4", "v5", "v6")

    def unit_of(self, path: str) -> str:
        """Yarn 1 unpacks into v6/npm-<name>-<version>-<hash>-integrity/."""
        parts = path.split("/")
        for depth, part in enumerate(parts[:-1]):
            if part.startswith("npm-") and depth and parts[depth - 1] in ("v4", "v5", "v6"):
                return "/".join(parts[: depth + 1])
        return ""

    def is_complete(self, unit: str, files: "Files") -> bool:
        """Written last."""
        return any(path.endswith("/.yarn-metadata.json") for path in files.below(unit))

    def may_share(self, path: str, files: "Files") -> bool:
        """An archive of later versions, which lists its contents at its end, with checksums; in a project's cache the name has the digest's start."""
        name = _ARCHIVE.search(path)
        if name is None:
            return False
        archive = files.read(path)
        return (name[1] is None or hashlib.sha512(archive).hexdigest().startswith(name[1])) and _is_whole_archive(archive)


def _is_whole_archive(archive: bytes) -> bool:
    """Whether all that a zip file lists is there and right."""
    import io
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return 0 < sum(item.file_size for item in opened.infolist()) <= _LARGEST_PACKAGE and opened.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError):
        return False


def _bucket_entry(line: bytes) -> "dict[str, Any] | None":
    """A line of a bucket, "<sha1 of the JSON>\\t<JSON>"; None for one that is cut short."""
    checksum, found, text = line.partition(b"\t")
    if not found or hashlib.sha1(text, usedforsecurity=False).hexdigest().encode() != checksum:
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _written(line: bytes) -> tuple[float, bytes]:
    time = (_bucket_entry(line) or {}).get("time", 0)
    return (time if isinstance(time, int | float) else 0), line


def _leads_out(path: str, target: str) -> bool:
    """Whether a link at `path` leaves the volume."""
    return target.startswith(("/", "../" * (path.count("/") + 1)))


def _without_credentials(url: str) -> str:
    """A URL without user, password and query."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"

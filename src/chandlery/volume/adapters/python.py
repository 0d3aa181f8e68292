"""The caches of pip, uv and poetry. Their files are written under a temporary name and renamed, so what has its name is whole."""

import json
import re

from chandlery.volume.adapters.adapter import MutableName, Plain, after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.adapters.adapter import Files, Read

# CacheControl's layout: five directories of one digit each, then the hash of the address
_HTTP = re.compile(r"(^|/)(http|http-v2|_http|_http_)/[0-9a-f]/[0-9a-f]/[0-9a-f]/[0-9a-f]/[0-9a-f]/")
_SELFCHECK = re.compile(r"(^|/)selfcheck/[0-9a-f]{56}$")
_UNFINISHED = re.compile(r"/tmp[^/]*$|\.(?:tmp|lock)$")
_UV_BUCKET = re.compile(r"(archive|builds|built-wheels|environments|git|interpreter|sdists|simple|wheels)-v\d+$")
_RELEASE = re.compile(r"(^|/)repositories/[^/]+/(?:[0-9a-f]{2}/){8}[0-9a-f]{64}$")
_LOCAL_ORIGIN = re.compile(rb'"url":\s*"file:')
_FIRST_FILE = re.compile(rb'"filename":\s*"([A-Za-z0-9._]+?)-\d|<title>Links for ([A-Za-z0-9._-]+)')


def _index_page(path: str, read: "Read") -> MutableName | None:
    """A cached answer that is a page of a package index; its body is in the same file, or beside it."""
    head = read(path)[:4096]
    if b"application/vnd.pypi.simple" not in head and b"text/html" not in head:
        return None
    named = _FIRST_FILE.search(read(f"{path}.body") or read(path))
    return MutableName("python-index", next(group for group in named.groups() if group).decode() if named else "a page of the index")


class Pip(Plain):
    name = "pip"
    observes = r"(?:^|/)http(?:-v\d+)?/(?:[0-9a-f]/){5}[0-9a-f]{40,}$"
    traces: tuple[str, ...] = ("http",)

    def observed(self, path: str, read: "Read") -> MutableName | None:
        return _index_page(path, read)

    def is_never_stored(self, path: str) -> bool:
        """What is being written, CacheControl's locks, and when pip last looked for a newer pip."""
        if _SELFCHECK.search(path) is not None:
            return True
        return _UNFINISHED.search(path) is not None and _HTTP.search(path) is not None

    def unit_of(self, path: str) -> str:
        """An answer's headers and its body, <hash> and <hash>.body, are of one request."""
        return path.removesuffix(".body") if _HTTP.search(path) is not None else ""

    def is_complete(self, unit: str, files: "Files") -> bool:
        """The body gets its name before or after the headers, and one without the other is a miss."""
        return files.has(unit)

    def private(self, paths: "Iterable[str]", files: "Files") -> "Iterable[str]":
        """Wheels of archives that lay in the project, which pip knows by their paths: another branch has others there."""
        for path in paths:
            if after(path.split("/"), "wheels") > 0 and path.endswith((".whl", "/origin.json")):
                origin = _LOCAL_ORIGIN.search(files.read(f"{path.rpartition('/')[0]}/origin.json"))
                if origin is not None:
                    yield path

    def may_share(self, path: str, files: "Files") -> bool:
        """A wheel that was built goes across file systems to its place, so that a killed step leaves its beginning there."""
        if after(path.split("/"), "wheels") < 0:
            return False
        return path.endswith("/origin.json") or (path.endswith(".whl") and _is_whole_zip(files.read(path)))


class Uv(Plain):
    name = "uv"
    observes = r"(?:^|/)simple-v\d+/.+\.rkyv$|(?:^|/)git-v\d+/db/[^/]+/FETCH_HEAD$"
    traces: tuple[str, ...] = ("simple-v", "git-v")

    def observed(self, path: str, read: "Read") -> MutableName | None:
        *above, name = path.split("/")
        return MutableName("git-ref", above[-1]) if name == "FETCH_HEAD" else MutableName("python-index", name.removesuffix(".rkyv"))

    def is_never_stored(self, path: str) -> bool:
        """Locks, builds under way, and what uv found out about this machine's interpreters."""
        parts = path.split("/")
        bucket = next((depth for depth, part in enumerate(parts[:-1]) if _UV_BUCKET.match(part)), -1)
        if bucket < 0:
            return parts[-1] == ".lock" and len(parts) <= 2
        if parts[bucket].startswith("archive-v"):
            return False
        # an sdist's own files, which may be called anything, are in src/
        return (parts[-1].endswith(".lock") and "src" not in parts[bucket:]) or parts[bucket].startswith(("builds-v", "interpreter-v", "environments-v"))

    def unit_of(self, path: str) -> str:
        """archive-v0/<id>/ is an unpacked wheel; git-v0 has repositories."""
        parts = path.split("/")
        for depth, part in enumerate(parts[:-2]):
            if part.startswith("archive-v") and _UV_BUCKET.match(part):
                return "/".join(parts[: depth + 2])
            if part.startswith("git-v") and _UV_BUCKET.match(part) and parts[depth + 1] in ("db", "checkouts"):
                return "/".join(parts[: depth + 3]) if len(parts) > depth + 3 else ""
        return ""

    def is_complete(self, unit: str, files: "Files") -> bool:
        """A wheel is unpacked elsewhere and renamed."""
        return any(part.startswith("archive-v") for part in unit.split("/"))

    def private(self, paths: "Iterable[str]", files: "Files") -> "Iterable[str]":
        """Wheels of directories of the project, which uv knows by their paths: another branch has others there."""
        for path in paths:
            parts = path.split("/")
            for depth, part in enumerate(parts[:-1]):
                if part.startswith(("sdists-v", "wheels-v", "built-wheels-v")) and parts[depth + 1] in ("path", "editable"):
                    yield path

    def may_share(self, path: str, files: "Files") -> bool:
        return any(part.startswith(("wheels-v", "simple-v", "sdists-v")) for part in path.split("/")[:-1])


class Poetry(Plain):
    """Its downloads are in artifacts/ and, by CacheControl, in cache/repositories/<name>/_http or _http_."""

    name = "poetry"
    observes = r"(?:^|/)_http_?/(?:[0-9a-f]/){5}[0-9a-f]{40,}$"
    traces: tuple[str, ...] = ("_http",)

    def observed(self, path: str, read: "Read") -> MutableName | None:
        return _index_page(path, read)

    def private(self, paths: "Iterable[str]", files: "Files") -> "Iterable[str]":
        """Virtual environments, which have the project in them."""
        return [path for path in paths if after(path.split("/"), "pypoetry", "virtualenvs") > 0 or path.startswith("virtualenvs/")]

    def may_share(self, path: str, files: "Files") -> bool:
        """What a release needs is JSON behind ten digits; Poetry itself throws away one that can't be read."""
        if _RELEASE.search(path) is not None:
            return _is_json(files.read(path)[10:])
        if after(path.split("/"), "artifacts") < 0:
            return False
        return path.endswith(".tar.gz") or (path.endswith((".whl", ".zip")) and _is_whole_zip(files.read(path)))


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _is_whole_zip(data: bytes) -> bool:
    """Its directory is written last, and ends with a record and a comment of at most 64 KiB."""
    return b"PK\5\6" in data[-65557:]

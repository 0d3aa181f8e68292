"""Maven's local repository, which Gradle's mavenLocal writes to as well.

Layout: <group dirs>/<artifact>/<version>/<artifact>-<version>*, beside it `_remote.repositories` ("file>repository="; an empty repository
for what `mvn install` put there), one directory up maven-metadata-<repository>.xml.
"""

import hashlib
import re

from chandlery.volume.adapters.adapter import LONGEST_NAME, MutableName, Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.adapters.adapter import Files, Read

_TRACKING = "_remote.repositories"
_LOCAL_METADATA = "maven-metadata-local.xml"
_VERSION = re.compile(rb"<version>\s*([^<\s]+)\s*</version>")
_VERSIONS = re.compile(rb"(<versions>)(.*?)(\s*</versions>)", re.DOTALL)
_UPDATED = re.compile(rb"<lastUpdated>\s*(\d+)\s*</lastUpdated>")
_PARTIAL = re.compile(r"\.(lastUpdated|part|part\.lock|\d+\.tmp)$")
_NOTE = b"#NOTE: "


class Maven(Plain):
    name = "maven"
    observes = r"maven-metadata-[^/]*\.xml$|-SNAPSHOT/(?:resolver-status\.properties|_remote\.repositories)$"
    traces: tuple[str, ...] = ("maven-metadata-", "-SNAPSHOT/")

    def observed(self, path: str, read: "Read") -> MutableName | None:
        """SNAPSHOTs that a repository was asked for, and lists of versions (ranges, plugins without a version); not `mvn install`'s own."""
        *above, name = path.split("/")
        if len(above) < 2 or name == "maven-metadata-local.xml":
            return None
        place = above[max((at + 1 for at, part in enumerate(above[:-2]) if part == "repository"), default=0) :]
        content = read(path)
        if place[-1].endswith("-SNAPSHOT"):
            if name == "_remote.repositories" and not any(line.rstrip().endswith(b"=") and not line.rstrip().endswith(b">=") for line in content.splitlines()):
                return None
            updated = _UPDATED.search(content)
            return MutableName("maven-snapshot", f"{'.'.join(place[:-2])}:{':'.join(place[-2:])}", updated[1].decode() if updated else "")
        if b"<versions>" not in content:
            return None  # a group's plugins, by prefix
        updated = _UPDATED.search(content)
        return MutableName("maven-versions", f"{'.'.join(place[:-1])}:{place[-1]}", updated[1].decode() if updated else "")

    def may_use(self, name: MutableName, directories: "set[str]") -> bool:
        """All of a SNAPSHOT lies in its directory, and versions are chosen by a file in their artifact's. Names are for people: some are cut, or altered."""
        if "?" in name.name or len(name.name) >= LONGEST_NAME:
            return True
        place = "." + name.name.replace(":", ".")
        return any(f".{directory}".replace("/", ".").endswith(place) for directory in directories)

    def is_never_stored(self, path: str) -> bool:
        *above, name = path.split("/")
        if name == "resolver-status.properties":
            return True
        if above[-1:] == [".locks"]:
            return len(above) == 1 or above[-2] == "repository"
        return len(above) >= 2 and name.startswith((f"{above[-2]}-", "maven-metadata-")) and _PARTIAL.search(name) is not None

    def is_index(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return name == _TRACKING or _is_metadata(name)

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        name = path.rpartition("/")[2]
        if name == _TRACKING:
            return _union_of_properties(ours, theirs)
        return _union_of_versions(ours, theirs) if _is_metadata(name) else None

    def private(self, paths: "Iterable[str]", files: "Files") -> "Iterable[str]":
        """What was installed here. `mvn install` says so in the tracking file; Gradle writes none, but the local metadata one directory up."""
        local: dict[str, frozenset[str] | None] = {}
        for path in paths:
            directory, _, name = path.rpartition("/")
            if name == _LOCAL_METADATA:
                yield path
            elif name == _TRACKING or name.startswith(directory.rpartition("/")[0].rpartition("/")[2] + "-"):
                if directory not in local:
                    local[directory] = _installed(directory, files)
                installed = local[directory]
                if installed is None or name in installed or (name == _TRACKING and installed):
                    yield path

    def may_share(self, path: str, files: "Files") -> bool:
        """What has its checksum beside it, and that, and where it came from."""
        name = path.rpartition("/")[2]
        if name == _TRACKING:
            return files.read(path).endswith(b"=\n")
        path = path.removesuffix(".sha1")
        expected = files.read(f"{path}.sha1").split()
        return bool(expected) and expected[0].decode(errors="replace").lower() == hashlib.sha1(files.read(path), usedforsecurity=False).hexdigest()


def _is_metadata(name: str) -> bool:
    return name.startswith("maven-metadata-") and name.endswith(".xml")


def _installed(directory: str, files: "Files") -> frozenset[str] | None:
    """The names in an artifact's directory that were installed and not downloaded; None for all of them."""
    tracking = files.read(f"{directory}/{_TRACKING}")
    if not tracking:
        return None if files.has(f"{directory.rpartition('/')[0]}/{_LOCAL_METADATA}") else frozenset()
    lines = [line.decode(errors="replace") for line in tracking.splitlines() if not line.startswith(b"#")]
    known = [(line.partition(">")[0], line.endswith(">=")) for line in lines if ">" in line]
    return frozenset({name for name, is_local in known if is_local}) - {name for name, is_local in known if not is_local}


def _union_of_properties(ours: bytes, theirs: bytes) -> bytes:
    """A comment with the time of writing stands in each: it says nothing, and would differ for ever."""
    lines = {*ours.splitlines(), *theirs.splitlines()}
    notes = sorted(line for line in lines if line.startswith(_NOTE))
    return b"".join([line + b"\n" for line in [*notes, *sorted(line for line in lines if line and not line.startswith(b"#"))]])


def _union_of_versions(ours: bytes, theirs: bytes) -> bytes | None:
    """The document that the repository changed last, with the versions of both; without a list of versions that document alone."""
    later, earlier = sorted((ours, theirs), key=_rank, reverse=True)
    listed = _VERSIONS.search(later)
    if listed is None:
        return later if _UPDATED.search(later) and not _VERSIONS.search(earlier) else None
    other = _VERSIONS.search(earlier)
    if other is None:
        return None
    versions = sorted({*_VERSION.findall(listed.group(2)), *_VERSION.findall(other.group(2))}, key=_natural)
    lines = b"".join([b"\n      <version>" + version + b"</version>" for version in versions])
    return later[: listed.end(1)] + lines + b"\n    </versions>" + later[listed.end(3) :]


def _rank(document: bytes) -> tuple[int, bytes]:
    """When the repository changed the document, which is what its client goes by; then everything but the list that merging changes."""
    found = _UPDATED.search(document)
    return int(found.group(1)) if found else 0, _VERSIONS.sub(b"", document)


def _natural(version: bytes) -> tuple[list[tuple[bool, int, bytes]], bytes]:
    """Numbers by value."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(rb"[.-]", version)], version

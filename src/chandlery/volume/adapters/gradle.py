"""Gradle's user home: caches/<version>/..., caches/modules-2, caches/transforms-*. What its wrapper unpacks: wrapper.py."""

import hashlib
import re

from chandlery.volume.adapters import gradle_index
from chandlery.volume.adapters.adapter import MutableName, Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.adapters.adapter import Files, Read

# immutable workspaces: a directory without its metadata.bin fails the build, an absent one doesn't (gradle/gradle#28974)
_WORKSPACES = ("transforms", "kotlin-dsl", "groovy-dsl", "jars-")
# one index and the files that it names
_INDEXED = ("transforms-1", "transforms-2", "journal-1")
# stores of a version's own, some files that only make sense together
_STORES = ("fileHashes", "fileContent", "fileChanges", "executionHistory", "javaCompile", "md-supplier", "md-rule")


class Gradle(Plain):
    name = "gradle"
    observes = r"files-2\.\d+/[^/]+/[^/]+/[^/]+-SNAPSHOT/|resources-2\.\d+/[^/]+/maven-metadata\.xml$"
    traces: tuple[str, ...] = ("-SNAPSHOT/", "/maven-metadata.xml")

    def observed(self, path: str, read: "Read") -> MutableName | None:
        """Changing modules, and the lists that dynamic versions were chosen from."""
        parts = path.split("/")
        if parts[-1] != "maven-metadata.xml":
            at = next(at for at, part in enumerate(parts) if part.startswith("files-2."))
            return MutableName("maven-snapshot", ":".join(parts[at + 1 : at + 4]))
        content = read(path)
        found = [match[1].decode(errors="replace") for name in (b"groupId", b"artifactId") if (match := re.search(rb"<%s>([^<]+)<" % name, content))]
        kind = "maven-snapshot" if b"-SNAPSHOT</version>" in content else "maven-versions"
        return MutableName(kind, ":".join(found) or "a module") if found else None

    def is_never_stored(self, path: str) -> bool:
        """Locks, when something was last used here, and where daemons of this machine listen."""
        parts = path.split("/")
        if "caches" in parts[:-1]:
            return parts[-1] == f"{parts[-2]}.lock" or (parts[-1] == "gc.properties" and parts[-3:-2] == ["caches"])
        return len(parts) >= 3 and parts[-3] == "daemon" and parts[-1].startswith(("registry.bin", "daemon-"))

    def unit_of(self, path: str) -> str:
        parts = path.split("/")
        if "caches" not in parts[:-1]:
            return ""
        start = parts.index("caches") + 1
        for depth in range(start, len(parts) - 1):
            part = parts[depth]
            if part in _INDEXED or (depth == start + 1 and part in _STORES):
                return "/".join(parts[: depth + 1])
            if part.startswith(_WORKSPACES) and len(parts) > depth + 2:
                return "/".join(parts[: depth + 2])
        return ""

    def is_complete(self, unit: str, files: "Files") -> bool:
        return files.has(f"{unit}/metadata.bin")

    def is_index(self, path: str) -> bool:
        return gradle_index.is_index(path)

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        return gradle_index.merged(ours, theirs) if gradle_index.is_index(path) else None

    def may_share(self, path: str, files: "Files") -> bool:
        """files-2.1/<group>/<module>/<version>/<sha1 without leading zeros>/<file>."""
        if gradle_index.is_index(path):
            return gradle_index.is_sound(files.read(path))
        parts = path.split("/")
        if len(parts) < 6 or not parts[-6].startswith("files-"):
            return False
        return hashlib.sha1(files.read(path), usedforsecurity=False).hexdigest().lstrip("0") == parts[-2].lstrip("0")

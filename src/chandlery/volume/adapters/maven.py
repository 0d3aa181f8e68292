"""Maven's local repository, and the distributions that mvnw unpacks.

Layout: <group dirs>/<artifact>/<version>/<artifact>-<version>*, beside it `_remote.repositories` ("file>repository="; an empty repository
for what `mvn install` put there) and maven-metadata-<repository>.xml.
"""

import hashlib
import re

from chandlery.volume.adapters.adapter import Plain, union_of_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.adapters.adapter import Read

_VERSION = re.compile(rb"<version>([^<]+)</version>")
_VERSIONS = re.compile(rb"(<versions>)(.*?)(\s*</versions>)", re.DOTALL)


class Maven(Plain):
    name = "maven"

    def is_never_stored(self, path: str) -> bool:
        *above, name = path.split("/")
        if name == "resolver-status.properties":
            return True
        return len(above) >= 2 and name.startswith(f"{above[-2]}-") and name.endswith((".lastUpdated", ".part", ".part.lock"))

    def unit_of(self, path: str) -> str:
        parts = path.split("/")
        for depth, part in enumerate(parts):
            if part == "dists" and depth and parts[depth - 1] == "wrapper" and len(parts) > depth + 2:
                return "/".join(parts[: depth + 3])
        return ""

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        name = path.rpartition("/")[2]
        if name == "_remote.repositories":
            return union_of_lines(ours, theirs)
        if name.startswith("maven-metadata-") and name.endswith(".xml"):
            return _union_of_versions(ours, theirs)
        return None

    def is_private(self, path: str, paths: frozenset[str], read: "Read") -> bool:
        directory, _, name = path.rpartition("/")
        if name == "maven-metadata-local.xml":
            return True
        tracking = f"{directory}/_remote.repositories"
        if tracking not in paths:
            return False
        lines = [line for line in read(tracking).decode(errors="replace").splitlines() if line and not line.startswith("#")]
        if name == "_remote.repositories":
            return any(line.endswith(">=") for line in lines)
        mine = [line for line in lines if line.partition(">")[0] == name]
        return bool(mine) and all(line.endswith(">=") for line in mine)

    def may_share(self, path: str, paths: frozenset[str], read: "Read") -> bool:
        if f"{path}.sha1" not in paths:
            return False
        expected = read(f"{path}.sha1").split()
        return bool(expected) and expected[0].decode(errors="replace").lower() == hashlib.sha1(read(path), usedforsecurity=False).hexdigest()


def _union_of_versions(ours: bytes, theirs: bytes) -> bytes | None:
    """The larger document with the other's versions added; None where one has no list."""
    one, other = sorted((ours, theirs), key=lambda text: (text.count(b"<version>"), text))
    listed = _VERSIONS.search(other)
    if listed is None or _VERSIONS.search(one) is None:
        return None
    known = set(_VERSION.findall(listed.group(2)))
    added = [found for found in _VERSION.findall(_VERSIONS.search(one).group(2)) if found not in known]  # type: ignore[union-attr]
    lines = b"".join(b"\n      <version>" + version + b"</version>" for version in added)
    return other[: listed.end(2)] + lines + other[listed.end(2) :]

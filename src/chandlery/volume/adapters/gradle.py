"""Gradle's user home: caches/<version>/..., caches/modules-2, caches/transforms-*, wrapper/dists."""

import hashlib

from chandlery.volume.adapters.adapter import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.adapters.adapter import Read

# immutable workspaces: a directory without its metadata.bin fails the build, an absent one doesn't (gradle/gradle#28974)
_WORKSPACES = ("transforms", "kotlin-dsl", "groovy-dsl", "jars-")


class Gradle(Plain):
    name = "gradle"

    def is_never_stored(self, path: str) -> bool:
        parts = path.split("/")
        if "caches" in parts[:-1]:
            return parts[-1] == f"{parts[-2]}.lock" or (parts[-1] == "gc.properties" and parts[-3:-2] == ["caches"])
        return "dists" in parts and parts[-1].endswith((".lck", ".part"))

    def unit_of(self, path: str) -> str:
        parts = path.split("/")
        for depth, part in enumerate(parts[:-1]):
            if part == "dists" and depth and parts[depth - 1] == "wrapper" and len(parts) > depth + 3:
                return "/".join(parts[: depth + 3])
            if part.startswith(_WORKSPACES) and "caches" in parts[:depth] and len(parts) > depth + 2:
                return "/".join(parts[: depth + 2])
            if part.startswith("metadata-") and depth and parts[depth - 1].startswith("modules-"):
                return "/".join(parts[: depth + 1])
        return ""

    def is_complete(self, unit: str, paths: frozenset[str]) -> bool:
        return f"{unit}/metadata.bin" in paths or any(path.startswith(f"{unit}/") and path.endswith(".ok") for path in paths)

    def may_share(self, path: str, paths: frozenset[str], read: "Read") -> bool:
        """files-2.1/<group>/<module>/<version>/<sha1 without leading zeros>/<file>."""
        parts = path.split("/")
        if len(parts) < 6 or not parts[-6].startswith("files-"):
            return False
        return hashlib.sha1(read(path), usedforsecurity=False).hexdigest().lstrip("0") == parts[-2].lstrip("0")

"""npm's _cacache, pnpm's store and yarn's cache."""

import hashlib

from chandlery.volume.adapters.adapter import Plain, union_of_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.adapters.adapter import Read


class Npm(Plain):
    name = "npm"

    def is_never_stored(self, path: str) -> bool:
        parts = path.split("/")
        return "_cacache" in parts[:-1] and parts[parts.index("_cacache") + 1] == "tmp" and len(parts) > parts.index("_cacache") + 2

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        """Buckets are append-only lines, each with its own checksum; a reader takes the last of a key."""
        return union_of_lines(ours, theirs) if "/index-v5/" in f"/{path}" else None

    def may_share(self, path: str, paths: frozenset[str], read: "Read") -> bool:
        """content-v2/<algorithm>/ab/cd/<rest of the digest>."""
        parts = path.split("/")
        if len(parts) < 5 or parts[-5] != "content-v2" or parts[-4] not in ("sha1", "sha256", "sha512"):
            return False
        return hashlib.new(parts[-4], read(path), usedforsecurity=False).hexdigest() == "".join(parts[-3:])


class Pnpm(Plain):
    name = "pnpm"

    def may_share(self, path: str, paths: frozenset[str], read: "Read") -> bool:
        """files/ab/<rest of the sha512>, with -exec where it is a program."""
        parts = path.split("/")
        if len(parts) < 3 or parts[-3] != "files" or len(parts[-2]) != 2:
            return False
        return hashlib.sha512(read(path)).hexdigest() == parts[-2] + parts[-1].removesuffix("-exec")


class Yarn(Plain):
    name = "yarn"

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

    def is_complete(self, unit: str, paths: frozenset[str]) -> bool:
        return any(path.startswith(f"{unit}/") and path.endswith("/.yarn-metadata.json") for path in paths)

"""Go's module cache: cache/download/<module>/@v/<version>.*, and modules unpacked into <module>@<version>/."""

from chandlery.volume.adapters.adapter import Plain, union_of_lines


class Go(Plain):
    name = "go"

    def is_never_stored(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        if path == "cache/lock" or path.endswith("/cache/lock"):
            return True
        return "cache/download/" in path and "/@v/" in path and name.endswith((".lock", ".partial", ".tmp"))

    def unit_of(self, path: str) -> str:
        """An unpacked module is neither verified nor recovered (golang/go#27952)."""
        parts = path.split("/")
        if "cache" in parts and "vcs" in parts:
            depth = parts.index("vcs")
            return "/".join(parts[: depth + 2]) if parts[depth - 1] == "cache" and len(parts) > depth + 2 else ""
        if "/download/" in path:
            return ""
        for depth, part in enumerate(parts[:-1]):
            if "@v" in part and not part.startswith("@"):
                return "/".join(parts[: depth + 1])
        return ""

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        return union_of_lines(ours, theirs) if "cache/download/" in path and path.endswith("/@v/list") else None

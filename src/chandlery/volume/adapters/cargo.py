"""Cargo's home: registry/cache/*.crate, registry/src/<index>/<crate>/, registry/index, git/db, git/checkouts."""

from chandlery.volume.adapters.adapter import Plain


class Cargo(Plain):
    name = "cargo"

    def is_never_stored(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return name in (".package-cache", ".package-cache-mutate") and path.count("/") <= 2

    def unit_of(self, path: str) -> str:
        parts = path.split("/")
        for depth, part in enumerate(parts[:-1]):
            beside = parts[depth - 1] if depth else ""
            if part == "src" and beside == "registry" and len(parts) > depth + 3:
                return "/".join(parts[: depth + 3])
            if part in ("db", "checkouts") and beside == "git" and len(parts) > depth + 2:
                return "/".join(parts[: depth + 2])
        return ""

    def is_complete(self, unit: str, paths: frozenset[str]) -> bool:
        """.cargo-ok is written last, and trusted (rust-lang/cargo#9691)."""
        return f"{unit}/.cargo-ok" in paths

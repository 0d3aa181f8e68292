"""The distributions that mvnw and gradlew download and unpack: wrapper/dists/<name>/<hash>/."""

from chandlery.volume.adapters.adapter import Plain, after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.adapters.adapter import Files


class Wrapper(Plain):
    name = "wrapper"

    def is_never_stored(self, path: str) -> bool:
        parts = path.split("/")
        return after(parts, "wrapper", "dists") > 0 and parts[-1].endswith((".lck", ".part"))

    def unit_of(self, path: str) -> str:
        parts = path.split("/")
        depth = after(parts, "wrapper", "dists")
        return "/".join(parts[: depth + 2]) if 0 < depth < len(parts) - 2 else ""

    def is_broken(self, unit: str, files: "Files") -> bool:
        """gradlew that doesn't find its mark begins anew."""
        return unit.split("/")[-2].startswith("gradle-") and not self.is_complete(unit, files)

    def is_complete(self, unit: str, files: "Files") -> bool:
        """gradlew writes <zip>.ok last. mvnw leaves nothing that says so: it moves from /tmp, which copies into a mount in any order, its mvnw.url too."""
        return any(path.endswith(".ok") and path.count("/") == unit.count("/") + 1 for path in files.below(unit))

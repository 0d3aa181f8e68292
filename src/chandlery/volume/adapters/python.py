"""The caches of pip, uv and poetry. Their files are written under a temporary name and renamed, so what has its name is whole."""

from chandlery.volume.adapters.adapter import Plain


class Pip(Plain):
    name = "pip"


class Uv(Plain):
    name = "uv"

    def is_never_stored(self, path: str) -> bool:
        parts = path.split("/")
        return parts[-1] == ".lock" and any(part.startswith(("sdists-v", "archive-v", "wheels-v", "simple-v")) for part in parts)

    def unit_of(self, path: str) -> str:
        """archive-v0/<id>/ is an unpacked wheel."""
        parts = path.split("/")
        for depth, part in enumerate(parts[:-2]):
            if part.startswith("archive-v") and part[9:].isdigit():
                return "/".join(parts[: depth + 2])
        return ""


class Poetry(Plain):
    name = "poetry"

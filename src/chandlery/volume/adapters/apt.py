"""apt's archives and lists."""

from chandlery.volume.adapters.adapter import Plain


class Apt(Plain):
    name = "apt"

    def is_never_stored(self, path: str) -> bool:
        parts = path.split("/")
        if parts[-1] == "lock":
            return len(parts) == 1 or parts[-2] in ("archives", "lists")
        return parts[0] == "partial" or (len(parts) >= 3 and parts[-2] == "partial" and parts[-3] in ("archives", "lists"))

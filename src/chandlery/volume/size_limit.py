"""`SizeLimit`: how large a cache volume may be. When a build leaves one that is larger, what was read the longest ago goes, as by `chandlery volume trim`."""

from chandlery.errors import ChandleryError
from chandlery.volume import committing, removing, trimming
from chandlery.volume.problem import code_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chandlery.content.store import Store
    from chandlery.volume.trimming import TrimPlan, Use

# some room for the next builds: a trim costs a look at every file
_LEFT_PERCENT = 90


class SizeLimit:
    """`largest_bytes` is what one volume may hold; `say(code, text, cause)` tells the user, in one line, what was removed."""

    def __init__(self, largest_bytes: int, say: "Callable[[str, str, str], None]") -> None:
        self._largest_bytes, self._say = largest_bytes, say

    def keep(self, store: "Store", volume_ids: "Iterable[str]") -> None:
        """Bring those volumes below the limit that are above it. Nothing that goes wrong is more than a line."""
        has_removed = False
        for volume_id in volume_ids:
            row = committing.current(store, volume_id)
            if row is None or row.head.size_bytes <= self._largest_bytes:
                continue
            try:
                plan = removing.trim(store, volume_id, self._choose)
            except (ChandleryError, OSError, ValueError) as failure:
                self._say("volume.not-trimmed", f"cache volume {row.key.name} is larger than it may be, and could not be trimmed: {failure}", code_of(failure))
                continue
            if plan.files:
                has_removed = True
                self._say(
                    "volume.trimmed",
                    f"cache volume {row.key.name} was larger than {_text(self._largest_bytes)}: {plan.files} files ({_text(plan.size_bytes)}) went,"
                    " those that were read the longest ago",
                    "",
                )
        if has_removed:
            removing.free(store)

    def _choose(self, uses: "dict[str, Use]") -> "TrimPlan":
        """Layers may hide parts of each other, so a volume may hold less than its layers do."""
        if sum(use.size_bytes for use in uses.values()) <= self._largest_bytes:
            return trimming.TrimPlan()
        return trimming.down_to(uses, self._largest_bytes * _LEFT_PERCENT // 100)


def _text(size_bytes: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if size_bytes >= 1 << shift:
            return f"{size_bytes / (1 << shift):.1f} {unit}"
    return f"{size_bytes / (1 << 10):.0f} KiB"

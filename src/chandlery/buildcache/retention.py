"""Which entries of a shared cache go: by age, and by size with an eye on what it costs to make them again. Pure.

An entry's place in the order is when it was last used, and later by WORTH seconds for every second that its step took: what was made in a minute outlasts
what was made in a second by two and a half days. Entries of one chain share blobs, so those go first whose going frees something.
"""

from collections import Counter
from heapq import heappop, heappush

from chandlery.buildcache.inventory import Held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WORTH = 3600.0
MOST_WORTH_S = 90 * 86400.0


def chosen(held: "Sequence[Held]", *, now_s: float, max_bytes: int | None = None, older_than_s: float | None = None) -> list[Held]:
    """What goes, in the order in which it should. Entries that can't be understood stay, and what they take isn't counted."""
    known = [item for item in held if item.is_known]
    gone = [item for item in known if older_than_s is not None and now_s - min(item.last_used_s, now_s) > older_than_s]
    if max_bytes is None:
        return gone
    left = sorted((item for item in known if item not in set(gone)), key=lambda item: _rank(item, now_s))
    return gone + _down_to(left, max_bytes)


def total_bytes(held: "Iterable[Held]") -> int:
    """What the entries and their blobs take, each blob once."""
    items = list(held)
    blobs = {blob: size for item in items for blob, size in item.blobs}
    return sum(blobs.values()) + sum(item.size_bytes for item in items)


def _rank(item: Held, now_s: float) -> float:
    return min(item.last_used_s, now_s) + min(item.cost_s * WORTH, MOST_WORTH_S)


def _down_to(left: list[Held], max_bytes: int) -> list[Held]:
    """`left` in order of rank. Only who frees something is asked to go, and where all hold each other's, the least of them."""
    total, uses = total_bytes(left), Counter(blob for item in left for blob, _ in item.blobs)
    holders: dict[str, set[int]] = {}
    for at, item in enumerate(left):
        for blob, _ in item.blobs:
            holders.setdefault(blob, set()).add(at)
    remaining = dict.fromkeys(range(len(left)))
    ready = [at for at, item in enumerate(left) if not item.blobs or any(uses[blob] == 1 for blob, _ in item.blobs)]
    gone: list[Held] = []
    while remaining and total > max_bytes:
        at = heappop(ready) if ready else next(iter(remaining))
        if at not in remaining:
            continue
        del remaining[at]
        gone.append(left[at])
        total -= left[at].size_bytes
        for blob, size in left[at].blobs:
            uses[blob] -= 1
            holders[blob].discard(at)
            total -= size if not uses[blob] else 0
            if uses[blob] == 1:
                heappush(ready, next(iter(holders[blob])))
    return gone

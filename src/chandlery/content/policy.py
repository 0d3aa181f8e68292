"""What the end of an ordinary build needs to know of what is done for a store then: what a prune lets stay and whether there is anything for one to do
(gc.py does it), and whether a sync costs little."""

import os

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store

SETTLED_S = 60.0
"""The kernel writes what has been dirty for 30 s (vm.dirty_expire_centisecs); after this long it mostly has."""
# a syncfs waits for what anybody wrote: where that is much, a later moment is better, for as long as this
_OVERDUE_S = 900.0
_CHEAP_SYNC_BYTES = 8 << 20


@value
class PrunePolicy:
    """What may stay. With neither `max_used_bytes` nor `min_free_bytes` everything unused goes that is old enough and that the filters match.

    `max_used_bytes`: of what the filters match, this much stays. `min_free_bytes`: the file system should have this much free.
    `reserved_bytes`: this much always stays. `keep_duration_s`: nothing goes that was used in the last so many seconds.
    """

    max_used_bytes: int | None = None
    min_free_bytes: int | None = None
    reserved_bytes: int = 0
    keep_duration_s: float = 0.0
    filters: tuple[str, ...] = ()

    @property
    def is_limit(self) -> bool:
        return self.max_used_bytes is not None or self.min_free_bytes is not None


_LOGS = ("type=log",)


def default_policies(root: str) -> tuple[PrunePolicy, ...]:
    """What builds apply when they end: 256 MiB of logs; 60 % of the file system for the store, 15 % of it free. Blocks that are kept back from
    everybody are no part of it, as in df's percentage."""
    found = os.statvfs(root)
    total = (found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize
    return (
        PrunePolicy(max_used_bytes=256 << 20, filters=_LOGS),
        PrunePolicy(max_used_bytes=total * 60 // 100, min_free_bytes=total * 15 // 100),
    )


def is_exceeded(store: "Store", policy: PrunePolicy) -> bool:
    """Whether a prune by `policy` could have something to do, told in well under a millisecond from rows alone; filters but those for logs, which
    have no rows, are not looked at."""
    if not policy.is_limit:
        return True
    if policy.min_free_bytes is not None and free_bytes(store.root) < policy.min_free_bytes:
        return True
    if policy.max_used_bytes is None:
        return False
    if policy.filters == _LOGS:
        return _log_bytes(store) > policy.max_used_bytes
    used = store.db.read(
        "SELECT (SELECT total(size_bytes) FROM snapshot) + (SELECT total(size_bytes) FROM layer_blob) + (SELECT total(size_bytes) FROM volume_generation)"
    )[0][0]
    return bool(used > policy.max_used_bytes)


def limits_logs(policy: PrunePolicy) -> bool:
    """Whether it is about builds' logs alone: nothing to do with for a build that wrote none."""
    return policy.filters == _LOGS


def _log_bytes(store: "Store") -> int:
    with os.scandir(store.layout.logs) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)


def free_bytes(root: str) -> int:
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


def is_time_to_sync(waited_s: float) -> bool:
    """Whether to have a syncfs now for what was written so many seconds ago, or to wait for a moment when it has little to write."""
    return waited_s > _OVERDUE_S or (waited_s > SETTLED_S and _unwritten_bytes() <= _CHEAP_SYNC_BYTES)


def _unwritten_bytes() -> int:
    """What all processes have written and no disk has yet (proc_meminfo(5)): about what a sync has to wait for."""
    with open("/proc/meminfo", "rb") as file:
        found = dict(line.split(b":", 1) for line in file)
    return sum(int(found[name].split()[0]) << 10 for name in (b"Dirty", b"Writeback") if name in found)

"""What a prune lets stay, and whether there is anything for one to do: all that the end of an ordinary build needs of pruning (gc.py does it)."""

import os

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store


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

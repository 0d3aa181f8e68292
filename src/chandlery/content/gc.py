"""Freeing space: what a policy says may go, least recently used first, and nothing that a running build or an image needs.

A prune has three phases, each harmless to be killed in: rows of the victims are deleted in one transaction that holds the write lock
from looking at leases to its commit; then, under the write lock again, files that no row and no lease names are moved to R/trash
(sweep.py); then the trash is deleted, without any lock. A build leases what it finds in the transaction in which it finds it, so it either sees a
thing before the first phase, which then spares it, or doesn't see it at all.
"""

import time

from chandlery.content.filters import parse_filters
from chandlery.content.policy import PrunePolicy, free_bytes
from chandlery.content.race import reach
from chandlery.content.references import layers_of, records_using
from chandlery.content.reserve import give_up, set_aside
from chandlery.content.session import clean_dead_sessions
from chandlery.content.sweep import empty_trash, sweep
from chandlery.content.usage import Kind, OnDisk, UsageRow, list_disk, rows_of
from chandlery.errors import NoSpace
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chandlery.content.database import Transaction
    from chandlery.content.store import Store

_MEMO_LIFETIME_S = 30 * 86400.0
_BATCH_WHEN_FULL = 50


@value
class PruneReport:
    """`freed_bytes` counts the removed rows; with `dry_run`, what would be removed."""

    freed_bytes: int
    removed: tuple[UsageRow, ...]


def prune(
    store: "Store",
    policy: PrunePolicy,
    *,
    dry_run: bool = False,
    also: "Sequence[Callable[[Store], object]]" = (),
    clock: "Callable[[], float]" = time.time,
) -> PruneReport:
    """Remove what `policy` lets go, and all garbage. `also` are the sweeps of packages above, called once the rows are gone.

    Raises RequestError request.bad-filter before anything happens, and what Database raises; NoSpace only if the disk is so full that
    not even the store's reserve helps.
    """
    parse_filters(policy.filters)
    if dry_run:
        victims = _victims(store, policy, list_disk(store.layout), clock(), delete=0)
    else:
        clean_dead_sessions(store)
        empty_trash(store.layout)
        try:
            victims = _remove(store, policy, also, clock, batch=None)
        except NoSpace:
            give_up(store.layout)
            victims = _remove(store, policy, also, clock, batch=_BATCH_WHEN_FULL)
        set_aside(store.layout)
    return PruneReport(sum(row.size_bytes for row in victims), tuple(victims))


def _remove(
    store: "Store", policy: PrunePolicy, also: "Sequence[Callable[[Store], object]]", clock: "Callable[[], float]", *, batch: int | None
) -> list[UsageRow]:
    """Remove the victims, `batch` at a time: on a full disk the log of a few deleted rows fits where that of all would not."""
    removed: list[UsageRow] = []
    while True:
        disk = list_disk(store.layout)
        victims = _victims(store, policy, disk, clock(), delete=batch)
        reach("gc.rows-deleted")
        sweep(store, victims, disk)
        for sweep_others in also:
            sweep_others(store)
        empty_trash(store.layout)
        removed += victims
        if batch is None or len(victims) < batch:
            return removed


def _victims(store: "Store", policy: PrunePolicy, disk: OnDisk, now: float, *, delete: int | None) -> list[UsageRow]:
    """Choose what goes and delete the rows of the first `delete` (None: of all, 0: of none), in one transaction. What was deleted; all for 0."""
    filters = parse_filters(policy.filters)
    used_before = now - max(policy.keep_duration_s, filters.unused_for_s)
    with store.db.transaction(durable=delete != 0) as tx:
        rows = [row for row in rows_of(tx, store.layout, disk, now) if row.kind is not Kind.IMAGE and filters.match(row)]
        victims = _choose(rows, policy, free_bytes(store.root), used_before)
        if delete == 0:
            return victims
        victims = victims[:delete]
        _delete_rows(tx, victims, now)
    return victims


def _choose(rows: "Sequence[UsageRow]", policy: PrunePolicy, free_bytes: int, used_before: float) -> list[UsageRow]:
    """Pure: of `rows`, which go. Least recently used first, until the policy's limits are met."""
    total = sum(row.size_bytes for row in rows)
    keep = total if policy.is_limit else 0
    if policy.max_used_bytes is not None:
        keep = min(keep, policy.max_used_bytes)
    if policy.min_free_bytes is not None:
        keep = min(keep, total - max(0, policy.min_free_bytes - free_bytes))
    keep = max(keep, policy.reserved_bytes)
    victims = []
    for row in sorted(rows, key=lambda row: (row.last_used_at, row.id)):
        if policy.is_limit and total <= keep:
            break
        if total - row.size_bytes < policy.reserved_bytes or row.is_in_use or row.last_used_at > used_before:
            continue
        victims.append(row)
        total -= row.size_bytes
    return victims


def _delete_rows(tx: "Transaction", victims: "Sequence[UsageRow]", now: float) -> None:
    by_kind: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for row in victims:
        by_kind[row.kind].append(row.id)
    # a step is named by its snapshot, or by its key if it has none; the two never look alike
    snapshots = {*by_kind[Kind.STEP], *by_kind[Kind.SNAPSHOT]}
    if snapshots:
        keys = {*records_using(tx, snapshots), *by_kind[Kind.STEP]}
        tx.execute_many("DELETE FROM step_record WHERE key = ?", [(key,) for key in keys])
        tx.execute_many("DELETE FROM snapshot WHERE id = ?", [(snapshot,) for snapshot in snapshots])
    tx.execute_many("DELETE FROM layer_blob WHERE digest = ?", [(digest,) for digest in by_kind[Kind.BLOB]])
    for table, column in (("volume", "id"), ("volume_generation", "volume_id")):
        tx.execute_many(f"DELETE FROM {table} WHERE {column} = ?", [(volume,) for volume in by_kind[Kind.VOLUME]])
    tx.execute("DELETE FROM memo WHERE last_used_at < ?", (now - _MEMO_LIFETIME_S,))
    _delete_nameless_images(tx, {*by_kind[Kind.BLOB]})


def _delete_nameless_images(tx: "Transaction", blobs: set[str]) -> None:
    """Images without a name go with the first thing of theirs that went."""
    there = {diff_id for (diff_id,) in tx.execute("SELECT diff_id FROM snapshot WHERE diff_id IS NOT NULL UNION SELECT diff_id FROM layer_blob")}
    for name, config, layers in tx.execute("SELECT name, config_digest, layers FROM image WHERE name LIKE 'sha256:%'"):
        if config in blobs or any(diff_id not in there for _, diff_id in layers_of(layers)):
            tx.execute("DELETE FROM image WHERE name = ?", (name,))

"""The second and third phase of a prune: files that nothing names any more leave their place, and then the disk.

Leaving is a rename into R/trash under the database's write lock, with leases and rows looked at again: nothing that somebody could still
lease is ever half removed.
"""

import os
import time

from chandlery.content import faults
from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.content.session import live_leases
from chandlery.content.usage import Kind, OnDisk, UsageRow
from chandlery.linux.flock import FileLock
from chandlery.linux.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from chandlery.content.database import Transaction
    from chandlery.content.layout import StoreLayout
    from chandlery.content.store import Store

_ABANDONED_S = 86400.0
_FORGOTTEN_S = 60 * 86400.0


def sweep(store: "Store", victims: "Sequence[UsageRow]", disk: OnDisk) -> None:
    """Move to the trash: snapshots without a row, and the blobs, mirrors and logs among `victims`. Volumes have a sweep of their own."""
    layout = store.layout
    with faults.translated(layout.root), store.db.transaction(durable=False) as tx:
        for path in _without_row(tx, layout):
            _discard(layout, path)
        kept = _named_blobs(tx) | live_leases(layout)["blob"]
        for row in victims:
            if row.kind is Kind.BLOB and row.id not in kept:
                _discard_blob(layout, row.id, disk.blobs[row.id][1])
    for row in victims:
        if row.kind is Kind.LOG:
            _discard(layout, f"{layout.logs}/{row.description}")
        elif row.kind is Kind.GIT:
            _discard_mirror(layout, f"{layout.git}/{row.id}")
    _discard_abandoned(layout)
    _discard_forgotten(layout)
    reach("gc.swept")


def empty_trash(layout: "StoreLayout") -> None:
    """Delete what prunes moved away, this one or one that was killed."""
    for name in os.listdir(layout.trash):
        reach("gc.emptying")
        try:
            remove_tree(f"{layout.trash}/{name}")
        except OSError:
            continue  # another prune is at it, or an attribute forbids; the next prune tries again


def _without_row(tx: "Transaction", layout: "StoreLayout") -> list[str]:
    known = {row[0] for row in tx.execute("SELECT id FROM snapshot")}
    return [f"{layout.snapshots}/{name}" for name in os.listdir(layout.snapshots) if name not in known]


def _named_blobs(tx: "Transaction") -> set[str]:
    """Blobs that rows need: images' configs and manifests, and compressed layers. A pin's blob can be fetched again."""
    named = {row[0] for row in tx.execute("SELECT digest FROM layer_blob")}
    for config, manifest in tx.execute("SELECT config_digest, manifest_digest FROM image"):
        named |= {config, manifest}
    return named


def _discard_blob(layout: "StoreLayout", digest: str, written_at: float) -> None:
    """Unless it was put anew since it was listed: that looks only a moment too early or too late, so look again after the move."""
    away = _discard(layout, layout.blob(digest))
    if away and os.stat(away).st_mtime != written_at:
        os.rename(away, layout.blob(digest))


def _discard_mirror(layout: "StoreLayout", path: str) -> None:
    """Unless somebody uses it; then it is young again, too."""
    lock = FileLock(path + ".lock")
    if lock.try_acquire():
        try:
            _discard(layout, path)
            os.unlink(lock.path)
        finally:
            lock.release()


def _discard(layout: "StoreLayout", path: str) -> str:
    """Move `path` to the trash; where it is there, "" if it was gone already."""
    away = f"{layout.trash}/{fresh_name()}"
    try:
        os.rename(path, away)
    except FileNotFoundError:
        return ""
    reach("gc.discarded")
    return away


def _discard_abandoned(layout: "StoreLayout") -> None:
    """Small blobs whose writer died between writing and renaming."""
    for name in os.listdir(layout.new_blobs):
        path = f"{layout.new_blobs}/{name}"
        try:
            if time.time() - os.stat(path).st_mtime > _ABANDONED_S:
                _discard(layout, path)
        except FileNotFoundError:
            continue


def _discard_forgotten(layout: "StoreLayout") -> None:
    """What is remembered of contexts that nobody has built for two months: a CI machine has a new directory for every build."""
    with os.scandir(layout.contexts) as entries:
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            if time.time() - max(found.st_mtime, found.st_atime) > _FORGOTTEN_S:
                _discard(layout, entry.path)

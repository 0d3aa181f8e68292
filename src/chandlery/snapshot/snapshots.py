"""`SnapshotStore`: committed layers as directories that overlay mounts stack.

A snapshot is one layer's diff in overlayfs form, independent of what it was put on, and never changes after its commit. It appears by
a rename inside the transaction that adds its row (content/layout.py, rule 4), and is not fsynced by itself: `sync` covers all that a
build made at once, and until then its row says in which boot it was made.
"""

import os
import time

from chandlery.content import faults
from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.content.references import records_using
from chandlery.errors import Lost
from chandlery.linux.placement import spread_children
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chandlery.content.database import Transaction
    from chandlery.content.session import Session
    from chandlery.content.store import Store


# last use is known to this many seconds
USE_RESOLUTION_S = 600.0
_COLUMNS = ("id", "diff_id", "size_bytes", "content_digest", "tar_size", "created_at", "last_used_at", "boot_id")


@value
class Active:
    """A layer being made, in a session's scratch: write to `upper` directly, or mount it with `work` (both empty at first)."""

    session: "Session"
    directory: str
    upper: str
    work: str


@value
class SnapshotRow:
    id: str
    diff_id: str | None
    size_bytes: int
    content_digest: str | None
    tar_size: int | None
    created_at: float
    last_used_at: float
    boot_id: str | None

    @property
    def is_synced(self) -> bool:
        return self.boot_id is None


class SnapshotStore:
    def __init__(self, store: "Store", *, clock: "Callable[[], float]" = time.time) -> None:
        self._store = store
        self._clock = clock

    def prepare(self, session: "Session") -> Active:
        """An empty layer to fill, on the store's file system. End it with commit() or discard(); else it ends with the session."""
        directory = session.scratch("a")
        active = Active(session, directory, directory + "/u", directory + "/w")
        with faults.translated(self._store.root):
            spread_children(directory)
            os.mkdir(active.upper, 0o755)
            os.mkdir(active.work, 0o700)
        return active

    def commit(
        self,
        active: Active,
        *,
        diff_id: str | None = None,
        tar_size: int | None = None,
        content_digest: str | None = None,
        size_bytes: int | None = None,
    ) -> str:
        """Make what is in `active.upper` a snapshot, leased to its session, and return its id. Nothing may be mounted on it any more.

        `size_bytes` is what it takes on the disk; measured if not given.
        """
        if size_bytes is None:
            from chandlery.linux.disk_usage import tree_size

            size_bytes = tree_size(active.upper)
        now = self._clock()
        place = ""
        try:
            with faults.translated(self._store.root), self._store.db.transaction(durable=False) as tx:
                snapshot = self._make_place()
                place = self._store.layout.snapshot(snapshot)
                tx.execute(
                    "INSERT INTO snapshot (id, diff_id, size_bytes, content_digest, tar_size, created_at, last_used_at, boot_id)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (snapshot, diff_id, size_bytes, content_digest, tar_size, now, now, self._store.boot_id),
                )
                active.session.lease(tx, "snapshot", snapshot)
                os.rename(active.upper, place)
                reach("snapshot.renamed")
        except BaseException:
            _undo(place, active.upper)
            raise
        reach("snapshot.committed")
        self.discard(active)
        return snapshot

    def discard(self, active: Active) -> None:
        """Remove what was prepared. Nothing may be mounted below it; that it is gone already is fine."""
        from chandlery.linux.removal import remove_tree

        remove_tree(active.directory)

    def path(self, snapshot: str) -> str:
        """The directory to mount as a lower. Raises Lost."""
        path = self._store.layout.snapshot(snapshot)
        if not os.path.isdir(path):
            raise Lost(snapshot)
        return path

    def row(self, snapshot: str) -> SnapshotRow:
        """What is known of it. Raises Lost."""
        rows = self._store.db.read(f"SELECT {', '.join(_COLUMNS)} FROM snapshot WHERE id = ?", (snapshot,))
        if not rows:
            raise Lost(snapshot)
        return SnapshotRow(*rows[0])

    def by_diff_id(self, diff_id: str, session: "Session") -> str | None:
        """A snapshot of the layer `diff_id`, leased to `session`; None if there is none here."""
        return self.by_diff_ids((diff_id,), session)[0]

    def has_diff_id(self, diff_id: str) -> bool:
        """Whether a snapshot of the layer is here now; leases nothing."""
        return any(self._is_there(row[0]) for row in self._store.db.read("SELECT id FROM snapshot WHERE diff_id = ?", (diff_id,)))

    def by_diff_ids(self, diff_ids: "Sequence[str]", session: "Session") -> list[str | None]:
        """As by_diff_id for many layers, in one transaction."""
        found: list[str | None] = []
        with self._store.db.transaction(durable=False) as tx:
            for diff_id in diff_ids:
                ids = [row[0] for row in tx.execute("SELECT id FROM snapshot WHERE diff_id = ? ORDER BY created_at, id", (diff_id,))]
                gone = {snapshot for snapshot in ids if not self._is_there(snapshot)}
                _forget(tx, gone)
                there = [snapshot for snapshot in ids if snapshot not in gone]
                found.append(there[0] if there else None)
            self._hold(tx, session, [snapshot for snapshot in found if snapshot])
        return found

    def lease(self, session: "Session", snapshots: "Iterable[str]") -> None:
        """Keep all of `snapshots` until `session` ends, or none. Raises Lost, naming the first that is gone; it is forgotten, with the records
        that stand on it."""
        wanted = list(snapshots)
        with self._store.db.transaction(durable=False) as tx:
            gone = [snapshot for snapshot in wanted if not _has_row(tx, snapshot) or not self._is_there(snapshot)]
            if gone:
                _forget(tx, set(gone))
            else:
                self._hold(tx, session, wanted)
        if gone:
            raise Lost(gone[0])

    def set_digests(self, snapshot: str, *, diff_id: str | None = None, tar_size: int | None = None, content_digest: str | None = None) -> None:
        """Note what was computed of a snapshot later; None leaves what is known. Raises Lost."""
        with self._store.db.transaction(durable=False) as tx:
            if not _has_row(tx, snapshot):
                raise Lost(snapshot)
            tx.execute(
                "UPDATE snapshot SET diff_id = coalesce(?, diff_id), tar_size = coalesce(?, tar_size),"
                " content_digest = coalesce(?, content_digest) WHERE id = ?",
                (diff_id, tar_size, content_digest, snapshot),
            )

    def unsynced_for_s(self) -> float:
        """For how long the oldest snapshot that isn't durable has waited for it; 0 where all are."""
        oldest = self._store.db.read("SELECT min(created_at) FROM snapshot WHERE boot_id IS NOT NULL")[0][0]
        return max(0.0, self._clock() - oldest) if oldest is not None else 0.0

    def sync(self, *, older_than_s: float = 0.0) -> int:
        """Put everything written so far on the disk, whoever wrote it: one syncfs, if a snapshot of that age isn't yet. Returns how many it made durable."""
        waiting = self._store.db.read("SELECT id FROM snapshot WHERE boot_id IS NOT NULL AND created_at <= ?", (self._clock() - older_than_s,))
        if waiting:
            from chandlery.linux import filesystem

            with faults.translated(self._store.root):
                filesystem.sync(self._store.root)
            reach("snapshot.synced")
            with self._store.db.transaction() as tx:
                tx.execute_many("UPDATE snapshot SET boot_id = NULL WHERE id = ?", waiting)
        return len(waiting)

    def _make_place(self) -> str:
        """An id that nobody has, with its directory. Called under the write lock, or a prune would take the directory for garbage."""
        while True:
            snapshot = fresh_name()
            try:
                os.mkdir(f"{self._store.layout.snapshots}/{snapshot}", 0o700)
                return snapshot
            except FileExistsError:
                continue

    def _is_there(self, snapshot: str) -> bool:
        return os.path.isdir(self._store.layout.snapshot(snapshot))

    def _hold(self, tx: "Transaction", session: "Session", snapshots: "Sequence[str]") -> None:
        """Lease, and note the use; a use that was noted minutes ago is not noted again, so that a cached build writes nothing."""
        session.lease(tx, "snapshot", *snapshots)
        now = self._clock()
        tx.execute_many(
            "UPDATE snapshot SET last_used_at = ? WHERE id = ? AND last_used_at < ?",
            [(now, snapshot, now - USE_RESOLUTION_S) for snapshot in snapshots],
        )


def _undo(place: str, upper: str) -> None:
    """After a commit that failed: give the files back to the session, so that the caller can try again."""
    if place:
        try:
            if os.path.isdir(place):
                os.rename(place, upper)
            os.rmdir(os.path.dirname(place))
        except OSError:
            pass  # then it is garbage without a row, for prune


def _has_row(tx: "Transaction", snapshot: str) -> bool:
    return tx.execute("SELECT 1 FROM snapshot WHERE id = ?", (snapshot,)).fetchone() is not None


def _forget(tx: "Transaction", snapshots: set[str]) -> None:
    if snapshots:
        tx.execute_many("DELETE FROM step_record WHERE key = ?", [(key,) for key in records_using(tx, snapshots)])
        tx.execute_many("DELETE FROM snapshot WHERE id = ?", [(snapshot,) for snapshot in snapshots])

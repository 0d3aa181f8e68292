"""`RecordStore`: step records in the store's database.

Looking a record up and leasing what it names is one transaction, and so is a prune's deletion: a hit can't lose its snapshots between the two. First seen
wins: an existing record is not replaced, unless the request asked for the step to be run anew.
"""

import os
import time

from chandlery.buildcache.record import StepRecord, decode_layers, decode_observed, decode_sources, encode_layers, encode_observed
from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.oci.digest import Digest
from chandlery.solver.cache_key import CacheKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from chandlery.content.database import Transaction

USE_RESOLUTION_S = 600.0
_COLUMNS = "key, op_digest, document, layers, name, created_at, duration_s, size_bytes, observed"


class RecordStore:
    """`max_age_s`: older records are misses, and what is made in their place replaces them."""

    def __init__(self, store: Store, session: Session, *, max_age_s: float | None = None) -> None:
        self._max_age_s = max_age_s
        self._db = store.db
        self._layout = store.layout
        self._session = session

    def look_up(self, key: Digest) -> StepRecord | None:
        """The record under a key, leased to this build with its snapshots; None where there is none. One whose snapshots are gone is forgotten, or it
        would keep the step's next result from being recorded."""
        with self._db.transaction(durable=False) as tx:
            rows = tx.execute(f"SELECT {_COLUMNS} FROM step_record WHERE key = ?", (str(key),)).fetchall()
            if not rows:
                return None
            record = _decode(rows[0])
            if self._max_age_s is not None and record.created_at_s < time.time() - self._max_age_s:
                return None
            snapshots = sorted({layer.snapshot for layer in record.result.layers if layer.snapshot})
            if not self._are_there(tx, snapshots):
                tx.execute("DELETE FROM step_record WHERE key = ?", (str(key),))
                return None
            self._session.lease(tx, "record", str(key))
            self._session.lease(tx, "snapshot", *snapshots)
            self._note_use(tx, key, snapshots)
            return record

    def _are_there(self, tx: "Transaction", snapshots: list[str]) -> bool:
        marks = ",".join("?" * len(snapshots))
        found = tx.execute(f"SELECT count(*) FROM snapshot WHERE id IN ({marks})", snapshots).fetchone()
        return found is not None and found[0] == len(snapshots) and all(os.path.isdir(self._layout.snapshot(snapshot)) for snapshot in snapshots)

    @staticmethod
    def _note_use(tx: "Transaction", key: Digest, snapshots: list[str]) -> None:
        """A use that was noted minutes ago is not noted again, so that a cached build writes nothing."""
        now = time.time()
        before = now - USE_RESOLUTION_S
        tx.execute("UPDATE step_record SET last_used_at = ?, use_count = use_count + 1 WHERE key = ? AND last_used_at < ?", (now, str(key), before))
        for snapshot in snapshots:
            tx.execute("UPDATE snapshot SET last_used_at = ? WHERE id = ? AND last_used_at < ?", (now, snapshot, before))

    def put(self, record: StepRecord, *, aliases: tuple[CacheKey, ...] = (), replaces: bool = False) -> None:
        """Record a result under its key and under the other keys that stand for it, all or none, on disk when this returns."""
        verb = "INSERT OR REPLACE" if replaces or self._max_age_s is not None else "INSERT OR IGNORE"
        keys = [(record.key, "chain", record.op_digest, record.document)]
        keys += [(alias.digest, "content", alias.op_digest, alias.document) for alias in aliases]
        with self._db.transaction() as tx:
            for key, kind, op_digest, document in keys:
                tx.execute(
                    f"{verb} INTO step_record ({_COLUMNS}, kind, last_used_at, use_count, build_id) VALUES (?,?,?,?,?,?,?,?,?,?,?,0,?)",
                    (
                        str(key), str(op_digest), document.decode(), encode_layers(record.result, record.sources),
                        record.name, record.created_at_s, record.duration_s,
                        record.size_bytes, encode_observed(record.observed), kind, record.created_at_s, self._session.id,
                    ),
                )  # fmt: skip
                self._session.lease(tx, "record", str(key))

    def forget_with_snapshot(self, snapshot: str) -> None:
        """Delete every record whose chain contains a snapshot that is gone, or a layer that nobody has any more."""
        with self._db.transaction() as tx:
            for name in ("snapshot", "diff_id"):
                tx.execute("DELETE FROM step_record WHERE instr(layers, ?) > 0", (f'"{name}":"{snapshot}"',))

    def same_operation(self, op_digest: Digest, *, limit: int = 8) -> list[StepRecord]:
        """Records of the same operation on whatever inputs, newest first."""
        rows = self._db.read(f"SELECT {_COLUMNS} FROM step_record WHERE op_digest = ? ORDER BY created_at DESC LIMIT ?", (str(op_digest), limit))
        return [_decode(row) for row in rows]


def _decode(row: "tuple[Any, ...]") -> StepRecord:
    key, op_digest, document, layers, name, created_at, duration_s, size_bytes, observed = row
    result = decode_layers(layers)
    return StepRecord(
        Digest(key), Digest(op_digest), document.encode(), result, name or "", created_at, duration_s or 0.0, size_bytes or 0,
        decode_observed(observed or "[]"), decode_sources(layers),
    )  # fmt: skip

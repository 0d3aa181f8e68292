"""`RecordStore`: step records in the store's database.

Looking a record up and leasing what it names is one transaction, and so is a prune's deletion: a hit can't lose its snapshots between the two. First seen
wins: an existing record is not replaced, unless the request asked for the step to be run anew.
"""

import os
import time

from chandlery.buildcache.record import NO_LIMITS, AgeLimits, StepRecord, decode_layers, decode_observed, decode_sources, encode_layers, encode_observed
from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.oci.digest import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from chandlery.content.database import Transaction

USE_RESOLUTION_S = 600.0
_RECENT = 500
_COLUMNS = "key, op_digest, document, layers, name, created_at, duration_s, size_bytes, observed"


class RecordStore:
    """`limits`: older records are misses, and what is made in their place replaces them."""

    def __init__(self, store: Store, session: Session, *, limits: AgeLimits = NO_LIMITS) -> None:
        self._limits = limits
        self._outdated: set[Digest] = set()
        self._refused: dict[Digest, str] = {}
        self._db = store.db
        self._layout = store.layout
        self._session = session

    def look_up(self, key: Digest, *, on_same_inputs: bool = False) -> StepRecord | None:
        """The record under a key, leased to this build with its snapshots; None where there is none. One whose snapshots are gone is forgotten, or it
        would keep the step's next result from being recorded. `on_same_inputs`: what it stands on is known to be as it should; only itself may be too old.
        """
        with self._db.transaction(durable=False) as tx:
            rows = tx.execute(f"SELECT {_COLUMNS} FROM step_record WHERE key = ?", (str(key),)).fetchall()
            if not rows:
                return None
            record = _decode(rows[0])
            if not self._limits.allow(record.created_at_s, record.own_observed if on_same_inputs else record.observed, time.time()):
                self._outdated.add(key)
                self._refused[key] = "its record is too old" if not self._limits.allow(record.created_at_s, (), time.time()) else _too_old(record)
                return None
            snapshots = sorted({layer.snapshot for layer in record.result.layers if layer.snapshot})
            if not self._are_there(tx, snapshots):
                tx.execute("DELETE FROM step_record WHERE key = ?", (str(key),))
                self._refused[key] = "files of its record are gone"
                return None
            self._session.lease(tx, "record", str(key))
            self._session.lease(tx, "snapshot", *snapshots)
            self._note_use(tx, key, snapshots)
            return record

    def made(self, keys: "Sequence[Digest]") -> dict[Digest, tuple[float, int]]:
        """When the records under these keys were made, and their sizes; for being told, nothing is leased."""
        marks = ",".join("?" * len(keys))
        rows = self._db.read(f"SELECT key, created_at, size_bytes FROM step_record WHERE key IN ({marks})", tuple(map(str, keys)))
        return {Digest(key): (created_at, size_bytes or 0) for key, created_at, size_bytes in rows}

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

    def put(self, record: StepRecord, *, by_content: tuple[StepRecord, ...] = (), replaces: bool = False) -> None:
        """Record a result under its key and, by content, under others that stand for it, all or none, on disk when this returns. A record that was found
        to be too old is replaced."""
        with self._db.transaction() as tx:
            for kind, item in [("chain", record), *(("content", other) for other in by_content)]:
                is_replaced = replaces or self._limits.max_age_s is not None or item.key in self._outdated
                verb = "INSERT OR REPLACE" if is_replaced else "INSERT OR IGNORE"
                tx.execute(
                    f"{verb} INTO step_record ({_COLUMNS}, kind, last_used_at, use_count, build_id) VALUES (?,?,?,?,?,?,?,?,?,?,?,0,?)",
                    (
                        str(item.key), str(item.op_digest), item.document.decode(), encode_layers(item.result, item.sources),
                        item.name, item.created_at_s, item.duration_s,
                        item.size_bytes, encode_observed(item.observed), kind, item.created_at_s, self._session.id,
                    ),
                )  # fmt: skip
                self._outdated.discard(item.key)
                self._session.lease(tx, "record", str(item.key))

    def forget_with_snapshot(self, snapshot: str) -> None:
        """Delete every record whose chain contains a snapshot that is gone, or a layer that nobody has any more."""
        with self._db.transaction() as tx:
            for name in ("snapshot", "diff_id"):
                tx.execute("DELETE FROM step_record WHERE instr(layers, ?) > 0", (f'"{name}":"{snapshot}"',))

    def same_operation(self, op_digest: Digest, *, limit: int = 8) -> list[StepRecord]:
        """Records of the same operation on whatever inputs, newest first."""
        rows = self._db.read(f"SELECT {_COLUMNS} FROM step_record WHERE op_digest = ? ORDER BY created_at DESC LIMIT ?", (str(op_digest), limit))
        return [_decode(row) for row in rows]

    def why_not(self, key: Digest) -> str:
        """Why a record that is there, or was, did not answer in this build; "" where there was none."""
        return self._refused.get(key, "")

    def earlier(self, op_digest: Digest, name: str) -> list[StepRecord]:
        """Records that other builds made of the same operation, else under the same name: some of the newest."""
        rows = self._db.read(
            f"SELECT {_COLUMNS} FROM step_record WHERE op_digest = ? AND kind = 'chain' AND build_id <> ? ORDER BY created_at DESC LIMIT 8",
            (str(op_digest), self._session.id),
        )  # fmt: skip
        return [_decode(row) for row in rows] or self._recent("name = ?1", name)

    def earlier_at(self, place: str) -> list[StepRecord]:
        """Records that other builds made of steps whose names begin like that: some of the newest."""
        return self._recent("substr(name, 1, length(?1)) = ?1", place) if place else []

    def _recent(self, condition: str, text: str) -> list[StepRecord]:
        """Of the latest ones only, because no index helps here."""
        recent = f"SELECT {_COLUMNS}, kind, build_id FROM step_record ORDER BY rowid DESC LIMIT {_RECENT}"
        rows = self._db.read(f"SELECT {_COLUMNS} FROM ({recent}) WHERE {condition} AND kind = 'chain' AND build_id <> ?2 LIMIT 8", (text, self._session.id))
        return [_decode(row) for row in rows]


def _too_old(record: StepRecord) -> str:
    oldest = min(record.observed, key=lambda item: item.checked_at_s)
    return f"what it looked up may have changed: {oldest.kind} {oldest.url}"


def _decode(row: "tuple[Any, ...]") -> StepRecord:
    key, op_digest, document, layers, name, created_at, duration_s, size_bytes, observed = row
    result = decode_layers(layers)
    return StepRecord(
        Digest(key), Digest(op_digest), document.encode(), result, name or "", created_at, duration_s or 0.0, size_bytes or 0,
        decode_observed(observed or "[]"), decode_sources(layers),
    )  # fmt: skip

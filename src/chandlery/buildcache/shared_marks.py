"""`SharedMarks`: which steps a shared cache is known to have, so that a build whose steps are all here needn't ask it.

Kept in the store, for each remote and scope; a mark holds for a day, because others prune. Where the remote could not be reached or written it is left alone
for a while: a cached build on a train must not wait for it.
"""

import time

from chandlery.content.database import Database
from chandlery.oci.digest import Digest, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KNOWN_FOR_S = 86400.0


class SharedMarks:
    def __init__(self, db: Database, remote: str, scope: str) -> None:
        self._db = db
        self._prefix = f"shared:{sha256(f'{remote}{chr(10)}{scope}'.encode('utf-8', 'surrogateescape')).hex[:16]}:"

    def unknown(self, keys: "Sequence[Digest]") -> list[Digest]:
        """Those of the keys that the remote isn't known to have; none while it is left alone."""
        names = [self._prefix + "away", *(self._prefix + key.hex for key in keys)]
        marks = ",".join("?" * len(names))
        now = time.time()
        rows = self._db.read(f"SELECT key, last_used_at FROM memo WHERE key IN ({marks}) AND last_used_at > ?", (*names, now - KNOWN_FOR_S))
        found: dict[str, float] = dict(rows)
        if found.get(self._prefix + "away", 0.0) > now:
            return []
        return [key for key in keys if self._prefix + key.hex not in found]

    def note(self, keys: "Iterable[Digest]") -> None:
        """The remote has these."""
        self._put([(self._prefix + key.hex, time.time()) for key in keys])

    def note_away(self, for_s: float) -> None:
        """Leave the remote alone for so long."""
        self._put([(self._prefix + "away", time.time() + for_s)])

    def _put(self, rows: "list[tuple[str, float]]") -> None:
        with self._db.transaction(durable=False) as tx:
            for key, at_s in rows:
                tx.execute("INSERT OR REPLACE INTO memo (key, value, last_used_at) VALUES (?, x'', ?)", (key, at_s))

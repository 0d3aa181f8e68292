"""What a machine tells others of its reads of a volume, and how often: with whatever else it publishes, and by itself once a day at most (notes.py).

When it last did is a memo of the store. Whoever loses that tells again what was told.
"""

import time

from chandlery.values import value
from chandlery.volume import reads
from chandlery.volume.head import FIND, SHARED_INSTANCE, volume_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store
    from chandlery.volume.key import VolumeKey


@value
class Telling:
    """What a head tells beside the content: what was read here on the day `since` or later (None: nothing), and what this machine is called.

    `is_reason`: news of reads are worth a head of their own; otherwise they go with what else there is.
    """

    since: int | None = None
    machine: str = ""
    is_reason: bool = False


class Told:
    """What one remote was told of one volume: `since`, the day up to which it knows; `has_tried`, whether an earlier build tried today."""

    def __init__(self, store: "Store", key: "VolumeKey", address: str) -> None:
        self._store = store
        rows = store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE))
        self.directory = f"{store.layout.volumes}/{volume_row(rows[0]).id}" if rows else ""
        self._name = f"volume-told:{volume_row(rows[0]).id}:{address}" if rows else ""
        known = store.db.read("SELECT value, last_used_at FROM memo WHERE key = ?", (self._name,))
        self.since = int(known[0][0]) if known else 0
        self.has_tried = bool(known) and int(known[0][1]) // reads.DAY_S == reads.today()

    def note(self, *, succeeded: bool) -> None:
        """Of today's reads others know, or were to."""
        if self._name:
            self.since = reads.today() if succeeded else self.since
            with self._store.db.transaction(durable=False) as tx:
                made = (self._name, str(self.since).encode(), time.time())
                tx.execute("INSERT OR REPLACE INTO memo (key, value, last_used_at) VALUES (?, ?, ?)", made)

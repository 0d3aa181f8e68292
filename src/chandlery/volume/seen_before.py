"""Which heads of a remote a volume has merged whole, so that a build on a machine that has everything asks once and reads nothing.

Kept among the store's memos: it can be found out again. It holds as long as the volume covers what it covered then, and what the heads told is here.
"""

import json
import time

from chandlery.volume import notes
from chandlery.volume.head import FIND, SHARED_INSTANCE, volume_row
from chandlery.volume.tree import VersionVector, decode_vector, encode_vector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.content.store import Store
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.shared import Look


def recall(store: "Store", key: "VolumeKey") -> "dict[str, tuple[tuple[str, ...], VersionVector]]":
    """By address of the remote: the names of its heads, and what they covered."""
    rows = store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE))
    if not rows:
        return {}
    row = volume_row(rows[0])
    if not notes.are_kept(f"{store.layout.volumes}/{row.id}"):
        return {}
    prefix = _prefix(row.id)
    found = {}
    for name, document in store.db.read("SELECT key, value FROM memo WHERE key >= ? AND key < ?", (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))):
        try:
            known = json.loads(document)
            vector = decode_vector(known["vector"])
            if vector <= row.head.vector:
                found[name.removeprefix(prefix)] = (tuple(known["names"]), vector)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def remember(store: "Store", volume_id: str, looks: "Iterable[Look]") -> None:
    """What was read is merged."""
    rows = [
        (_prefix(volume_id) + look.remote.address, json.dumps({"names": look.names, "vector": encode_vector(look.vector)}).encode(), time.time())
        for look in looks
        if look.seen is not None and look.names
    ]
    if rows:
        with store.db.transaction(durable=False) as tx:
            tx.execute_many(
                "INSERT INTO memo (key, value, last_used_at) VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value, last_used_at = excluded.last_used_at",
                rows,
            )


def _prefix(volume_id: str) -> str:
    return f"volume-heads:{volume_id}:"

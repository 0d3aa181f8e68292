"""Starting a scope's volume from another scope's: one layer of hard links to what the other shows, with its history, so that both merge later on.

What a project installed itself stays with its branch (adapters): it is not handed on.
"""

import os

from chandlery.errors import RequestError
from chandlery.values import replace, value
from chandlery.volume import attaching, folding, materialise, removing
from chandlery.volume.head import FIND, SHARED_INSTANCE, VolumeRow, advance, find_or_create, fresh_slot, volume_row
from chandlery.volume.key import VolumeKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store
    from chandlery.volume.attachment import Attachment


@value
class Forked:
    """What the new volume begins with, and how many files stay with their branch."""

    files: int
    size_bytes: int
    kept_back: int


def fork(store: "Store", source: VolumeKey, scope: str) -> Forked:
    """Make the volume of `scope` what `source` is. Raises RequestError volume.exists, volume.same-scope; StoreError volume.unknown."""
    if scope == source.scope:
        raise RequestError(f"{scope} is the scope that the volume has", code="volume.same-scope", hint="give another one to fork to")
    target = replace(source, scope=scope)

    def act(row: VolumeRow, attachment: "Attachment") -> Forked | None:
        with store.db.transaction() as tx:
            made = find_or_create(tx, target, SHARED_INSTANCE)
            attachment.session.lease(tx, "volume", made.id)
            os.makedirs(f"{store.layout.volumes}/{made.id}", 0o700, exist_ok=True)
        if made.head.layers:
            raise _exists(target)
        private = _private_paths(store, row)
        layer, _ = folding.folded_layer(store, attachment, row, 0, without=private, into=made.id)
        head = replace(row.head, number=made.head.number + 1, slot=fresh_slot(), home=store.home, layers=(layer,))
        with store.db.transaction() as tx:
            if not advance(tx, made.id, made.head, head):
                raise _exists(target)
        files = materialise.count_files(attaching.layer_directory(store, made.id, layer.name))
        return Forked(files, layer.size_bytes, len(private))

    return removing.looked_at(store, removing.shared_id(store, source), act)


def begin(store: "Store", key: VolumeKey, scopes: tuple[str, ...]) -> None:
    """Fork a volume that isn't there yet from that of the first of `scopes` which has one on this machine. Raises StoreError, RequestError."""
    if store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE)):
        return
    for scope in scopes:
        source = replace(key, scope=scope)
        rows = store.db.read(FIND, (scope, key.name, key.platform, SHARED_INSTANCE)) if scope != key.scope else []
        if rows and volume_row(rows[0]).head.layers:
            fork(store, source, key.scope)
            return


def _private_paths(store: "Store", row: VolumeRow) -> frozenset[str]:
    shown = materialise.shown([materialise.read_table(attaching.layer_directory(store, row.id, layer.name)) for layer in row.head.layers])
    return frozenset([path for path, (entry, _) in shown.items() if entry.only_in])


def _exists(key: VolumeKey) -> RequestError:
    return RequestError(
        f"scope {key.scope} has a cache volume {key.name} already", code="volume.exists", hint=f"`chandlery volume rm {key.scope}:{key.name}` removes it here"
    )

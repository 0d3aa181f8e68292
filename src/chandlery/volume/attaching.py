"""Lending a volume to a step: which instance, which lowers, whose turn; and filling a new one from its seed.

The head is read and its layers are locked in one short transaction, so that neither a prune nor a fold can take them away in between. What an
unclean boot left of layers that were not on the disk yet is verified, or dropped, by the first who meets it.
"""

import contextlib
import os
import time

from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.graph.mount import Sharing
from chandlery.linux.flock import FileLock
from chandlery.values import replace, value
from chandlery.volume import capture, materialise, nodes
from chandlery.volume.attachment import Attachment
from chandlery.volume.deletions import Deletions
from chandlery.volume.head import (
    FIND_BY_ID,
    PLAIN_INSTANCE,
    SHARED_INSTANCE,
    Head,
    Layer,
    VolumeRow,
    advance,
    find_or_create,
    fresh_slot,
    volume_row,
    without_layers,
)
from chandlery.volume.key import VolumeKey
from chandlery.volume.tree import EMPTY_VECTOR, Version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chandlery.content.session import Session
    from chandlery.content.store import Store

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.1


@value
class AttachRequest:
    """How a step wants a volume. `on_wait` is called with the seconds waited so far while somebody else has a locked one; it may raise."""

    key: VolumeKey
    sharing: Sharing = Sharing.SHARED
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    seed_directory: str | None = None
    starts_empty: bool = False
    is_read_only: bool = False
    is_plain: bool = False
    stubs: tuple[str, ...] = ()
    on_wait: "Callable[[float], None] | None" = None


def attach(store: "Store", session: "Session", request: AttachRequest, deletions: Deletions) -> Attachment:
    """Raises NoSpace, StoreError, and whatever `on_wait` raises."""
    if request.is_plain:
        return _attach_plain(store, session, request)
    lock, instance = _turn(store, session, request)
    attachment = _take_head(store, session, request, instance)
    attachment.lock = lock
    try:
        if request.seed_directory is not None and attachment.base.number == 0:
            _seed(store, attachment, request.seed_directory)
            attachment.release_layers()
            seeded = _take_head(store, session, request, instance)
            seeded.lock, attachment.lock = lock, None
            attachment = seeded
        _prepare(attachment, request, deletions)
    except BaseException:
        attachment.release()
        raise
    return attachment


@contextlib.contextmanager
def kept_head(store: "Store", volume_id: str) -> "Iterator[tuple[Session, VolumeRow, Attachment] | None]":
    """As `hold_head`, within the block, in a session of its own; None for a volume that is gone."""
    with store.begin() as session:
        found = hold_head(store, session, volume_id)
        try:
            yield (session, *found) if found is not None else None
        finally:
            if found is not None:
                found[1].release()


def hold_head(store: "Store", session: "Session", volume_id: str) -> tuple[VolumeRow, Attachment] | None:
    """The volume as it is, its layers kept until the attachment is released; None if there is no such volume."""
    with store.db.transaction(durable=False) as tx:
        rows = tx.execute(FIND_BY_ID, (volume_id,))
        if not rows:
            return None
        row = volume_row(rows[0])
        session.lease(tx, "volume", volume_id)
        attachment = Attachment(session, row.key, volume_id)
        for layer in row.head.layers:
            attachment.hold(layer_directory(store, volume_id, layer.name))
    return row, attachment


def layer_directory(store: "Store", volume_id: str, layer: str) -> str:
    return f"{store.layout.volumes}/{volume_id}/{layer}"


def layer_trees(store: "Store", volume_id: str, head: Head) -> tuple[str, ...]:
    return tuple([f"{layer_directory(store, volume_id, layer.name)}/{materialise.TREE}" for layer in head.layers])


def _turn(store: "Store", session: "Session", request: AttachRequest) -> tuple[FileLock | None, int]:
    """Wait for a locked volume, or find a private instance that nobody uses."""
    if request.sharing is Sharing.SHARED:
        return None, SHARED_INSTANCE
    instance = SHARED_INSTANCE
    while True:
        found = _row(store, session, request.key, instance)
        lock = FileLock(f"{store.layout.volumes}/{found.id}/lock")
        if lock.try_acquire():
            return lock, instance
        if request.sharing is Sharing.LOCKED:
            _wait(lock, request.on_wait)
            return lock, instance
        instance += 1


def _wait(lock: FileLock, on_wait: "Callable[[float], None] | None") -> None:
    began, pause_s = time.monotonic(), _FIRST_PAUSE_S
    while not lock.try_acquire():
        if on_wait is not None:
            on_wait(time.monotonic() - began)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _row(store: "Store", session: "Session", key: VolumeKey, instance: int) -> VolumeRow:
    """The volume's row, leased, with a directory."""
    with store.db.transaction(durable=False) as tx:
        found = find_or_create(tx, key, instance)
        session.lease(tx, "volume", found.id)
        os.makedirs(f"{store.layout.volumes}/{found.id}", 0o700, exist_ok=True)
    return found


def _take_head(store: "Store", session: "Session", request: AttachRequest, instance: int) -> Attachment:
    warning = ""
    while True:
        with store.db.transaction(durable=False) as tx:
            found = find_or_create(tx, request.key, instance)
            session.lease(tx, "volume", found.id)
            os.makedirs(f"{store.layout.volumes}/{found.id}", 0o700, exist_ok=True)
            attachment = Attachment(session, request.key, found.id)
            lost = [layer for layer in found.head.layers if not attachment.hold(layer_directory(store, found.id, layer.name))]
        doubtful = [layer for layer in found.head.layers if layer.boot_id not in ("", store.boot_id)]
        if not lost and not doubtful:
            attachment.warning = warning
            attachment.base = found.head
            attachment.shared = layer_trees(store, found.id, found.head)
            return attachment
        attachment.release()
        drop_damaged(store, found, lost, doubtful)
        warning = f"cache volume {request.key.name} lost files, which were not on the disk when this machine stopped; they will be fetched again"


def drop_damaged(store: "Store", found: VolumeRow, lost: list[Layer], doubtful: list[Layer]) -> None:
    """Take out of the head what is gone, and what an unclean boot left in a state that can't be proved sound."""
    unsound = [layer for layer in doubtful if not layer.is_hashed or materialise.damaged_paths(layer_directory(store, found.id, layer.name))]
    after = without_layers(found.head, [*lost, *unsound])
    layers = tuple([replace(layer, boot_id=store.boot_id) if layer in doubtful else layer for layer in after.layers])
    with store.db.transaction() as tx:
        advance(tx, found.id, found.head, replace(after, layers=layers))


def _prepare(attachment: Attachment, request: AttachRequest, deletions: Deletions) -> None:
    """Lay out the step's scratch: `l` becomes a layer, its `fs` is the upper; `w` is the work directory, `h` hides what the build deleted."""
    attachment.stubs = request.stubs
    attachment.scratch = scratch = attachment.session.scratch("v")
    if not request.starts_empty:
        attachment.lowers = attachment.shared
        if deletions.hide(attachment.session.id, attachment.volume_id, attachment.shared, f"{scratch}/h"):
            attachment.lowers = (*attachment.shared, f"{scratch}/h")
    if request.is_read_only and attachment.lowers:
        return
    os.mkdir(f"{scratch}/l", 0o700)
    attachment.hold(f"{scratch}/l")
    root = f"{scratch}/l/{materialise.TREE}"
    os.mkdir(root, 0o700)
    _root_metadata(root, attachment, request)
    if request.is_read_only:
        attachment.lowers = (root,)
        return
    os.mkdir(f"{scratch}/w", 0o700)
    attachment.starts_empty = request.starts_empty
    attachment.upper, attachment.work = root, f"{scratch}/w"


def _root_metadata(root: str, attachment: Attachment, request: AttachRequest) -> None:
    """An overlay shows the upper's root: as the volume's root is, or as asked for where the volume is new."""
    if attachment.shared:
        top = attachment.shared[-1]
        nodes.set_metadata(root, os.lstat(top), nodes.attributes(top))
    else:
        os.chown(root, request.uid, request.gid)
        os.chmod(root, request.mode)


def _seed(store: "Store", attachment: Attachment, seed_directory: str) -> None:
    """Make a copy of the seed the first generation, unless somebody else was first."""
    scratch = attachment.session.scratch("v")
    os.mkdir(f"{scratch}/l", 0o700)
    attachment.hold(f"{scratch}/l")
    tree = f"{scratch}/l/{materialise.TREE}"
    nodes.copy_tree((seed_directory,), "", tree)
    version = Version(1, fresh_slot(), 1)
    captured = capture.capture(tree, (), version, shared=(), trash=scratch)
    materialise.write_table(f"{scratch}/l", captured.entries)
    name = fresh_name()
    os.rename(f"{scratch}/l", layer_directory(store, attachment.volume_id, name))
    reach("volume.seeded")
    by = EMPTY_VECTOR.advanced(version.slot, version.sequence)
    layer = Layer(name, len(captured.entries), captured.size_bytes, by, store.boot_id)
    with store.db.transaction(durable=False) as tx:
        advance(tx, attachment.volume_id, Head(), Head(1, version.slot, by, version.lamport, (layer,), home=store.home))


def _attach_plain(store: "Store", session: "Session", request: AttachRequest) -> Attachment:
    """A real directory, for tools that need one. It starts as what the volume or its seed holds and then goes its own way."""
    found = _row(store, session, request.key, PLAIN_INSTANCE)
    attachment = Attachment(session, request.key, found.id)
    attachment.plain_directory = f"{store.layout.volumes}/{found.id}/plain"
    if request.sharing is Sharing.LOCKED:
        attachment.lock = FileLock(f"{store.layout.volumes}/{found.id}/lock")
        _wait(attachment.lock, request.on_wait)
    if not os.path.isdir(attachment.plain_directory):
        source = _take_head(store, session, request, SHARED_INSTANCE)
        try:
            _fill_plain(attachment, source.shared or ((request.seed_directory,) if request.seed_directory else ()), request)
        finally:
            source.release()
    return attachment


def _fill_plain(attachment: Attachment, layers: tuple[str, ...], request: AttachRequest) -> None:
    temp = f"{attachment.session.scratch('v')}/plain"
    if layers:
        nodes.copy_tree(layers, "", temp)
    else:
        os.mkdir(temp)
        os.chown(temp, request.uid, request.gid)
        os.chmod(temp, request.mode)
    try:
        os.rename(temp, attachment.plain_directory)
    except OSError:
        # somebody else's copy was first and isn't empty
        if not os.path.isdir(attachment.plain_directory):
            raise

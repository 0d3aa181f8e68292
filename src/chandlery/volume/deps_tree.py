"""What a tar of `--deps-cache` holds, as a cache volume of this machine: unpacked once for every tar that differs, kept, and mounted like any other volume.

R/volumes/<id>/tar.json says which tar the volume was last the same as, and what its head was then. So an unchanged tar isn't read, and an unchanged volume
isn't written. `take_in` and `save` work under R/volumes/<id>/tar.lock, one process at a time; steps that run meanwhile see what they were lent.
"""

import json
import os

from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.errors import ChandleryError
from chandlery.linux.atomic import write_file
from chandlery.linux.flock import FileLock
from chandlery.values import value
from chandlery.volume import adapting, attaching, capture, deps_tar, materialise
from chandlery.volume.attachment import Attachment
from chandlery.volume.entry_tar import in_order
from chandlery.volume.head import FIND_BY_ID, SHARED_INSTANCE, Head, Layer, VolumeRow, advance, find_or_create, fresh_slot, volume_row
from chandlery.volume.key import VolumeKey
from chandlery.volume.sharing_rules import may_share
from chandlery.volume.tree import EMPTY_VECTOR, Version, decode_path, decode_vector, encode_path, encode_vector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.volume.tree import VersionVector

_STATE, _LOCK = "tar.json", "tar.lock"
_TIMEOUT_S = 600.0


@value
class _State:
    """The tar (its sha256, "" for none) and the head that was the same."""

    sha256: str = ""
    vector: "VersionVector" = EMPTY_VECTOR
    tombstones: "tuple[tuple[str, VersionVector], ...]" = ()

    def is_of(self, head: Head) -> bool:
        return (self.vector, self.tombstones) == (head.vector, head.tombstones)


@value
class TakenIn:
    """`problems` say what was wrong with tars that aren't sound; `size_bytes` were read."""

    problems: tuple[str, ...] = ()
    size_bytes: int = 0


def take_in(store: "Store", session: "Session", key: VolumeKey, paths: tuple[str, ...]) -> TakenIn:
    """Make the volume what the first sound tar among `paths`, its own scope's first, holds; without one it stays as it is, and where its tar was
    deleted it is empty. Raises OSError, ChandleryError for what is wrong with this machine's store.
    """
    with store.db.transaction(durable=False) as tx:
        row = find_or_create(tx, key, SHARED_INSTANCE)
        session.lease(tx, "volume", row.id)
        os.makedirs(_directory(store, row.id), 0o700, exist_ok=True)
    problems: list[str] = []
    with FileLock(f"{_directory(store, row.id)}/{_LOCK}", timeout_s=_TIMEOUT_S):
        for path in paths:
            try:
                header = deps_tar.read_header(path)
                if header is not None:
                    return TakenIn(tuple(problems), _bring(store, session, row, path, header, is_own=path == paths[0]))
            except (ChandleryError, OSError) as unsound:
                problems.append(_sentence(unsound))
        if not problems and _read_state(store, row.id).sha256:
            _replace(store, session, row, "")
            _write_state(store, row.id, "")
    return TakenIn(tuple(problems))


def save(store: "Store", session: "Session", key: VolumeKey, path: str, *, always: bool) -> int:
    """Write the volume's tar, if it isn't the same as the one that it was made from, or `always`; its bytes, 0 if nothing was to do.

    Raises OSError, ChandleryError; then the old tar is untouched.
    """
    with store.db.transaction(durable=False) as tx:
        row = find_or_create(tx, key, SHARED_INSTANCE)
    with FileLock(f"{_directory(store, row.id)}/{_LOCK}", timeout_s=_TIMEOUT_S):
        held = attaching.hold_head(store, session, row.id)
        if held is None:
            return 0
        row, attachment = held
        try:
            if not row.head.layers or (_read_state(store, row.id).is_of(row.head) and not always):
                return 0
            directories = [attaching.layer_directory(store, row.id, layer.name) for layer in row.head.layers]
            shown = materialise.shown([materialise.read_table(directory) for directory in directories])
            entries = in_order(entry for entry, _ in shown.values() if may_share(entry))
            files = ((entry, f"{directories[shown[entry.path][1]]}/{materialise.TREE}/{entry.path}") for entry in entries)
            header = deps_tar.write(path, files)
        finally:
            attachment.release()
        reach("deps-cache.written")
        _write_state(store, row.id, header.sha256, row.head)
        return header.size_bytes


def _bring(store: "Store", session: "Session", row: VolumeRow, path: str, header: deps_tar.TarHeader, *, is_own: bool) -> int:
    """Unpack the tar, unless the volume came from it, and what came from it is still there; how many bytes were read."""
    is_whole = all(layer.boot_id in ("", store.boot_id) and os.path.isdir(attaching.layer_directory(store, row.id, layer.name)) for layer in row.head.layers)
    if is_whole and _read_state(store, row.id).sha256 == header.sha256:
        return 0
    unpacked = _replace(store, session, row, path, is_own=is_own)
    _write_state(store, row.id, unpacked.sha256, unpacked.head)
    return header.size_bytes


@value
class _Unpacked:
    sha256: str
    head: Head


def _replace(store: "Store", session: "Session", row: VolumeRow, path: str, *, is_own: bool = True) -> _Unpacked:
    """Let the volume's head be what a tar holds ("" for nothing); of another scope's, what that scope's project itself installed stays behind.

    Steps that were lent the old head put what they add on top of the new.
    """
    scratch = session.scratch("d")
    attachment = Attachment(session, row.key, row.id)
    try:
        new = f"{scratch}/l"
        tree = f"{new}/{materialise.TREE}"
        os.makedirs(tree, 0o755)
        attachment.hold(new)
        sha256 = deps_tar.unpack(path, tree).sha256 if path else ""
        os.mkdir(f"{scratch}/t")
        with FileLock(f"{_directory(store, row.id)}/commit.lock", timeout_s=_TIMEOUT_S):
            head = volume_row(store.db.read(FIND_BY_ID, (row.id,))[0]).head
            slot = head.slot or fresh_slot()
            version = Version(head.lamport + 1, slot, head.vector.count(slot) + 1)
            layers: tuple[Layer, ...] = ()
            if path:
                captured = capture.capture(tree, (), version, shared=(), trash=f"{scratch}/t")
                entries = adapting.judged(tree, captured, (), succeeded=True, scope=row.key.scope).entries
                if not is_own:
                    entries = adapting.taken_out(tree, entries, {entry.path for entry in entries if entry.only_in})
                materialise.write_table(new, entries)
                name = fresh_name()
                os.rename(new, attaching.layer_directory(store, row.id, name))
                by = EMPTY_VECTOR.advanced(slot, version.sequence)
                layers = (Layer(name, len(entries), sum(entry.size for entry in entries), by, store.boot_id),)
            reach("deps-cache.unpacked")
            with store.db.transaction(durable=False) as tx:
                # a fold may have come in between, which changes no content
                head = volume_row(tx.execute(FIND_BY_ID, (row.id,))[0]).head
                after = Head(head.number + 1, slot, head.vector.advanced(slot, version.sequence), version.lamport, layers)
                advance(tx, row.id, head, after)
        return _Unpacked(sha256, after)
    finally:
        attachment.release()


def _directory(store: "Store", volume_id: str) -> str:
    return f"{store.layout.volumes}/{volume_id}"


def _read_state(store: "Store", volume_id: str) -> _State:
    """A state that can't be read is as good as none: the tar is unpacked again."""
    try:
        with open(f"{_directory(store, volume_id)}/{_STATE}", "rb") as file:
            found = json.load(file)
        tombstones = tuple(sorted((decode_path(path), decode_vector(vector)) for path, vector in found["tombstones"].items()))
        return _State(str(found["sha256"]), decode_vector(found["vector"]), tombstones)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _State()


def _write_state(store: "Store", volume_id: str, sha256: str, head: Head = Head()) -> None:
    document = {
        "sha256": sha256,
        "vector": encode_vector(head.vector),
        "tombstones": {encode_path(path): encode_vector(vector) for path, vector in head.tombstones},
    }
    write_file(f"{_directory(store, volume_id)}/{_STATE}", json.dumps(document).encode(), mode=0o600)


def _sentence(failure: ChandleryError | OSError) -> str:
    return failure.message if isinstance(failure, ChandleryError) else f"{failure.strerror}: {failure.filename}"

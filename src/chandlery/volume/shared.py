"""A volume and its remote: `pull` merges what others published into the head here, `publish` shows others what is new here.

Both work on a head that may move meanwhile, hold no lock while they transfer, and leave everything as it was when they fail. What is published
under a name that nobody used before absorbs the heads that were read, which are deleted afterwards, each only if it still is what was read.
"""

import os
from functools import partial

from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.errors import NoSpace, StoreError
from chandlery.linux.flock import FileLock
from chandlery.values import replace, value
from chandlery.volume import attaching, committing, fetch, materialise, pack, reconciling, remote_head, removing
from chandlery.volume.adapters import known
from chandlery.volume.head import FIND, FIND_BY_ID, SHARED_INSTANCE, Head, Layer, VolumeRow, advance, find_or_create, fresh_slot, slot_of, volume_row
from chandlery.volume.key import VolumeKey
from chandlery.volume.merge import merge, view
from chandlery.volume.pack import PackRef, Table
from chandlery.volume.remote_head import RemoteHead
from chandlery.volume.sharing_rules import forms_of, may_share
from chandlery.volume.tree import EMPTY_VECTOR, Entry, EntryType, Generation, Version, VersionVector, ancestors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.volume.protocol import VolumeRemote
    from chandlery.volume.sharing_rules import MayShare

# a manifest of more packs than this gets one that holds everything
_MANY_PACKS = 48
_COMMIT_TIMEOUT_S = 60.0


@value
class PullReport:
    files: int = 0
    bytes_added: int = 0
    heads: int = 0
    vector: VersionVector = EMPTY_VECTOR
    warnings: tuple[str, ...] = ()


@value
class PublishReport:
    """`left_out` are the paths that must not leave this machine because of what they contain."""

    files: int = 0
    bytes_sent: int = 0
    left_out: tuple[str, ...] = ()


def pull(store: "Store", remote: "VolumeRemote", key: VolumeKey) -> PullReport:
    """Merge the remote's heads into the volume's. Raises ChandleryError, OSError, ValueError; then nothing has changed."""
    seen = remote_head.read_all(remote)
    if not seen.names:
        return PullReport(warnings=seen.warnings)
    with store.begin() as session:
        with store.db.transaction(durable=False) as tx:
            volume_id = find_or_create(tx, key, SHARED_INSTANCE).id
            session.lease(tx, "volume", volume_id)
            os.makedirs(f"{store.layout.volumes}/{volume_id}", 0o700, exist_ok=True)
        local = committing.current(store, volume_id)
        vector = local.head.vector if local is not None else EMPTY_VECTOR
        if local is not None and seen.head.vector <= vector and _covers(dict(local.head.tombstones), seen.head.tombstones):
            return PullReport(warnings=seen.warnings, heads=len(seen.names), vector=seen.head.vector)
        tables, problems = fetch.read_tables(remote, [item for item in seen.head.packs if not item.by <= vector])
        warnings = [*seen.warnings, *problems]
        with FileLock(f"{store.layout.volumes}/{volume_id}/commit.lock", timeout_s=_COMMIT_TIMEOUT_S):
            merged = _merge_in(store, session, remote, volume_id, seen, _visible(tables, key.scope), warnings)
            return replace(merged, heads=len(seen.names), vector=seen.head.vector)


def publish(
    store: "Store",
    remote: "VolumeRemote",
    key: VolumeKey,
    *,
    secrets: tuple[bytes, ...] = (),
    rule: "MayShare" = may_share,
    elsewhere: VersionVector = EMPTY_VECTOR,
) -> PublishReport:
    """Show others what the volume holds and neither the remote's heads nor those elsewhere, which they read as well, have.

    Raises ChandleryError, OSError, ValueError; then others see what they saw."""
    rows = store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE))
    if not rows:
        return PublishReport()
    seen = remote_head.read_all(remote)
    if len(seen.head.packs) >= _MANY_PACKS or _is_contested(store, remote, volume_row(rows[0]).id, seen):
        # to be replaced by one that holds everything, which must be here for that; or nobody would merge the indexes of both
        pull(store, remote, key)
        seen = remote_head.read_all(remote)
    with store.begin() as session:
        found = attaching.hold_head(store, session, volume_row(rows[0]).id)
        if found is None:
            return PublishReport()
        row, attachment = found
        try:
            if row.head.vector <= seen.head.vector.joined(elsewhere) and row.head.tombstones == seen.head.tombstones:
                return PublishReport()
            path = f"{session.scratch('p')}/pack"
            is_whole = len(seen.head.packs) >= _MANY_PACKS and seen.head.vector <= row.head.vector
            before = elsewhere if is_whole else seen.head.vector.joined(elsewhere)
            return _publish(_Source(store, row, before), remote, seen, path, pack.Writer(path, forms_of(secrets)), rule, before, is_whole=is_whole)
        finally:
            attachment.release()


class _Source:
    """What a volume shows beyond what a vector covers, and where. The layers below the lowest that holds any of it aren't read: a large volume that grew by
    a file costs that file."""

    def __init__(self, store: "Store", row: VolumeRow, before: VersionVector) -> None:
        self.head = row.head
        lowest = next((number for number, layer in enumerate(row.head.layers) if not layer.by <= before), len(row.head.layers))
        directories = [attaching.layer_directory(store, row.id, layer.name) for layer in row.head.layers[lowest:]]
        self._trees = [f"{directory}/{materialise.TREE}" for directory in directories]
        self._shown = materialise.shown([materialise.read_table(directory) for directory in directories])

    def entries(self) -> dict[str, Entry]:
        return {path: entry for path, (entry, _) in self._shown.items()}

    def files(self, paths: "Iterable[str]") -> dict[str, str]:
        """Where those of the paths are that the volume shows."""
        return {path: f"{self._trees[self._shown[path][1]]}/{path}" for path in paths if path in self._shown}

    def beyond(self, vector: VersionVector, rule: "MayShare") -> "Iterator[tuple[Entry, str]]":
        """The entries that may leave and that `vector` doesn't cover, with what is above them; and the files they are in."""
        failed = {step for layer in self.head.layers for step in layer.failed}
        chosen = {
            path
            for path, (entry, _) in self._shown.items()
            if not vector.covers(entry.version) and (entry.version.slot, entry.version.sequence) not in failed and rule(entry)
        }
        chosen.update(above for path in tuple(chosen) for above in ancestors(path) if above in self._shown)
        for entry in pack.parents_first(self._shown[path][0] for path in chosen):
            yield entry, f"{self._trees[self._shown[entry.path][1]]}/{entry.path}"


def _publish(
    source: _Source, remote: "VolumeRemote", seen: remote_head.Seen, path: str, writer: pack.Writer, rule: "MayShare", before: VersionVector, *, is_whole: bool
) -> PublishReport:
    files = 0
    try:
        for entry, file in source.beyond(before, rule):
            if entry.type is EntryType.HARD_LINK:
                # a name of its own for others: what it was linked to may not be shared
                entry = replace(entry, type=EntryType.FILE, target="", sha256="")
            is_file = entry.type is EntryType.FILE
            files += is_file
            writer.add(entry, partial(_open, file) if is_file else None)
        if torn := {unit for path in writer.left_out if (unit := known.unit_of(path))}:
            writer.leave_out(lambda path: known.unit_of(path) in torn)
        by = VersionVector(tuple([(slot, count) for slot, count in source.head.vector.seen if count > before.count(slot)]))
        made = writer.finish(by)
    finally:
        writer.close()
    if not is_whole and len(seen.head.packs) >= remote_head.MAX_PACKS:
        raise StoreError(f"{remote.name} has too many packs, and not all could be fetched to make one of them", code="volume.too-many-packs")
    remote.put_blob(path, made.digest, made.size_bytes)
    reach("volume.blob-published")
    tombstones = dict(seen.head.tombstones)
    for name, vector in source.head.tombstones:
        tombstones[name] = tombstones.get(name, EMPTY_VECTOR).joined(vector)
    after = RemoteHead(
        by.joined(seen.head.vector),
        max(source.head.lamport, seen.head.lamport),
        (made,) if is_whole else (*seen.head.packs, made),
        tuple(sorted(tombstones.items())),
        tuple(name.slot for name in seen.names),
    )
    remote.put_head(fresh_slot(), remote_head.encode(after), [(item.digest, item.size_bytes) for item in after.packs])
    reach("volume.head-published")
    for old in seen.names:
        if not remote.delete_head(old):
            break
    return PublishReport(files - len(writer.left_out), made.size_bytes, tuple(writer.left_out))


def _covers(mine: "dict[str, VersionVector]", theirs: "tuple[tuple[str, VersionVector], ...]") -> bool:
    """Whether every tombstone there is known here."""
    return all(vector <= mine.get(path, EMPTY_VECTOR) for path, vector in theirs)


def _open(path: str) -> "BinaryIO":
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def _is_contested(store: "Store", remote: "VolumeRemote", volume_id: str, seen: remote_head.Seen) -> bool:
    """Whether somebody published, since the last pull, another version of an index that was changed here."""
    with store.begin() as session:
        found = attaching.hold_head(store, session, volume_id)
        if found is None:
            return False
        row, attachment = found
        try:
            new = [item for item in seen.head.packs if not item.by <= row.head.vector]
            tables = _visible(fetch.read_tables(remote, new)[0], row.key.scope) if new else {}
            return bool(tables) and bool(reconciling.competing(row.head, _Source(store, row, seen.head.vector).entries(), seen.heads, tables))
        finally:
            attachment.release()


def _visible(tables: "dict[PackRef, Table]", scope: str) -> "dict[PackRef, Table]":
    """Tables without what the projects of other scopes made themselves."""
    return {item: replace(table, entries=tuple([entry for entry in table.entries if entry.only_in in ("", scope)])) for item, table in tables.items()}


def _merge_in(
    store: "Store", session: "Session", remote: "VolumeRemote", volume_id: str, seen: remote_head.Seen, tables: "dict[PackRef, Table]", warnings: list[str]
) -> PullReport:
    theirs = seen.head
    found = attaching.hold_head(store, session, volume_id)
    if found is None:
        return PullReport(warnings=tuple(warnings))
    row, attachment = found
    try:
        source = _Source(store, row, EMPTY_VECTOR)
        mine = source.entries()
        contested = reconciling.competing(row.head, mine, seen.heads, tables)
        wanted, shown = _wanted(row.head, mine, theirs, tables, contested)
        contested = {path: found for path, found in contested.items() if all(above in shown for above in (*ancestors(path), path))}
        wanted, alien = reconciling.with_whole_units(wanted, mine, shown)
        _check_room(store, wanted)
        new = f"{session.scratch('r')}/l"
        os.mkdir(new, 0o700)
        attachment.hold(new)
        tree = f"{new}/{materialise.TREE}"
        fetched = fetch.build_tree(remote, wanted, tables, tree)
        entries = reconciling.without_torn_units(tree, fetched.entries, wanted)
        indexes = reconciling.contents(remote, contested, tables, shown, source.files(contested), session.scratch("i"))
        unread = [item for item in theirs.packs if item not in tables and not item.by <= row.head.vector]
        vector = _complete(row.head.vector, theirs, [*fetched.missing, *indexes.missing, *unread])
        version = _next_version(store, row.head, theirs, vector)
        if indexes.merged:
            entries = reconciling.written(tree, entries, indexes.merged, shown, version)
            vector = vector.advanced(version.slot, version.sequence)
        _put_on_top(store, row, entries, new, vector, version)
        if alien:
            removing.leave_out(store, volume_id, alien)
        files = [entry for entry in fetched.entries if not entry.is_directory]
        return PullReport(len(files), sum(entry.size for entry in files), warnings=(*warnings, *fetched.warnings, *indexes.warnings))
    finally:
        attachment.release()


def _next_version(store: "Store", head: Head, theirs: RemoteHead, vector: VersionVector) -> Version:
    """What this store writes next, above all that either side has. Somebody else may go under its slot: a copy, which must not be taken for it."""
    is_copied = theirs.vector.count(head.slot) > head.vector.count(head.slot)
    slot = fresh_slot() if is_copied else slot_of(head, store.home)
    return Version(max(head.lamport, theirs.lamport) + 1, slot, vector.count(slot) + 1)


def _wanted(
    head: Head, mine: "dict[str, Entry]", theirs: RemoteHead, tables: "dict[PackRef, Table]", contested: "Iterable[str]"
) -> "tuple[dict[str, tuple[Entry, PackRef | None]], dict[str, Entry]]":
    """What the merge of both sides shows and this machine lacks, with the directories above it and above what is contested; and all that is shown."""
    sources = {entry: item for item, table in tables.items() for entry in table.entries}
    registers: dict[str, set[Entry]] = {}
    for entry in sources:
        registers.setdefault(entry.path, set()).add(entry)
    other = Generation(theirs.vector, theirs.lamport, {path: frozenset(found) for path, found in registers.items()}, dict(theirs.tombstones))
    ours = Generation(head.vector, head.lamport, {path: frozenset([entry]) for path, entry in mine.items()}, dict(head.tombstones))
    shown = view(merge(ours, other))
    chosen = {path for path, entry in shown.items() if entry in sources and _lacks(mine.get(path), entry)}
    chosen = {path for path in chosen if all(above in shown for above in ancestors(path))}
    chosen.update(above for path in (*chosen, *contested) for above in ancestors(path) if above in shown)
    return {path: (shown[path], sources.get(shown[path])) for path in chosen}, shown


def _check_room(store: "Store", wanted: "dict[str, tuple[Entry, PackRef | None]]") -> None:
    """A table may promise any size: what doesn't fit isn't begun, since it would take the room of the build that wants it."""
    found, needed = os.statvfs(store.root), sum(entry.size for entry, _ in wanted.values())
    if needed > found.f_bavail * found.f_frsize:
        raise NoSpace(f"there is no room for {needed >> 20} MiB more of it", code="volume.no-room", hint="`chandlery prune` makes some")


def _lacks(mine: Entry | None, theirs: Entry) -> bool:
    """A file that was published is the same here, where its digest may not be known yet and a hard link be what it is."""
    return mine is None or mine.version != theirs.version


def _complete(vector: VersionVector, theirs: RemoteHead, lacking: list[PackRef]) -> VersionVector:
    """The vector afterwards: it moves for no writer of whom something is lacking, so that it is asked for again."""
    held_back = {slot for item in lacking for slot, _ in item.by.seen}
    return vector.joined(VersionVector(tuple([(slot, count) for slot, count in theirs.vector.seen if slot not in held_back])))


def _put_on_top(store: "Store", row: VolumeRow, entries: tuple[Entry, ...], new: str, vector: VersionVector, version: Version) -> None:
    """`version` is this store's next, whether it wrote something under it or not."""
    layers: tuple[Layer, ...] = ()
    if any(not entry.is_directory for entry in entries) or (entries and not row.head.layers):
        materialise.write_table(new, entries)
        name = fresh_name()
        os.rename(new, attaching.layer_directory(store, row.id, name))
        reach("volume.pulled")
        by = VersionVector(tuple([(slot, vector.count(slot)) for slot in sorted({entry.version.slot for entry in entries})]))
        layers = (Layer(name, len(entries), sum(entry.size for entry in entries), by, store.boot_id, is_hashed=True),)
    with store.db.transaction(durable=False) as tx:
        head = volume_row(tx.execute(FIND_BY_ID, (row.id,))[0]).head
        # the commit lock is held: only a fold can have come in between, which changes no content
        lamport = version.lamport if vector.covers(version) else version.lamport - 1
        after = replace(head, number=head.number + 1, vector=vector, lamport=lamport, layers=(*head.layers, *layers))
        advance(tx, row.id, head, replace(after, slot=version.slot, home=store.home))

"""`publish`: show others what is new in a volume here.

A pack of it is stored, then a head under a name that nobody used before, which names all packs and absorbs the heads that were read; those are deleted
afterwards, each only if it still is what was read. Whoever is killed in between has shown nothing, or left a head that the next one absorbs. No lock is held.
"""

from functools import partial, reduce

from chandlery.content.race import reach
from chandlery.errors import ChandleryError, NotFound, RegistryError, StoreError
from chandlery.values import replace, value
from chandlery.volume import attaching, bundles, compaction, materialise, notes, pack_reader, reads, reconciling, remote_head, shared, tombstones
from chandlery.volume import pack as packs
from chandlery.volume.adapters import known
from chandlery.volume.head import FIND, SHARED_INSTANCE, VolumeRow, volume_row
from chandlery.volume.key import VolumeKey
from chandlery.volume.merge import precedence
from chandlery.volume.objects import Objects, is_object
from chandlery.volume.pack import PackRef
from chandlery.volume.pack_reader import PackReader
from chandlery.volume.pack_writer import Writer, opener
from chandlery.volume.protocol import HeadName
from chandlery.volume.remote_head import RemoteHead, Seen
from chandlery.volume.sharing_rules import forms_of, may_share
from chandlery.volume.telling import Telling
from chandlery.volume.tombstones import is_removed
from chandlery.volume.tree import EMPTY_VECTOR, Entry, EntryType, VersionVector, ancestors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.oci.digest import Digest
    from chandlery.volume.bundles import Bundle
    from chandlery.volume.protocol import VolumeRemote

# heads that others absorbed and couldn't delete: so many are tried again at once
_MOST_LEFTOVERS = 64


@value
class PublishReport:
    """`left_out` are the paths that must not leave this machine because of what they contain; `seen` what the remote shows now; `has_told`: by a new head."""

    files: int = 0
    bytes_sent: int = 0
    left_out: tuple[str, ...] = ()
    seen: Seen = Seen()
    has_told: bool = False


def publish(
    store: "Store",
    remote: "VolumeRemote",
    key: VolumeKey,
    *,
    secrets: tuple[bytes, ...] = (),
    elsewhere: VersionVector = EMPTY_VECTOR,
    before: Seen | None = None,
    broken: "Collection[Digest]" = (),
    told: Telling = Telling(),
) -> PublishReport:
    """Show others what the volume holds and neither the remote's heads nor those elsewhere, which they read as well, have.

    `told` is what else they hear of this machine, `before` is what was seen earlier. `broken` packs are not named any more, and what is here of them is
    published again. Raises ChandleryError, OSError, ValueError; then others see what they saw.
    """
    rows = store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE))
    if not rows:
        return PublishReport()
    seen = remote_head.read_all(remote, before)
    if _is_contested(store, remote, volume_row(rows[0]).id, seen):
        # or nobody would merge the indexes of both
        shared.pull(store, (remote,), key)
        seen = remote_head.read_all(remote, seen)
    with store.begin() as session:
        found = attaching.hold_head(store, session, volume_row(rows[0]).id)
        if found is None:
            return PublishReport(seen=seen)
        row, attachment = found
        try:
            try:
                return _Publication(store, session, row, remote, seen, elsewhere, broken, told).run(forms_of(secrets))
            except RegistryError:
                gone = _gone_from(remote, seen)
                if not gone:
                    raise
                return _Publication(store, session, row, remote, seen, elsewhere, {*broken, *gone}, told).run(forms_of(secrets))
        finally:
            attachment.release()


def _gone_from(remote: "VolumeRemote", seen: Seen) -> "set[Digest]":
    """The blobs that a remote's heads name and it has lost: a registry refuses a manifest that names them."""
    return {digest for digest, _ in seen.head.blobs if not remote.has_blob(digest)}


def _is_contested(store: "Store", remote: "VolumeRemote", volume_id: str, seen: Seen) -> bool:
    """Whether somebody published, since the last pull, another version of an index that was changed here."""
    with attaching.kept_head(store, volume_id) as kept:
        if kept is None:
            return False
        session, row, _ = kept
        new = remote_head.needed(tuple([item for item in seen.head.packs if not item.by <= row.head.vector]))
        if not new:
            return False
        scratch = session.scratch("k")
        copies = dict(seen.head.tables)
        readers = [PackReader(remote, item, f"{scratch}/{number}", shared.copy_of(item, copies, {})) for number, item in enumerate(new)]
        pack_reader.read_tables(readers, most_bytes_whole=0)
        tables = {reader.ref: reader.table.entries for reader in readers if reader.table is not None}
        mine = {path: entry for path, (entry, _) in _changed(store, row, seen.head.vector)[0].items()}
        return bool(reconciling.competing(row.head, mine, [head for _, head in seen.heads], tables))


def _changed(store: "Store", row: VolumeRow, before: VersionVector) -> tuple[dict[str, tuple[Entry, int]], list[str]]:
    """What a head shows in the layers that hold anything beyond a vector, and their directories: a large volume that grew by a file costs that file."""
    lowest = next((number for number, layer in enumerate(row.head.layers) if not layer.by <= before), len(row.head.layers))
    directories = [attaching.layer_directory(store, row.id, layer.name) for layer in row.head.layers[lowest:]]
    return materialise.shown([materialise.read_table(directory) for directory in directories]), directories


class _Publication:
    """One go. `row` is the volume's head, whose layers are kept meanwhile."""

    def __init__(
        self,
        store: "Store",
        session: "Session",
        row: VolumeRow,
        remote: "VolumeRemote",
        seen: Seen,
        elsewhere: VersionVector,
        broken: "Collection[Digest]",
        told: Telling,
    ) -> None:
        self._store, self._session, self._row, self._remote, self._seen = store, session, row, remote, seen
        theirs = seen.head
        self._bundles = tuple([bundle for bundle in theirs.bundles if bundle.digest not in broken])
        self._lamport = max(theirs.lamport, row.head.lamport)
        self._lost = [item for item in theirs.packs if item.digest in broken]
        self._packs = remote_head.needed(tuple([item for item in theirs.packs if item.digest not in broken]))
        # others' deltas may lie in several packs: of a writer of whom something was lost nothing counts as there
        lost = {slot for item in self._lost for slot, _ in item.by.seen}
        self._there = VersionVector(tuple([(slot, count) for slot, count in theirs.vector.seen if slot not in lost]))
        self._covered = self._there.joined(elsewhere)
        self._tombstones = tombstones.needed(tombstones.joined(theirs.tombstones, row.head.tombstones))
        self._objects = Objects(store)
        self._trees: list[str] = []
        self._told = told

    def run(self, forbidden: tuple[bytes, ...]) -> PublishReport:
        has_news = not self._row.head.vector <= self._covered
        chosen = self._beyond(self._covered) if has_news else {}
        if not (chosen or self._lost or self._tombstones != self._seen.head.tombstones or self._has_read()):
            return PublishReport(seen=self._seen)
        victims = self._victims(sum(entry.size for entry, _ in chosen.values()))
        own = VersionVector(tuple([(slot, count) for slot, count in self._row.head.vector.seen if count > self._covered.count(slot)]))
        path = f"{self._session.scratch('p')}/pack"
        writer = Writer(path, forbidden)
        try:
            files = self._write(writer, chosen, victims)
            if torn := {unit for left in writer.left_out if (unit := known.unit_of(left))}:
                writer.leave_out(lambda other: known.unit_of(other) in torn)
            by = reduce(VersionVector.joined, [reader.ref.by for reader in victims], own)
            made = replace(writer.finish(by), replaces=compaction.replaced(victims)) if chosen or victims else None
        finally:
            writer.close()
        self._objects.record()
        kept = tuple([item for item in self._packs if all(item is not reader.ref for reader in victims)])
        seen = self._show(path, kept, made, writer.table, own)
        return PublishReport(files - len(chosen.keys() & set(writer.left_out)), made.size_bytes if made else 0, tuple(writer.left_out), seen, has_told=True)

    def _has_read(self) -> bool:
        """Whether it is worth a head that others hear what was read here. Where nobody published anything, nobody trims by it."""
        return self._told.is_reason and bool(self._seen.heads) and self._own_notes().adds_to(self._heard())

    def _heard(self) -> notes.Notes:
        return notes.united(map(notes.decode, self._seen.head.notes))

    def _own_notes(self) -> notes.Notes:
        """What others haven't heard of this machine."""
        slot, is_known = self._row.head.slot, self._row.head.vector.count(self._row.head.slot) > 0
        machines = {slot: self._told.machine} if self._told.machine and is_known else {}
        if self._told.since is None:
            return notes.Notes(0, {}, machines)
        read = notes.of_reads(reads.load(f"{self._store.layout.volumes}/{self._row.id}"), self._told.since)
        return replace(read, machines=machines)

    def _beyond(self, vector: VersionVector) -> dict[str, tuple[Entry, int]]:
        """The entries that may leave and that `vector` doesn't cover, with what is above them; and the numbers of the trees they are in."""
        head = self._row.head
        shown, directories = _changed(self._store, self._row, vector)
        self._trees = [f"{directory}/{materialise.TREE}" for directory in directories]
        failed = {step for layer in head.layers for step in layer.failed}
        removed = dict(self._tombstones)
        chosen = {
            path
            for path, (entry, _) in shown.items()
            if not vector.covers(entry.version)
            and (entry.version.slot, entry.version.sequence) not in failed
            and not is_removed(entry, removed)
            and may_share(entry)
        }
        chosen.update(above for path in tuple(chosen) for above in ancestors(path) if above in shown)
        return {path: shown[path] for path in chosen}

    def _victims(self, added_bytes: int) -> list[PackReader]:
        """The packs that become one with the new one."""
        chosen = compaction.to_merge(self._packs, added_bytes)
        scratch = self._session.scratch("k") if chosen else ""
        readers = compaction.fetched(PackReader(self._remote, item, f"{scratch}/{number}") for number, item in enumerate(chosen))
        if len(self._packs) - len(readers) >= remote_head.MAX_PACKS:
            raise StoreError(f"{self._remote.name} has too many packs, and not all could be fetched to make one of them", code="volume.too-many-packs")
        return readers

    def _write(self, writer: Writer, chosen: dict[str, tuple[Entry, int]], victims: list[PackReader]) -> int:
        """Everything into one pack, at each path what wins; how many files are from here."""
        old = compaction.winners(victims, dict(self._tombstones))
        reach("volume.compacting")
        for path, (entry, _) in chosen.items():
            older = old.get(path)
            if older is not None and precedence(older[0].version) <= precedence(entry.version):
                del old[path]
        directories = {path: entry for found in (chosen, old) for path, (entry, _) in found.items() if entry.is_directory}
        for entry in packs.parents_first(directories.values()):
            writer.add(entry, None)
        for reader in victims:
            compaction.copy(writer, reader, partial(_is_from, old, reader))
        files = 0
        for path in sorted(chosen):
            entry, index = chosen[path]
            if not entry.is_directory and path not in old:
                files += self._add(writer, entry, f"{self._trees[index]}/{path}", is_first_there=entry.target in chosen)
        return files

    def _add(self, writer: Writer, entry: Entry, file: str, *, is_first_there: bool) -> int:
        if entry.type is EntryType.SYMLINK:
            writer.add(entry, None)
            return 0
        if entry.type is EntryType.HARD_LINK:
            # a file of its own for others, too: what it is linked to may not be shared, or be superseded before they see it
            entry = replace(entry, type=EntryType.FILE, sha256="", target=entry.target if is_first_there else "")
        sha256 = writer.add(entry, opener(file))
        named = replace(entry, sha256=sha256)
        if is_object(named):
            # the next volume that wants it needn't fetch it
            self._objects.share(file, named)
        return 1

    def _show(self, path: str, kept: tuple[PackRef, ...], made: PackRef | None, table: bytes, own: VersionVector) -> Seen:
        if made is not None:
            self._remote.put_blob(path, made.digest, made.size_bytes)
            reach("volume.blob-published")
        named = (*kept, made) if made is not None else kept
        # not what the packs say: of a writer of whom one pack was lost, others may be left, and who has all of it must see that it is lacking
        vector = self._there.joined(own)
        absorbed = (*self._seen.names, *self._seen.leftovers)
        told = notes.encode(notes.united((self._heard(), self._own_notes())))
        at_hand = {**dict(self._seen.head.tables), **({made.table_sha256: table} if made is not None else {})}
        tables = remote_head.small_tables(named, at_hand)
        bundled = self._bundled([item for item in named if item.table_sha256 not in dict(tables)], at_hand)
        after = RemoteHead(vector, self._lamport, named, self._tombstones, tuple([name.slot for name in absorbed]), (told,), tables, bundled)
        name = self._remote.put_head(remote_head.fresh_head_name(self._seen), remote_head.encode(after), after.blobs)
        reach("volume.head-published")
        left = self._delete(absorbed)
        gone = {digest for digest, _ in self._seen.head.blobs} - {digest for digest, _ in after.blobs}
        if gone and not left and not self._seen.warnings:
            self._collect(after, gone)
        return Seen(((name, after),), left)

    def _bundled(self, packs: list[PackRef], at_hand: "Mapping[str, bytes]") -> "tuple[Bundle, ...]":
        """They save others requests, and nothing depends on them."""
        if len(packs) <= bundles.MOST_REQUESTS:
            return ()
        try:
            return bundles.arranged(self._remote, packs, self._bundles, at_hand, self._session.scratch("b"))
        except (ChandleryError, OSError):
            return self._bundles

    def _collect(self, after: RemoteHead, unnamed: "Collection[Digest]") -> None:
        """Now that blobs are in use no more. Heads that came since, or that this version can't read, may name others: then nobody knows."""
        now = remote_head.read_all(self._remote)
        if not now.warnings and not now.leftovers:
            self._remote.collect([digest for digest, _ in (*after.blobs, *now.head.blobs)], unnamed)

    def _delete(self, absorbed: "tuple[HeadName, ...]") -> "tuple[HeadName, ...]":
        """Delete heads that are absorbed; those that are still there."""
        for number, old in enumerate(absorbed[: len(self._seen.names) + _MOST_LEFTOVERS]):
            try:
                if not self._remote.delete_head(old):
                    return absorbed[number:]
            except (ChandleryError, OSError) as failure:
                if not isinstance(failure, NotFound):
                    return absorbed[number:]
        return absorbed[len(self._seen.names) + _MOST_LEFTOVERS :]


def _is_from(winners: "Mapping[str, tuple[Entry, PackReader]]", reader: PackReader, entry: Entry) -> bool:
    found = winners.get(entry.path)
    return found is not None and found[0] is entry and found[1] is reader

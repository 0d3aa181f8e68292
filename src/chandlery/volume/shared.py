"""`pull`: merge what others published into the volume here. What is wanted is fetched into scratch with no lock held, so no step's commit waits for a
transfer; then the commit lock is taken, and what was fetched gives way to what the head became meanwhile. A pull that fails leaves all as it was.

At each path the larger precedence wins (merge.py); tombstones of any head remove what they cover, here and for good.
"""

import os
from functools import partial, reduce

from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.errors import ChandleryError, MachineError, NoSpace
from chandlery.linux.flock import FileLock
from chandlery.values import replace, value
from chandlery.volume import attaching, bundles, committing, fetch, materialise, notes, pack_reader, reconciling, remote_head, removing, seen_before, tombstones
from chandlery.volume.adapters import known
from chandlery.volume.at_hand import AtHand
from chandlery.volume.head import FIND_BY_ID, SHARED_INSTANCE, Head, Layer, VolumeRow, advance, find_or_create, fresh_slot, slot_of, volume_row
from chandlery.volume.key import VolumeKey
from chandlery.volume.merge import precedence, shown_of
from chandlery.volume.objects import Objects, is_object
from chandlery.volume.pack import PackRef
from chandlery.volume.pack_reader import PackReader
from chandlery.volume.remote_head import RemoteHead, Seen
from chandlery.volume.tree import EMPTY_VECTOR, Entry, Version, VersionVector, ancestors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.oci.digest import Digest
    from chandlery.volume.bundles import BundleReader
    from chandlery.volume.problem import Problem
    from chandlery.volume.protocol import VolumeRemote

    Wanted = dict[str, tuple[Entry, PackRef | None]]
    Tables = dict[PackRef, tuple[Entry, ...]]

_COMMIT_TIMEOUT_S = 60.0
# a few files that come to a large volume
_FEW_FILES, _MANY_ENTRIES = 2000, 5000
# a pack of this size comes whole even where less of it may be wanted; and of that, on a machine that has nothing yet
_WHOLE_BYTES, _FRESH_WHOLE_BYTES = 128 << 10, 16 << 20


@value
class Look:
    """What one remote showed: `seen` is None where its heads are those of an earlier pull, or could not be read (`error`). `vector` is what they cover."""

    remote: "VolumeRemote"
    seen: Seen | None = None
    names: tuple[str, ...] = ()
    vector: VersionVector = EMPTY_VECTOR
    error: Exception | None = None


@value
class PullReport:
    """`looks` in the order of the remotes; `files` and `bytes_added` are new here, of which `files_moved` and `bytes_moved` came over the wire."""

    looks: tuple[Look, ...]
    files: int = 0
    bytes_added: int = 0
    files_moved: int = 0
    bytes_moved: int = 0
    broken: "frozenset[Digest]" = frozenset()
    warnings: "tuple[Problem, ...]" = ()


def pull(store: "Store", remotes: "Sequence[VolumeRemote]", key: VolumeKey, *, looks: tuple[Look, ...] | None = None) -> PullReport:
    """Merge the remotes' heads into the volume's, as `looks` had them a moment ago. Raises ChandleryError, OSError, ValueError; then nothing has changed."""
    if looks is None:
        looks = look_at(store, remotes, key)
    warnings = tuple([warning for look in looks if look.seen is not None for warning in look.seen.warnings])
    if not any(look.seen is not None and look.seen.heads for look in looks):
        return PullReport(looks, warnings=warnings)
    with store.begin() as session:
        with store.db.transaction(durable=False) as tx:
            volume_id = find_or_create(tx, key, SHARED_INSTANCE).id
            session.lease(tx, "volume", volume_id)
            os.makedirs(f"{store.layout.volumes}/{volume_id}", 0o700, exist_ok=True)
        _keep_notes(f"{store.layout.volumes}/{volume_id}", looks)
        report = _Pull(store, session, key, volume_id, looks).run()
    if not report.warnings and not warnings:
        seen_before.remember(store, volume_id, looks)
    return replace(report, warnings=(*warnings, *report.warnings))


def _keep_notes(directory: str, looks: "Sequence[Look]") -> None:
    """Statistics: whoever fails to keep them has lost them, and says nothing."""
    try:
        notes.keep(directory, [text for look in looks if look.seen is not None for text in look.seen.head.notes])
    except (MachineError, OSError):
        return


def look_at(store: "Store", remotes: "Sequence[VolumeRemote]", key: VolumeKey) -> tuple[Look, ...]:
    """List the heads of all remotes side by side, and read those that are not known to be merged."""
    before = seen_before.recall(store, key)

    def look(remote: "VolumeRemote") -> Look:
        try:
            names = remote.heads()
            listed = tuple([name.slot for name in names])
            merged = before.get(remote.address)
            if merged is not None and merged[0] == listed:
                return Look(remote, None, listed, merged[1])
            seen = remote_head.read_all(remote, names=names) if names else Seen()
            return Look(remote, seen, listed, seen.head.vector)
        except (ChandleryError, OSError, ValueError) as broken:
            return Look(remote, error=broken)

    if len(remotes) == 1:
        return (look(remotes[0]),)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max(1, len(remotes))) as pool:
        return tuple(pool.map(look, remotes))


class _Pull:
    """One pull into the volume `volume_id`."""

    def __init__(self, store: "Store", session: "Session", key: VolumeKey, volume_id: str, looks: tuple[Look, ...]) -> None:
        self._store, self._session, self._key, self._volume_id, self._looks = store, session, key, volume_id, looks
        self._sides = [(look.remote, head) for look in looks if look.seen is not None for _, head in look.seen.heads]
        self._theirs = reduce(remote_head.united, [head for _, head in self._sides], RemoteHead())
        self._objects = Objects(store)
        self._readers: dict[PackRef, PackReader] = {}
        self._warnings: list[Problem] = []
        self._at_hand: AtHand | None = None
        self._may_ask = True
        # by all attempts
        self._files_moved = self._bytes_moved = 0
        self._bundles: list[BundleReader] = []

    def run(self) -> PullReport:
        """Fetch, then take the lock. Where the head has moved meanwhile it is all done again with the lock held, from what was fetched already, and that
        alone: nobody waits for a remote with a lock."""
        report = self._attempt()
        if report is None:
            self._may_ask = False
            for reader in self._readers.values():
                reader.stop_asking()
            with self._locked():
                report = self._attempt(is_last=True)
        assert report is not None
        return report

    def _locked(self) -> FileLock:
        return FileLock(f"{self._store.layout.volumes}/{self._volume_id}/commit.lock", timeout_s=_COMMIT_TIMEOUT_S)

    def _attempt(self, *, is_last: bool = False) -> PullReport | None:
        held = attaching.hold_head(self._store, self._session, self._volume_id)
        if held is None:
            return PullReport(self._looks)
        row, attachment = held
        try:
            if not self._has_news(row.head):
                return PullReport(self._looks)
            self._read_tables(row.head)
            plan = _Plan(self._store, row, [head for _, head in self._sides], self._theirs, self._tables())
            _check_room(self._store, plan.wanted)
            new = f"{self._session.scratch('r')}/l"
            os.mkdir(new, 0o700)
            attachment.hold(new)
            self._at_hand = at_hand = AtHand(self._objects, plan.mine.values(), plan.path_of, before=self._at_hand, knows_all=not plan.is_partial)
            return self._fetched(plan, new, at_hand, is_last=is_last)
        finally:
            attachment.release()

    def _fetched(self, plan: "_Plan", new: str, at_hand: AtHand, *, is_last: bool) -> PullReport | None:
        tree = f"{new}/{materialise.TREE}"
        fetched = fetch.build_tree(self._readers, plan.wanted, tree, at_hand)
        indexes = reconciling.contents(self._readers, plan.contested, plan.shown, plan.files(plan.contested), self._session.scratch("i"), at_hand)
        self._files_moved += fetched.files
        self._bytes_moved += fetched.size_bytes
        reach("volume.fetched")
        lacking = (*fetched.missing, *indexes.missing)
        if is_last:
            entries = self._settle(plan, new, fetched.entries, indexes, lacking)
        else:
            with self._locked():
                if not self._is_still(plan.row.head):
                    return None
                entries = self._settle(plan, new, fetched.entries, indexes, lacking)
        self._tidy(plan)
        files = [entry for entry in entries if not entry.is_directory]
        broken = frozenset([item.digest for item, reader in self._readers.items() if reader.is_lost()])
        broken |= {reader.bundle.digest for reader in self._bundles if reader.is_broken}
        warnings = (*self._warnings, *fetched.warnings, *indexes.warnings)
        size_bytes = sum(entry.size for entry in files)
        moved = min(self._files_moved, len(files)), min(self._bytes_moved, size_bytes)
        return PullReport(self._looks, len(files), size_bytes, *moved, broken, warnings)

    def _has_news(self, head: Head) -> bool:
        return not self._theirs.vector <= head.vector or tombstones.joined(head.tombstones, self._theirs.tombstones) != head.tombstones

    def _is_still(self, before: Head) -> bool:
        """Whether nothing was committed meanwhile; a fold changes no content, but what was held is its layers."""
        now = committing.current(self._store, self._volume_id)
        return now is not None and (now.head.vector, now.head.layers, now.head.tombstones) == (before.vector, before.layers, before.tombstones)

    def _read_tables(self, head: Head) -> None:
        """Of the packs that say something new. One that stands for others is read for them, and they for it if it can't be."""
        places = {item: remote for remote, theirs in reversed(self._sides) for item in theirs.packs if not item.by <= head.vector}
        most = _FRESH_WHOLE_BYTES if not head.layers and self._objects.is_empty() else _WHOLE_BYTES
        scratch = self._session.scratch("k")
        left = tuple([item for item in places if item not in self._readers])
        copies = dict(self._theirs.tables)
        while chosen := remote_head.needed(left):
            files = {item: f"{scratch}/{item.digest.hex}-{item.table_at}" for item in chosen}
            bundled = self._bundled([item for item in chosen if item.size_bytes > most and item.table_sha256 not in copies], scratch)
            readers = [PackReader(places[item], item, files[item], copy_of(item, copies, bundled)) for item in chosen]
            self._readers.update((reader.ref, reader) for reader in readers)
            for reader in readers if not self._may_ask else ():
                reader.stop_asking()
            problems = pack_reader.read_tables(readers, most_bytes_whole=most)
            self._warnings.extend(problems)
            if not problems:
                return
            left = tuple([item for item in left if item not in self._readers])

    def _bundled(self, packs: list[PackRef], scratch: str) -> "dict[str, BundleReader]":
        found = bundles.readers([(remote, head.bundles) for remote, head in self._sides], packs, scratch) if self._may_ask else {}
        self._bundles.extend(found.values())
        return found

    def _tables(self) -> "Tables":
        """Without what the projects of other scopes made themselves."""
        return {
            item: tuple([entry for entry in reader.table.entries if entry.only_in in ("", self._key.scope)])
            for item, reader in self._readers.items()
            if reader.table is not None
        }

    def _settle(self, plan: "_Plan", new: str, entries: tuple[Entry, ...], indexes: reconciling.Contents, lacking: tuple[PackRef, ...]) -> tuple[Entry, ...]:
        """With the commit lock held: on top of the head."""
        tree = f"{new}/{materialise.TREE}"
        entries = reconciling.without_torn_units(tree, entries, plan.wanted)
        self._share(tree, entries)
        vector = plan.row.head.vector.joined(self._covered(lacking))
        version = _next_version(self._store, plan.row.head, self._theirs, vector)
        if indexes.merged:
            entries = reconciling.written(tree, entries, indexes.merged, plan.shown, version)
            vector = vector.advanced(version.slot, version.sequence)
        entries = materialise.with_hard_links(tree, entries)
        _put_on_top(self._store, plan.row, entries, new, vector, version, self._theirs)
        return entries

    def _covered(self, lacking: tuple[PackRef, ...]) -> VersionVector:
        """What of theirs is here afterwards: nothing of a writer of whom something is lacking, so that it is asked for again."""
        unread = [item for item, reader in self._readers.items() if reader.table is None]
        held_back = {slot for item in (*unread, *lacking) for slot, _ in item.by.seen}
        return VersionVector(tuple([(slot, count) for slot, count in self._theirs.vector.seen if slot not in held_back]))

    def _share(self, tree: str, entries: tuple[Entry, ...]) -> None:
        """What was fetched once is fetched for no other volume."""
        for entry in entries:
            if is_object(entry):
                self._objects.share(f"{tree}/{entry.path}", entry)
        self._objects.record()

    def _tidy(self, plan: "_Plan") -> None:
        """Take out what must not be shown any more."""
        if plan.alien:
            removing.leave_out(self._store, self._volume_id, plan.alien)
        if tombstones.joined(plan.row.head.tombstones, self._theirs.tombstones) != plan.row.head.tombstones:
            tombstones.take_out(self._store, self._session, self._volume_id, self._theirs.tombstones)


def copy_of(ref: PackRef, copies: dict[str, bytes], bundled: "dict[str, BundleReader]") -> "Callable[[], bytes]":
    if ref.table_sha256 in bundled:
        return partial(bundled[ref.table_sha256].table, ref.table_sha256)
    table = copies.get(ref.table_sha256, b"")
    return lambda: table


class _Plan:
    """What a pull makes of the head `row`, whose layers are held: what is wanted, and what will be seen."""

    def __init__(self, store: "Store", row: VolumeRow, heads: list[RemoteHead], theirs: RemoteHead, tables: "Tables") -> None:
        self.row = row
        directories = [attaching.layer_directory(store, row.id, layer.name) for layer in row.head.layers]
        self._trees = [f"{directory}/{materialise.TREE}" for directory in directories]
        self._layers, self.is_partial = _relevant(row.head, directories, tables)
        self.mine = {path: entry for path, (entry, _) in self._layers.items()}
        contested = reconciling.competing(row.head, self.mine, heads, tables)
        wanted, self.shown = _wanted(row.head, self.mine, theirs, tables, contested)
        self.contested = {path: found for path, found in contested.items() if all(above in self.shown for above in (*ancestors(path), path))}
        self.wanted, self.alien = reconciling.with_whole_units(wanted, self.mine, self.shown)

    def path_of(self, entry: Entry) -> str:
        """The file of one of `mine`."""
        return f"{self._trees[self._layers[entry.path][1]]}/{entry.path}"

    def files(self, paths: "Iterable[str]") -> dict[str, str]:
        return {path: self.path_of(self.mine[path]) for path in paths if path in self.mine}


def _relevant(head: Head, directories: list[str], tables: "Tables") -> tuple[dict[str, tuple[Entry, int]], bool]:
    """What the head shows that `tables` may have to do with; whether that isn't all.

    A few files that come to a large volume meet only what is at their paths and above, unless one takes the place of a directory or belongs to a unit.
    """
    files = {entry.path for table in tables.values() for entry in table if not entry.is_directory}
    if not tables:
        return {}, True
    if len(files) <= _FEW_FILES and head.entries >= _MANY_ENTRIES and not any(map(known.unit_of, files)):
        paths = files | {entry.path for table in tables.values() for entry in table} | {above for path in files for above in ancestors(path)}
        found = materialise.shown([materialise.read_entries(directory, paths) for directory in directories])
        if not any(path in found and found[path][0].is_directory for path in files):
            return found, True
    return materialise.shown([materialise.read_table(directory) for directory in directories]), False


def _next_version(store: "Store", head: Head, theirs: RemoteHead, vector: VersionVector) -> Version:
    """What this store writes next, above all that either side has. Somebody else may go under its slot: a copy, which must not be taken for it."""
    is_copied = theirs.vector.count(head.slot) > head.vector.count(head.slot)
    slot = fresh_slot() if is_copied else slot_of(head, store.home)
    return Version(max(head.lamport, theirs.lamport) + 1, slot, vector.count(slot) + 1)


def _wanted(head: Head, mine: "dict[str, Entry]", theirs: RemoteHead, tables: "Tables", contested: "Iterable[str]") -> "tuple[Wanted, dict[str, Entry]]":
    """What the merge of both sides shows and this machine lacks, with the directories above it and above what is contested; and all that is shown.

    Theirs are packs of many writers, and not all of them were read: that their heads cover a version doesn't tell that one of these has superseded it.
    """
    removed = dict(tombstones.joined(head.tombstones, theirs.tombstones))
    best: Wanted = {path: (entry, None) for path, entry in mine.items() if not tombstones.is_removed(entry, removed)}
    rivals: dict[str, list[Entry]] = {}
    for item, entries in tables.items():
        for entry in entries:
            if tombstones.is_removed(entry, removed):
                continue
            known_best = best.get(entry.path)
            if known_best is not None and known_best[0].version != entry.version:
                rivals.setdefault(entry.path, [known_best[0]]).append(entry)
            if known_best is None or precedence(known_best[0].version) < precedence(entry.version):
                best[entry.path] = (entry, item)
    shown = shown_of({path: entry for path, (entry, _) in best.items()}, lambda path: rivals.get(path) or [best[path][0]])
    theirs_alone = (path for path, entry in shown.items() if best[path][1] is not None or best[path][0] is not entry)
    chosen = {path for path in theirs_alone if _lacks(mine.get(path), shown[path])}
    chosen = {path for path in chosen if all(above in shown for above in ancestors(path))}
    chosen.update(above for path in (*chosen, *contested) for above in ancestors(path) if above in shown)
    return {path: best[path] if best[path][0] is shown[path] else (shown[path], None) for path in chosen}, shown


def _check_room(store: "Store", wanted: "Wanted") -> None:
    """A table may promise any size: what doesn't fit isn't begun, since it would take the room of the build that wants it."""
    found, needed = os.statvfs(store.root), sum(entry.size for entry, _ in wanted.values())
    if needed > found.f_bavail * found.f_frsize:
        raise NoSpace(f"there is no room for {needed >> 20} MiB more of it", code="volume.no-room", hint="`chandlery prune` makes some")


def _lacks(mine: Entry | None, theirs: Entry) -> bool:
    """A file that was published is the same here, where its digest may not be known yet and a hard link be what it is."""
    return mine is None or mine.version != theirs.version


def _put_on_top(store: "Store", row: VolumeRow, entries: tuple[Entry, ...], new: str, vector: VersionVector, version: Version, theirs: RemoteHead) -> None:
    """`version` is this store's next, whether it wrote something under it or not."""
    layers: tuple[Layer, ...] = ()
    if any(not entry.is_directory for entry in entries) or (entries and not row.head.layers):
        materialise.write_table(new, entries)
        name = fresh_name()
        os.rename(new, attaching.layer_directory(store, row.id, name))
        reach("volume.pulled")
        size_bytes = sum(entry.size for entry in entries)
        layers = (Layer(name, len(entries), size_bytes, _written(entries), store.boot_id, is_hashed=True, is_fetched=True),)
    with store.db.transaction(durable=False) as tx:
        head = volume_row(tx.execute(FIND_BY_ID, (row.id,))[0]).head
        # the commit lock is held: only a fold can have come in between, which changes no content
        after = replace(
            head,
            number=head.number + 1,
            slot=version.slot,
            vector=vector,
            lamport=version.lamport if vector.covers(version) else version.lamport - 1,
            layers=(*head.layers, *layers),
            tombstones=tombstones.joined(head.tombstones, theirs.tombstones),
            home=store.home,
        )
        advance(tx, row.id, head, after)


def _written(entries: tuple[Entry, ...]) -> VersionVector:
    """The deltas that entries are of."""
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.version.slot] = max(entry.version.sequence, counts.get(entry.version.slot, 0))
    return VersionVector(tuple(sorted(counts.items())))

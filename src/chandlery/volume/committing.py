"""Keeping what a step added to a volume.

The upper is normalised where it lies (capture.py). If the head has moved since, the delta gives way where it lost; then the directory is
renamed into place and one transaction puts it on top of the head. Steps that end at the same moment do the last part one after the other, some
milliseconds each; they hold nothing while they run.
"""

import os

from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.linux.flock import FileLock
from chandlery.linux.removal import remove_tree
from chandlery.values import replace, value
from chandlery.volume import adapting, adopting, attaching, capture, materialise, observing
from chandlery.volume.adapters.adapter import MutableName
from chandlery.volume.attachment import Attachment
from chandlery.volume.deletions import Deletions
from chandlery.volume.head import FIND_BY_ID, Head, Layer, VolumeRow, advance, slot_of, volume_row
from chandlery.volume.history import StepUse
from chandlery.volume.merge import losers
from chandlery.volume.tree import EMPTY_VECTOR, MAX_COUNT, Delta, Entry, Version, VersionVector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from chandlery.content.store import Store

# a path that isn't in the upper layers is looked for in each (10-45 us a layer, studies/storage.md); beyond this many they are folded
MOST_LAYERS = 8
_COMMIT_TIMEOUT_S = 60.0


@value
class CommitReport:
    """`files` and `bytes_added` are what the step added or changed, at `paths`; `generation` is the head afterwards, made of `layers` directories.
    `observed` are the mutable names that the step may have resolved."""

    files: int = 0
    bytes_added: int = 0
    generation: int = 0
    layers: int = 0
    warning: str = ""
    observed: tuple[MutableName, ...] = ()
    paths: tuple[str, ...] = ()
    use: StepUse | None = None


def commit(store: "Store", attachment: Attachment, deletions: Deletions, *, succeeded: bool) -> CommitReport:
    """The caller releases the attachment's locks afterwards."""
    if not attachment.upper:
        held = _held(store, attachment, _touched(attachment))
        throw_away(attachment)
        return CommitReport(generation=attachment.base.number, layers=len(attachment.base.layers), observed=held)
    trash = f"{attachment.scratch}/t"
    os.mkdir(trash)
    expected = _version(attachment, attachment.base, store.home)
    captured = capture.capture(attachment.upper, attachment.lowers, expected, shared=attachment.shared, stubs=attachment.stubs, trash=trash)
    reach("volume.captured")
    if not attachment.starts_empty:
        deletions.note(attachment.session.id, attachment.volume_id, captured)
    # what was read and then written, or only touched, is in the upper; what was moved may be read anywhere
    written = [entry.path for entry in captured.entries if not entry.is_directory]
    held = _held(store, attachment, _touched(attachment, written) if not captured.deleted else None)
    observed = observing.distinct((*observing.in_entries(attachment.upper, captured.entries), *held))
    judged = adapting.judged(attachment.upper, captured, attachment.lowers, succeeded=succeeded, scope=attachment.key.scope)
    adopted = adopting.adopted(store, attachment, captured) if succeeded else {}
    judged = replace(judged, entries=_with_adopted(attachment, judged.entries, adopted))
    if capture.changes_nothing(judged.entries, attachment.lowers):
        report = CommitReport(generation=attachment.base.number, layers=len(attachment.base.layers))
    else:
        with FileLock(f"{store.layout.volumes}/{attachment.volume_id}/commit.lock", timeout_s=_COMMIT_TIMEOUT_S):
            report = _publish(store, attachment, judged, succeeded=succeeded, adopted=adopted.keys())
    throw_away(attachment)
    return replace(report, observed=observed)


def _with_adopted(attachment: Attachment, entries: tuple[Entry, ...], adopted: "dict[str, Entry]") -> tuple[Entry, ...]:
    if not adopted:
        return entries
    found = adapting.with_found(attachment.upper, entries, attachment.lowers, sorted(adopted))
    return tuple([replace(entry, only_in=adopted[entry.path].only_in) if entry.path in adopted else entry for entry in found])


def _touched(attachment: Attachment, written: "Iterable[str]" = ()) -> list[str] | None:
    """The paths that the step read, wrote or listed, a directory with a "/" behind it; None: it could not be watched."""
    return [*attachment.read, *written, *(f"{path}/" for path in attachment.listed)] if attachment.read is not None else None


def _held(store: "Store", attachment: Attachment, touched: "Iterable[str] | None") -> tuple[MutableName, ...]:
    """The mutable names that the step could read in the volume, having touched those paths (None: any). What a plain directory holds isn't known."""
    if attachment.plain_directory:
        return (MutableName("plain-volume", attachment.key.name),)
    if attachment.starts_empty:
        return ()
    directories = [attaching.layer_directory(store, attachment.volume_id, layer.name) for layer in attachment.base.layers]
    layers = [(directory, f"{directory}/{materialise.TREE}") for directory in directories]
    return observing.held(layers, materialise.read_table, frozenset(touched) if touched is not None else None)


def throw_away(attachment: Attachment) -> None:
    """Remove the step's scratch."""
    if attachment.scratch:
        remove_tree(attachment.scratch)
        attachment.scratch = ""


def current(store: "Store", volume_id: str) -> VolumeRow | None:
    rows = store.db.read(FIND_BY_ID, (volume_id,))
    return volume_row(rows[0]) if rows else None


def _publish(store: "Store", attachment: Attachment, judged: adapting.Judged, *, succeeded: bool, adopted: "Set[str]") -> CommitReport:
    """With the volume's commit lock held, so that nobody else's delta comes in between (a fold may: it changes no content)."""
    found = current(store, attachment.volume_id)
    head = found.head if found is not None else Head()
    version = _version(attachment, head, store.home)
    # what others may have of a failed step, and what they may not, are two deltas
    last = version if succeeded or not judged.vouched else replace(version, sequence=version.sequence + 1)
    entries = _with_versions(judged, version, last)
    if unseen := _unseen(store, attachment.volume_id, head, _seen(attachment)):
        entries = adapting.taken_out(attachment.upper, entries, {entry.path for entry in unseen if entry.path in adopted})
        entries = _merged(attachment, entries, version, unseen, head, attaching.layer_trees(store, attachment.volume_id, head))
    mine = [entry for entry in entries if entry.version.slot == version.slot and entry.version.sequence >= version.sequence]
    if not mine:
        return CommitReport(generation=head.number, layers=len(head.layers))
    layer = _settle_in(store, attachment, entries, last)
    if not succeeded:
        layer = replace(layer, failed=((last.slot, last.sequence),))
    after = _put_on_top(store, attachment.volume_id, layer, last, max(entry.version.lamport for entry in mine))
    files = [entry for entry in mine if not entry.is_directory and entry.path not in adopted]
    size_bytes = layer.size_bytes - sum(entry.size for entry in mine if entry.path in adopted)
    return CommitReport(len(files), size_bytes, after.number, len(after.layers), paths=tuple([entry.path for entry in files]))


def _with_versions(judged: adapting.Judged, version: Version, last: Version) -> tuple[Entry, ...]:
    if last == version:
        entries = judged.entries
        return entries if entries[0].version == version else tuple([replace(entry, version=version) for entry in entries])
    return tuple([replace(entry, version=version if entry.path in judged.vouched else last) for entry in judged.entries])


def _merged(
    attachment: Attachment, entries: tuple[Entry, ...], version: Version, unseen: list[Entry], head: Head, layers: tuple[str, ...]
) -> tuple[Entry, ...]:
    """What remains of the step's delta beside those that it didn't see: adapters first, then one side wins in all else."""
    entries = adapting.without_known_units(attachment.upper, entries, unseen)
    entries, agreed = adapting.with_merged_indexes(attachment.upper, entries, unseen, layers, max(head.lamport, version.lamport))
    lost = losers(Delta(version, _seen(attachment), entries), [entry for entry in unseen if entry.path not in agreed])
    return materialise.give_way(attachment.upper, entries, lost) if lost else entries


def _version(attachment: Attachment, head: Head, home: str) -> Version:
    """What the delta is called if `head` is the head when it is committed."""
    slot = slot_of(head, home)
    lamport = min(attachment.base.lamport + 1, MAX_COUNT)
    return Version(0 if attachment.starts_empty else lamport, slot, head.vector.count(slot) + 1)


def _seen(attachment: Attachment) -> VersionVector:
    return EMPTY_VECTOR if attachment.starts_empty else attachment.base.vector


def _unseen(store: "Store", volume_id: str, head: Head, seen: VersionVector) -> list[Entry]:
    """What the head shows that the step hasn't seen. Reads the tables of the layers that hold any of it, none if the head hasn't moved."""
    tables = [materialise.read_table(attaching.layer_directory(store, volume_id, layer.name)) for layer in head.layers if not layer.by <= seen]
    return [entry for entry, _ in materialise.shown(tables).values() if not seen.covers(entry.version)]


def _settle_in(store: "Store", attachment: Attachment, entries: tuple[Entry, ...], version: Version) -> Layer:
    """Give the upper its table and its name among the volume's layers."""
    source = os.path.dirname(attachment.upper)
    materialise.write_table(source, entries)
    name = fresh_name()
    reach("volume.described")
    os.rename(source, attaching.layer_directory(store, attachment.volume_id, name))
    reach("volume.renamed")
    size_bytes = sum(entry.size for entry in entries)
    return Layer(name, len(entries), size_bytes, EMPTY_VECTOR.advanced(version.slot, version.sequence), store.boot_id)


def _put_on_top(store: "Store", volume_id: str, layer: Layer, version: Version, lamport: int) -> Head:
    with store.db.transaction(durable=False) as tx:
        head = volume_row(tx.execute(FIND_BY_ID, (volume_id,))[0]).head
        after = Head(
            head.number + 1,
            version.slot,
            head.vector.advanced(version.slot, version.sequence),
            max(head.lamport, lamport),
            (*head.layers, layer),
            head.tombstones,
            store.home,
        )
        advance(tx, volume_id, head, after)
        reach("volume.advancing")
    return after

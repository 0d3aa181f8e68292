"""What several volumes hold together, for somebody who isn't of their scopes: of each what may leave it, merged path by path.

Earlier volumes win: a unit that one of them has is that one's, whole; index files are made to serve all. No clock and no order of writing counts, so the
same contents give the same union on any machine.
"""

from chandlery.errors import StoreError
from chandlery.values import replace
from chandlery.volume import attaching, inventory, materialise
from chandlery.volume.adapters import known
from chandlery.volume.entry_tar import in_order
from chandlery.volume.head import FIND, SHARED_INSTANCE, volume_row
from chandlery.volume.sharing_rules import may_share
from chandlery.volume.tree import Entry, EntryType, Version, ancestors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.volume.attachment import Attachment
    from chandlery.volume.key import VolumeKey

    Files = dict[str, tuple[Entry, str]]

# an index is small; a larger file of such a name is something else
_LARGEST_INDEX = 16 << 20
_ROOT = Entry("", EntryType.DIRECTORY, 0o755, 0, 0, 0, Version(0, "", 0))


class Union:
    """Entries and the files that have their content, which stay until the end of the `with` block. For one session."""

    def __init__(self, store: "Store", session: "Session") -> None:
        self._store = store
        self._session = session
        self._held: list[Attachment] = []
        self._files: Files = {"": (_ROOT, "")}
        self._units: set[str] = set()

    def __enter__(self) -> "Union":
        return self

    def __exit__(self, *_: object) -> None:
        for attachment in self._held:
            attachment.release()

    def add(self, key: "VolumeKey") -> int:
        """Add a volume; how many files it brought that weren't there. Raises StoreError volume.unknown."""
        files = self._may_leave(key)
        before = len(self._files)
        units = {unit for path in files if (unit := known.unit_of(path))}
        for path in sorted(files, key=lambda path: path.split("/")):
            entry, file = files[path]
            if known.unit_of(path) not in self._units and not self._is_below_a_file(path):
                self._add(entry, file)
        self._units |= units
        return len(self._files) - before

    def files(self) -> list[tuple[Entry, str]]:
        """Everything, directories before what is in them."""
        return [self._files[entry.path] for entry in in_order(entry for entry, _ in self._files.values())]

    def _add(self, entry: Entry, file: str) -> None:
        there = self._files.get(entry.path)
        if there is None or not entry.path:
            self._files[entry.path] = (entry, file)
        elif _is_index(entry) and _is_index(there[0]):
            merged = known.merge_index(entry.path, _read(there[1]), _read(file))
            if merged is not None:
                place = self._session.scratch_file("u")
                with open(place, "xb") as written:
                    written.write(merged)
                self._files[entry.path] = (replace(there[0], type=EntryType.FILE, size=len(merged), sha256="", target=""), place)

    def _is_below_a_file(self, path: str) -> bool:
        return any(above in self._files and not self._files[above][0].is_directory for above in ancestors(path))

    def _may_leave(self, key: "VolumeKey") -> "Files":
        """What the volume shows to others: neither credentials nor what its project installed itself, nor what a failed step left."""
        rows = self._store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE))
        held = attaching.hold_head(self._store, self._session, volume_row(rows[0]).id) if rows else None
        if held is None:
            raise inventory.unknown_volume(key)
        row, attachment = held
        self._held.append(attachment)
        directories = [attaching.layer_directory(self._store, row.id, layer.name) for layer in row.head.layers]
        shown = materialise.shown([materialise.read_table(directory) for directory in directories])
        failed = {step for layer in row.head.layers for step in layer.failed}
        left = {
            path
            for path, (entry, _) in shown.items()
            if not entry.is_directory and not entry.only_in and (entry.version.slot, entry.version.sequence) not in failed and may_share(entry)
        }
        filled = {above for path in shown for above in ancestors(path)}
        kept = left | {above for path in left for above in ancestors(path)} | {path for path, (entry, _) in shown.items() if entry.is_directory} - filled
        return {path: (shown[path][0], f"{directories[shown[path][1]]}/{materialise.TREE}/{path}") for path in kept if path in shown}


def _is_index(entry: Entry) -> bool:
    return entry.type in (EntryType.FILE, EntryType.HARD_LINK) and entry.size <= _LARGEST_INDEX and known.is_index(entry.path)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as failure:
        raise StoreError(f"a file of a cache volume can't be read: {failure}", code="volume.damaged", hint="run chandlery volume verify") from failure

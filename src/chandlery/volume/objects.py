"""R/objects: the contents of files of cache volumes, each once, whatever volumes show it.

An object is a file R/objects/<2 hex>/<key> that volumes link to. Mode, owner and time belong to the inode, so the key is the sha256 of the content, and
half the sha256 over (mode, uid, gid, mtime_ns, attributes); what has one content is found by listing. What must stay true:

* an object appears whole, by link, under the key of what was read from it; putting it again changes nothing;
* an object that changed is never linked out again: size and modification time must be what was recorded, and where the change time is
  another one (which a link made since, or a kill between link and record, explains as well) the content is read again;
* files below 4 KiB are no objects: sharing them costs more than it saves. A file with too many links (EMLINK) is copied.
"""

import errno
import hashlib
import os

from chandlery.linux.atomic import remove_if_there
from chandlery.oci import canonical
from chandlery.volume import nodes
from chandlery.volume.tree import Entry, EntryType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store

SMALLEST_BYTES = 4096
# rows a transaction: other builds' transactions get their turn in between
_BATCH = 500
# so many are noted before they are recorded: the keys of a large volume's objects are a quarter of a kilobyte each
_MOST_NEW = 10_000


def sha256_of(path: str) -> str:
    """The digest of a file's content, without following a link."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(entry: Entry) -> str:
    """The object that holds an entry's content and metadata."""
    xattrs = {name: content.hex() for name, content in entry.xattrs}
    return entry.sha256 + hashlib.sha256(canonical.encode([entry.mode, entry.uid, entry.gid, entry.mtime_ns, xattrs])).hexdigest()[:32]


def is_object(entry: Entry) -> bool:
    return entry.type is EntryType.FILE and entry.size >= SMALLEST_BYTES and entry.sha256 != ""


class Objects:
    """The object store of one `Store`. Call `record()` when a round of `share` is over; what isn't recorded is only checked again."""

    def __init__(self, store: "Store") -> None:
        self._root = store.layout.objects
        self._db = store.db
        self._new: dict[str, tuple[int, int, int]] = {}
        self._names: dict[str, list[str]] = {}

    def path(self, key: str) -> str:
        return f"{self._root}/{key[:2]}/{key}"

    def find(self, entry: Entry) -> str:
        """The sound object with an entry's content and metadata; "" if there is none."""
        key = key_of(entry)
        return self.path(key) if self._is_sound(key, self.path(key), entry) else ""

    def with_content(self, sha256: str) -> list[str]:
        """Objects that once had this content, under whatever metadata."""
        directory = f"{self._root}/{sha256[:2]}"
        if sha256[:2] not in self._names:
            try:
                self._names[sha256[:2]] = os.listdir(directory)
            except FileNotFoundError:
                self._names[sha256[:2]] = []
        return [f"{directory}/{name}" for name in self._names[sha256[:2]] if name.startswith(sha256)]

    def is_empty(self) -> bool:
        """Whether there is no object at all."""
        with os.scandir(self._root) as listing:
            return next(listing, None) is None

    def share(self, path: str, entry: Entry) -> str:
        """Make the file at `path`, which `entry` describes, an object; or find the one that is there. Where to link it from.

        It is `path` itself when there is no sound object and none could be made.
        """
        key = key_of(entry)
        target = self.path(key)
        if self._is_sound(key, target, entry):
            return target
        for _ in range(2):
            try:
                os.link(path, target, follow_symlinks=False)
                self._note(key, target)
                return target
            except FileExistsError:
                if self._is_sound(key, target, entry):
                    return target
                os.unlink(target)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                break
        return path

    def link_out(self, source: str, target: str) -> None:
        """Make `target` the same inode as `source`, an object or a file of a layer; a copy where it has too many links already."""
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            nodes.copy(source, target, os.lstat(source))
            return
        if source.startswith(self._root + "/"):
            self._note(os.path.basename(source), source)

    def record(self) -> None:
        """Remember the state in which objects were left."""
        rows = [(key, *state) for key, state in self._new.items()]
        self._new = {}
        for start in range(0, len(rows), _BATCH):
            with self._db.transaction(durable=False) as tx:
                tx.execute_many(
                    "INSERT INTO volume_object (key, size_bytes, mtime_ns, ctime_ns) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (key) DO UPDATE SET size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns",
                    rows[start : start + _BATCH],
                )

    def sweep(self) -> int:
        """Remove objects that no volume links to; how many."""
        removed = 0
        for directory in os.listdir(self._root):
            with os.scandir(f"{self._root}/{directory}") as listing:
                lonely = [entry.name for entry in listing if entry.stat(follow_symlinks=False).st_nlink == 1]
            for start in range(0, len(lonely), _BATCH):
                batch = lonely[start : start + _BATCH]
                with self._db.transaction(durable=False) as tx:
                    tx.execute_many("DELETE FROM volume_object WHERE key = ?", [(key,) for key in batch])
                for key in batch:
                    remove_if_there(self.path(key))
                removed += len(batch)
        return removed

    def _is_sound(self, key: str, target: str, entry: Entry) -> bool:
        try:
            found = os.lstat(target)
        except FileNotFoundError:
            return False
        state = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if state[:2] != (entry.size, entry.mtime_ns):
            return False
        if self._new.get(key) == state or self._db.read("SELECT size_bytes, mtime_ns, ctime_ns FROM volume_object WHERE key = ?", (key,)) == [state]:
            return True
        is_sound = sha256_of(target) == entry.sha256 and nodes.kept_mode(found.st_mode) == entry.mode and (found.st_uid, found.st_gid) == (entry.uid, entry.gid)
        if is_sound:
            self._new[key] = state
        return is_sound

    def _note(self, key: str, target: str) -> None:
        found = os.lstat(target)
        self._new[key] = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if len(self._new) >= _MOST_NEW:
            self.record()

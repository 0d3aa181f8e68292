"""`UseBook`: what the steps of a build had of its volumes, told to the build at once and written down when it is over (reads.py, history.py).

Statistics: whatever goes wrong here is silent, and no step waits for it.
"""

import time
from _thread import allocate_lock

from chandlery.errors import ChandleryError
from chandlery.volume import attaching, history, materialise, reads, watching
from chandlery.volume.history import StepUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store
    from chandlery.volume.attachment import Attachment
    from chandlery.volume.committing import CommitReport
    from chandlery.volume.key import VolumeKey


_LONGEST_NAME = 500


class UseBook:
    """Of one build. Safe to share between threads."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._lock = allocate_lock()
        self._uses: dict[str, list[StepUse]] = {}
        self._read: dict[str, set[str]] = {}
        self._unwatched: set[str] = set()
        self._used: dict[str, VolumeKey] = {}

    def note(self, attachment: "Attachment", report: "CommitReport", *, step: str, succeeded: bool, fetched: tuple[int, int]) -> StepUse:
        """A step is over; `fetched` are the files and bytes that came for it."""
        read = attachment.read
        changed = frozenset(report.paths)
        served = {path: size for path, size in read.items() if path not in changed} if read is not None else None
        use = StepUse(
            time.time(),
            attachment.session.id,
            step[:_LONGEST_NAME],
            succeeded,
            attachment.key.name,
            served_files=len(served) if served is not None else -1,
            served_bytes=sum(served.values()) if served is not None else -1,
            fetched_files=fetched[0],
            fetched_bytes=fetched[1],
            added_files=report.files,
            added_bytes=report.bytes_added,
            generation=report.generation,
        )
        with self._lock:
            self._used[attachment.volume_id] = attachment.key
            self._uses.setdefault(attachment.volume_id, []).append(use)
            self._read.setdefault(attachment.volume_id, set()).update(read or ())
            if read is None and attachment.lowers:
                self._unwatched.add(attachment.volume_id)
        return use

    def write(self) -> tuple[str, ...]:
        """Write down what was noted since the last time; the ids of the volumes that steps have had so far."""
        with self._lock:
            uses, self._uses = self._uses, {}
            read, self._read = self._read, {}
            unwatched, self._unwatched = self._unwatched, set()
        for volume_id, steps in uses.items():
            directory = f"{self._store.layout.volumes}/{volume_id}"
            try:
                history.append(directory, steps)
                paths = read[volume_id]
                is_blind = volume_id in unwatched and not self._guess(volume_id, directory, paths)
                reads.note(directory, paths, is_blind=is_blind)
            except (ChandleryError, OSError, ValueError):
                continue
        return tuple(self._used)

    def keys(self) -> "tuple[VolumeKey, ...]":
        """The volumes that steps have had so far."""
        return tuple(dict.fromkeys(self._used.values()))

    def _guess(self, volume_id: str, directory: str, paths: set[str]) -> bool:
        """Add to `paths` what an unwatched step may have read, which takes a look at every file. False where that can't be told."""
        if reads.load(directory).blind == reads.today():
            return False
        with self._store.begin() as session:
            held = attaching.hold_head(self._store, session, volume_id)
            if held is None:
                return False
            row, attachment = held
            try:
                trees = attaching.layer_trees(self._store, row.id, row.head)
                tables = [materialise.read_table(attaching.layer_directory(self._store, row.id, layer.name)) for layer in row.head.layers]
                files = {path: f"{trees[index]}/{path}" for path, (entry, index) in materialise.shown(tables).items() if not entry.is_directory}
                paths.update(watching.in_memory(files))
                return True
            except OSError:
                return False
            finally:
                attachment.release()

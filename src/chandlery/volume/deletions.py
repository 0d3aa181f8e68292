"""What steps of a running build deleted from cache volumes: true for the later steps of that build, and for nobody else.

The deleted paths are kept in memory with their build, and shown to its next step by one more lower on top of the head: a directory of
whiteouts. Nothing of it is ever committed.
"""

import os
import stat
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.capture import Captured


class Deletions:
    """Of all builds of this process. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._paths: dict[tuple[str, str], frozenset[str]] = {}

    def note(self, session_id: str, volume_id: str, captured: "Captured") -> None:
        """A step is over: what it deleted is deleted, what it made is there again."""
        key = (session_id, volume_id)
        made = {entry.path for entry in captured.entries}
        with self._lock:
            deleted = (self._paths.get(key, frozenset()) - made) | frozenset(captured.deleted)
            if deleted:
                self._paths[key] = deleted
            else:
                self._paths.pop(key, None)

    def forget(self, session_id: str) -> None:
        with self._lock:
            for key in [key for key in self._paths if key[0] == session_id]:
                del self._paths[key]

    def hide(self, session_id: str, volume_id: str, layers: tuple[str, ...], target: str) -> bool:
        """Make the directory `target` of whiteouts for what the build deleted and `layers` still show; False if there is nothing to hide."""
        from chandlery.volume import nodes

        with self._lock:
            deleted = self._paths.get((session_id, volume_id), frozenset())
        hidden = [path for path in sorted(deleted) if nodes.lookup(layers, path)]
        if not hidden:
            return False
        made: list[str] = []
        for path in hidden:
            _make_parents(layers, os.path.dirname(path), target, made)
            os.mknod(f"{target}/{path}", stat.S_IFCHR, 0)
        for directory in reversed(made):
            source = nodes.lookup(layers, directory)
            nodes.set_metadata(f"{target}/{directory}", os.lstat(source), nodes.attributes(source))
        return True


def _make_parents(layers: tuple[str, ...], directory: str, target: str, made: list[str]) -> None:
    """Make what is missing of `directory` below `target`; `made` tells which, parents first."""
    path = f"{target}/{directory}" if directory else target
    if os.path.isdir(path):
        return
    if directory:
        _make_parents(layers, os.path.dirname(directory), target, made)
    os.mkdir(path)
    made.append(directory)

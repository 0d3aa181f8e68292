"""`Attachment`: a volume lent to one step, and the locks that keep what it stands on.

The locks are shared flocks on the layers' directories, so they end with the process; a layer that nobody has locked and no head names is
garbage. The step's own upper is locked the same way from its first moment, so it is safe while it turns into a layer.
"""

import fcntl
import os

from chandlery.volume.head import Head
from chandlery.volume.key import VolumeKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.session import Session
    from chandlery.linux.flock import FileLock


class Attachment:
    """What the worker mounts: `lowers` (bottom first) with `upper` and `work` as an overlay with metacopy=on,redirect_dir=on; read-only
    without `upper`; or `plain_directory` alone, as a bind mount. `warning` is for the user when the volume isn't what it should be."""

    def __init__(self, session: "Session", key: VolumeKey, volume_id: str) -> None:
        self.session = session
        self.key = key
        self.volume_id = volume_id
        self.lowers: tuple[str, ...] = ()
        self.upper = ""
        self.work = ""
        self.plain_directory = ""
        self.warning = ""
        # what the step read of what was there, with sizes; None: it could not be watched
        self.read: dict[str, int] | None = None
        # the directories that it opened, as far as that can be seen
        self.listed: set[str] = set()
        # what the step's delta is relative to: nothing, for a step that starts empty; `shared` are the lowers that others see, too
        self.base = Head()
        self.shared: tuple[str, ...] = ()
        self.scratch = ""
        self.stubs: tuple[str, ...] = ()
        self.starts_empty = False
        self.lock: FileLock | None = None
        self._held: list[int] = []

    def hold(self, directory: str) -> bool:
        """Keep a directory from being swept; False if it is gone. Also keeps it when it gets another name."""
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._held.append(fd)
        fcntl.flock(fd, fcntl.LOCK_SH)
        return True

    def release_layers(self) -> None:
        """Give back the layers, but not the turn with a locked volume."""
        while self._held:
            os.close(self._held.pop())

    def release(self) -> None:
        """Give back every lock. May be called twice."""
        self.release_layers()
        if self.lock is not None:
            self.lock.release()
            self.lock = None

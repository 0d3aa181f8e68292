"""Which files and directories of a mounted file system are opened, whoever opens them, in whatever mount namespace: fanotify(7).

Only notifications: nothing is ever held up, and if this process dies nobody notices. Opens are told apart by nothing but the path, which is that of the
namespace in which the file was opened, or from the mount's own root once that namespace is gone. Needs CAP_SYS_ADMIN in the first user namespace.
"""

import os
import stat
import struct

from chandlery.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FAN_CLOEXEC, _FAN_NONBLOCK, _FAN_UNLIMITED_QUEUE = 0x1, 0x2, 0x10
_FAN_MARK_ADD, _FAN_MARK_FILESYSTEM = 0x1, 0x100
_FAN_OPEN, _FAN_ONDIR = 0x20, 0x40000000
DELETED = " (deleted)"
IS_DIRECTORY = -1
_EVENT = struct.Struct("=IBBHQii")
# each event comes with a descriptor, of which a process may be allowed a thousand
_EVENTS_AT_ONCE = 64
_MOST_FAULTS = 100


class Opens:
    """What is opened on the file system whose mount is at `directory`, from now on. Close it before unmounting: what waits in it keeps the mount busy.

    Raises OSError where that is not permitted here.
    """

    def __init__(self, directory: str) -> None:
        # a pipe in the file system must not be waited for when its event is read
        self._group = libc.fanotify_init(_FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_UNLIMITED_QUEUE, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            libc.fanotify_mark(self._group, _FAN_MARK_ADD | _FAN_MARK_FILESYSTEM, _FAN_OPEN | _FAN_ONDIR, directory)
        except BaseException:
            os.close(self._group)
            raise

    def files(self) -> "Iterator[tuple[str, int]]":
        """(path, size) of opens that nobody has asked for yet, one for each open but for repetitions that the kernel has merged. Waits for nothing.

        A directory's size is IS_DIRECTORY. The path of a file that has been deleted ends with DELETED.
        """
        faults = 0
        while faults < _MOST_FAULTS:
            try:
                data = os.read(self._group, _EVENTS_AT_ONCE * _EVENT.size)
            except BlockingIOError:
                return
            except OSError:
                # a file that can't be opened any more takes its event along
                faults += 1
                continue
            for at in range(0, len(data), _EVENT.size):
                fd = _EVENT.unpack_from(data, at)[5]
                if fd >= 0:
                    try:
                        yield os.readlink(f"/proc/self/fd/{fd}"), _size(os.fstat(fd))
                    finally:
                        os.close(fd)

    def close(self) -> None:
        os.close(self._group)


def _size(found: os.stat_result) -> int:
    return IS_DIRECTORY if stat.S_ISDIR(found.st_mode) else found.st_size

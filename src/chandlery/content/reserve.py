"""A little space set aside, so that a store on a full disk can be pruned: deleting rows needs room for their log first."""

import os

from chandlery.linux import atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.layout import StoreLayout

RESERVED_BYTES = 1 << 20


def set_aside(layout: "StoreLayout") -> None:
    """Take the space if it isn't taken yet; that there is none now is no error."""
    try:
        fd = os.open(layout.reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        os.posix_fallocate(fd, 0, RESERVED_BYTES)
    except OSError:
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def give_up(layout: "StoreLayout") -> None:
    """Return the space to the file system; set it aside again when there is room."""
    atomic.remove_if_there(layout.reserve)

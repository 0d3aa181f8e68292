"""Where a file system puts new inodes, as far as one may ask.

ext4 puts a new directory near its parent, and its files near it. Without a journal, ext4 also won't reuse an inode that was deleted within the last five
minutes, and looks for others one by one (fs/ext4/ialloc.c, recently_deleted()). A store deletes whole trees and makes new ones beside the hole: 20,000
files then take ten seconds instead of one. A directory marked as the top of hierarchies (chattr(1), "T") has its children spread over the
disk instead, away from the holes.
"""

import fcntl
import os
import struct
import sys

_LONG = struct.calcsize("l")
# <linux/fs.h>: _IOR('f', 1, long) and _IOW('f', 2, long), though the kernel reads and writes an int
_GET_FLAGS = 0x80000000 | _LONG << 16 | 0x6601
_SET_FLAGS = 0x40000000 | _LONG << 16 | 0x6602
_TOP_OF_HIERARCHIES = 0x00020000


def spread_children(directory: str) -> bool:
    """Ask for directories made in `directory` from now on to be spread; whether the file system will. Never raises for one that can't."""
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = int.from_bytes(fcntl.ioctl(at, _GET_FLAGS, bytes(_LONG))[:4], sys.byteorder)
        fcntl.ioctl(at, _SET_FLAGS, (flags | _TOP_OF_HIERARCHIES).to_bytes(4, sys.byteorder) + bytes(_LONG - 4))
    except OSError:
        return False
    finally:
        os.close(at)
    return True

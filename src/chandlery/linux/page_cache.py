"""Whether the kernel has pages of a file in memory: cachestat(2), since Linux 6.5."""

import ctypes
import os

from chandlery.linux import libc


def is_cached(path: str) -> bool:
    """Raises OSError: ENOSYS where the kernel can't tell, EPERM for a file of somebody else."""
    found = (ctypes.c_uint64 * 5)()
    whole = (ctypes.c_uint64 * 2)(0, 0)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        libc.cachestat(fd, ctypes.addressof(whole), ctypes.addressof(found))
    finally:
        os.close(fd)
    return found[0] > 0

"""The C library, for kernel calls that Python doesn't have.

Every call raises OSError with the kernel's errno. Numbers are those of asm-generic, which every architecture shares for calls as new as
the mount API (424 and later); older calls go through the C library's own functions. Nothing here knows why a call is made.
"""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
SYS_MOUNT_SETATTR = 442
SYS_CACHESTAT = 451

AT_FDCWD = -100
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000


def syscall(number: int, *args: int | bytes | None) -> int:
    """A raw system call; integers are passed as longs, bytes as pointers to them."""
    converted = [ctypes.c_long(arg) if isinstance(arg, int) else ctypes.c_char_p(arg) for arg in args]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *converted)))


def mount(source: str, target: str, file_system: str, flags: int, data: str = "") -> None:
    """mount(2); `data` is at most one page."""
    _checked(
        int(_libc.mount(os.fsencode(source), os.fsencode(target), os.fsencode(file_system), ctypes.c_ulong(flags), os.fsencode(data) if data else None)),
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _checked(int(_libc.umount2(os.fsencode(target), ctypes.c_int(flags))), target)


def unshare(flags: int) -> None:
    """unshare(2), which acts on the calling thread alone."""
    _checked(int(_libc.unshare(ctypes.c_int(flags))))


def setns(fd: int, kind: int) -> None:
    """setns(2), which acts on the calling thread alone."""
    _checked(int(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind))))


def fanotify_init(flags: int, event_flags: int) -> int:
    """fanotify_init(2)."""
    return _checked(int(_libc.fanotify_init(ctypes.c_uint(flags), ctypes.c_uint(event_flags))))


def fanotify_mark(group: int, flags: int, mask: int, path: str) -> None:
    """fanotify_mark(2) of an absolute path."""
    _checked(int(_libc.fanotify_mark(ctypes.c_int(group), ctypes.c_uint(flags), ctypes.c_uint64(mask), ctypes.c_int(AT_FDCWD), os.fsencode(path))), path)


def cachestat(fd: int, whole_at: int, found_at: int) -> None:
    """cachestat(2); the addresses of its two structures."""
    _checked(int(_libc.syscall(ctypes.c_long(SYS_CACHESTAT), ctypes.c_int(fd), ctypes.c_void_p(whole_at), ctypes.c_void_p(found_at), ctypes.c_uint(0))))


def _checked(result: int, name: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result

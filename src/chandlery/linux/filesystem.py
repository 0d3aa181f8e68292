"""What kind of file system a path is on, making all of it durable, and what is mounted below a directory.

Magic numbers are those of <linux/magic.h> and of the file systems' own headers.
"""

import ctypes
import os
import stat

NFS = 0x6969
OVERLAY = 0x794C7630
FUSE = 0x65735546
TMPFS = 0x01021994
NINE_P = 0x01021997
SMB, SMB2, CIFS = 0x517B, 0xFE534D42, 0xFF534D42
AFS, CEPH = 0x5346414F, 0x00C36400

_libc = ctypes.CDLL(None, use_errno=True)


def type_of(path: str) -> int:
    """The f_type of statfs(2), as an unsigned 32 bit number."""
    # struct statfs begins with f_type, a long; the whole takes 120 bytes on 64 bit machines
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF


def sync(path: str) -> None:
    """syncfs(2): everything written so far to the file system of `path` is on the disk when this returns."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)


def sync_tree(path: str) -> None:
    """fsync(2) of the regular files and directories at and below `path`: for a few small files that is much less than a syncfs waits for."""
    for _, _, names, directory in os.fwalk(path):
        for name in names:
            if stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        os.fsync(directory)


def mounts_below(directory: str) -> list[str]:
    """Mount points strictly below `directory` in our mount namespace, deepest and latest first (proc_pid_mountinfo(5))."""
    prefix = directory.rstrip("/") + "/"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        points = [_unescape(line.split(" ", 5)[4]) for line in table]
    return [point for point in reversed(points) if point.startswith(prefix)]


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text

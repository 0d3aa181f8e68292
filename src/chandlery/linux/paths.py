"""Opening paths strictly beneath a root, whatever links and ".." the tree contains.

Every containment decision in the product is made here, by the kernel (openat2(2), Linux 5.6) or, where a seccomp filter hides it, by
walking components with O_NOFOLLOW: never by comparing strings. Paths are relative to a directory descriptor; a leading "/" means that
root. Two rules are offered:

`open_beneath`   RESOLVE_BENEATH: a link or ".." that would leave the root is refused (EXDEV).
`open_in_root`   RESOLVE_IN_ROOT: as inside a chroot: absolute links start at the root and ".." stops there. For names that mean
                 something inside an image: COPY sources and targets, /etc/passwd.

Both refuse magic links (/proc/*/fd). Errors are the kernel's OSError: callers know what the path was for and translate.
"""

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# openat2(2), <linux/openat2.h>; the number is the same on every architecture since it is newer than the unified table
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RESOLVE_IN_ROOT = 0x10
# path_resolution(7): the kernel gives up after 40 links with ELOOP
_MAX_LINKS = 40
# openat2(2): EAGAIN when a rename raced with ".."; the caller is to try again
_RACE_RETRIES = 64

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
DIRECTORY_NOFOLLOW = DIRECTORY | os.O_NOFOLLOW

_libc: "Any" = None
_openat2_works = True


def open_beneath(root_fd: int, path: str | bytes, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open `path` below `root_fd`; EXDEV where it would lead out. Returns a close-on-exec descriptor."""
    return _open(root_fd, os.fsencode(path), flags, mode, _RESOLVE_BENEATH)


def open_in_root(root_fd: int, path: str | bytes, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open `path` as a process would whose "/" is `root_fd`. Returns a close-on-exec descriptor."""
    return _open(root_fd, os.fsencode(path), flags, mode, _RESOLVE_IN_ROOT)


def make_dirs_beneath(root_fd: int, path: str | bytes, mode: int = 0o755) -> int:
    """Make the missing directories of `path` (exactly `mode`, whatever the umask) without following any link; a descriptor of the last.

    Raises ENOTDIR where a component is a link or no directory, EXDEV for "..".
    """
    here = os.open(".", DIRECTORY, dir_fd=root_fd)
    try:
        for name in _components(os.fsencode(path)):
            if name == b"..":
                raise OSError(errno.EXDEV, "'..' in a path to be made", os.fsdecode(path))
            below = _enter_or_make(here, name, mode)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def make_dirs_in_root(root_fd: int, path: str | bytes, mode: int = 0o755) -> int:
    """As `make_dirs_beneath`, but links are followed as `open_in_root` does; a dangling one is ENOTDIR."""
    parts = _components(os.fsencode(path))
    here = os.open(".", DIRECTORY, dir_fd=root_fd)
    try:
        for depth, name in enumerate(parts, 1):
            try:
                below = open_in_root(root_fd, b"/".join(parts[:depth]), DIRECTORY)
            except FileNotFoundError:
                below = _enter_or_make(here, name, mode)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _components(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _enter_or_make(parent_fd: int, name: bytes, mode: int) -> int:
    try:
        return os.open(name, DIRECTORY_NOFOLLOW, dir_fd=parent_fd)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, mode, dir_fd=parent_fd)
    except FileExistsError:
        return os.open(name, DIRECTORY_NOFOLLOW, dir_fd=parent_fd)
    fd = os.open(name, DIRECTORY_NOFOLLOW, dir_fd=parent_fd)
    os.fchmod(fd, mode)
    return fd


def _open(root_fd: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    # RESOLVE_BENEATH refuses absolute paths; here "/" always is the root, and an empty path is the root itself
    path = path.lstrip(b"/") or b"."
    if _openat2_works:
        fd = _openat2(root_fd, path, flags, mode, resolve | _RESOLVE_NO_MAGICLINKS)
        if fd is not None:
            return fd
    return _walk_open(root_fd, path, flags, mode, beneath=resolve == _RESOLVE_BENEATH)


def _openat2(root_fd: int, path: bytes, flags: int, mode: int, resolve: int) -> int | None:
    """The system call; None where the kernel or a seccomp filter doesn't let us have it."""
    global _libc, _openat2_works
    import ctypes

    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    creates = flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY)
    # openat2(2): a mode without O_CREAT or O_TMPFILE is EINVAL, unlike openat(2)
    how = (ctypes.c_uint64 * 3)((flags | os.O_CLOEXEC) & 0xFFFFFFFF, mode & 0o7777 if creates else 0, resolve)
    for _ in range(_RACE_RETRIES):
        fd: int = _libc.syscall(_SYS_OPENAT2, root_fd, ctypes.c_char_p(path), how, ctypes.c_size_t(24))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EPERM) and not _is_available(ctypes):
            _openat2_works = False
            return None
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), os.fsdecode(path))


def _is_available(ctypes: "Any") -> bool:
    """Whether openat2 works at all: EPERM is also an honest answer for a path, and what old seccomp profiles say for the call itself."""
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, 0)
    fd: int = _libc.syscall(_SYS_OPENAT2, -100, ctypes.c_char_p(b"/"), how, ctypes.c_size_t(24))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def _walk_open(root_fd: int, path: bytes, flags: int, mode: int, *, beneath: bool) -> int:
    """The same without openat2: one component at a time, links resolved by hand, ".." answered from the stack of what was opened."""
    pending = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
    opened: list[int] = []
    links = 0
    try:
        while pending:
            name = pending.pop()
            here = opened[-1] if opened else root_fd
            if name == b"..":
                if opened:
                    os.close(opened.pop())
                elif beneath:
                    raise OSError(errno.EXDEV, "leads out of its root", os.fsdecode(path))
                continue
            if not pending and (flags & os.O_NOFOLLOW or not _is_link(here, name)):
                return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
            if not _is_link(here, name):
                opened.append(os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here))
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))
            target = os.readlink(name, dir_fd=here)
            if target.startswith(b"/"):
                if beneath:
                    raise OSError(errno.EXDEV, "leads out of its root", os.fsdecode(path))
                _close_all(opened)
            pending.extend(part for part in reversed(target.split(b"/")) if part not in (b"", b"."))
        return os.open(".", (flags & ~os.O_CREAT) | os.O_CLOEXEC, dir_fd=opened[-1] if opened else root_fd)
    finally:
        _close_all(opened)


def _is_link(dir_fd: int, name: bytes) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())

"""Mounting and unmounting, each by the best way this kernel offers.

Everything acts in the calling thread's mount namespace (namespaces.enter_private_mounts makes it ours alone). An overlay mounts by
fsopen/fsconfig with `lowerdir+` (Linux 6.8), which has no limit on the number of layers short of the kernel's 500, or by mount(2), whose
options must fit one page: there every layer is an open directory and its option text is only the descriptor's number, resolved from a
thread that stands in /proc/thread-self/fd. https://docs.kernel.org/filesystems/overlayfs.html
"""

import errno
import os
from enum import StrEnum

from chandlery.errors import MachineError, NoSpace
from chandlery.linux import libc
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MS_SLAVE, MS_PRIVATE = 1 << 19, 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8

_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_MOVE_MOUNT_F_EMPTY_PATH = 4
_OPEN_TREE_CLONE, _AT_RECURSIVE, _AT_EMPTY_PATH = 1, 0x8000, 0x1000
_MOUNT_ATTR_RDONLY = 1
_FSCONFIG_STRING_MAX = 255


class MountMethod(StrEnum):
    """How an overlay comes to be; COPY means not at all: the caller copies trees instead."""

    FSCONFIG = "fsconfig"
    LEGACY = "legacy"
    COPY = "copy"


@value
class OverlayOptions:
    """`follows_renames` is redirect_dir=on, `copies_metadata_only` metacopy=on: only for uppers that we read ourselves, since a tar layer
    can express neither. `is_volatile` skips every sync of the upper, where the kernel knows how."""

    follows_renames: bool = False
    copies_metadata_only: bool = False
    is_volatile: bool = True


PLAIN = OverlayOptions()


def mount_overlay(
    target: str,
    lowers: "Sequence[str]",
    *,
    upper: str = "",
    work: str = "",
    options: OverlayOptions = PLAIN,
    method: MountMethod = MountMethod.FSCONFIG,
) -> None:
    """Mount `lowers` (bottom first) at the empty directory `target`, writable when `upper` and `work` are given, else read-only.

    Overlayfs wants a lower below an upper, and two lowers without one: the empty target itself stands in for what is missing.
    Raises MachineError "machine.no-overlay" or NoSpace.
    """
    missing = (0 if upper else 1) + 1 - len(lowers)
    stack = [target] * min(max(missing, 0), 1) + list(lowers)
    if not upper and not lowers:
        _with_errors(target, lambda: libc.mount("none", target, "tmpfs", MS_RDONLY, "size=4k,mode=0755"))
        return
    mounting = _mount_by_fsconfig if method is MountMethod.FSCONFIG else _mount_by_option_text
    _with_errors(target, lambda: mounting(target, stack, upper, work, options))


def probe_method(scratch: str) -> MountMethod:
    """The best way that works here, tried for real in the empty directory `scratch` (which must be on the store's file system)."""
    for method in (MountMethod.FSCONFIG, MountMethod.LEGACY):
        if _can_mount(scratch, method):
            return method
    return MountMethod.COPY


def bind(source: str, target: str, *, is_read_only: bool = False) -> None:
    """Make `source` and what is mounted below it appear at `target`, which must exist and be of its kind (directory or not)."""

    def act() -> None:
        libc.mount(source, target, "none", MS_BIND | MS_REC)
        if is_read_only:
            _make_read_only(target)

    _with_errors(target, act)


def mount_tmpfs(target: str, *, size_bytes: int = 0, mode: int = 0o755) -> None:
    """A file system in memory; `size_bytes` 0 is the kernel's default, half of the memory."""
    data = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes else "")
    _with_errors(target, lambda: libc.mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, data))


def unmount(target: str) -> None:
    """Unmount `target`; if something still uses it, it vanishes from the tree now and for good when its last user ends."""
    try:
        libc.umount(target, UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return
        if error.errno != errno.EBUSY:
            raise MachineError(f"can't unmount {target}: {error.strerror}", code="machine.unmount") from error
        libc.umount(target, MNT_DETACH | UMOUNT_NOFOLLOW)


def _mount_by_fsconfig(target: str, stack: "Sequence[str]", upper: str, work: str, options: OverlayOptions) -> None:
    held: list[int] = []
    context = libc.syscall(libc.SYS_FSOPEN, b"overlay", 1)
    held.append(context)
    try:
        for key, text in _settings(options).items():
            if text:
                _set_string(context, key, text)
            else:
                libc.syscall(libc.SYS_FSCONFIG, context, _FSCONFIG_SET_FLAG, key.encode(), None, 0)
        for lower in reversed(stack):
            _set_string(context, "lowerdir+", _short(lower, held))
        if upper:
            _set_string(context, "upperdir", _short(upper, held))
            _set_string(context, "workdir", _short(work, held))
        libc.syscall(libc.SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        mounted = libc.syscall(libc.SYS_FSMOUNT, context, 1, 0 if upper else _MOUNT_ATTR_RDONLY)
        held.append(mounted)
        libc.syscall(libc.SYS_MOVE_MOUNT, mounted, b"", libc.AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        for fd in held:
            os.close(fd)


def _set_string(context: int, key: str, text: str) -> None:
    libc.syscall(libc.SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(text), 0)


def _short(path: str, held: list[int]) -> str:
    """`path`, or where it is too long for an option or has characters that overlayfs unescapes, the name of an open descriptor of it."""
    if len(os.fsencode(path)) <= _FSCONFIG_STRING_MAX and not any(character in path for character in ",:\\"):
        return path
    held.append(os.open(path, os.O_PATH | os.O_DIRECTORY))
    return f"/proc/self/fd/{held[-1]}"


def _settings(options: OverlayOptions) -> dict[str, str]:
    """Overlay options; an empty text is a flag. Index is off so that a lower may be used by several mounts at once."""
    settings = {
        "redirect_dir": "on" if options.follows_renames else "off",
        "metacopy": "on" if options.copies_metadata_only else "off",
        "index": "off",
    }
    return settings | ({"volatile": ""} if options.is_volatile else {})


def _mount_by_option_text(target: str, stack: "Sequence[str]", upper: str, work: str, options: OverlayOptions) -> None:
    held = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (*reversed(stack), *((upper, work) if upper else ()), target)]
    try:
        numbers = [str(fd) for fd in held]
        parts = ["lowerdir=" + ":".join(numbers[: len(stack)])]
        if upper:
            parts += [f"upperdir={numbers[-3]}", f"workdir={numbers[-2]}"]
        parts += [f"{key}={text}" for key, text in _settings(options).items() if text]
        flags = 0 if upper else MS_RDONLY

        def act() -> None:
            libc.unshare(libc.CLONE_FS)
            os.chdir("/proc/thread-self/fd")
            try:
                libc.mount("overlay", target, "overlay", flags, ",".join(parts + (["volatile"] if options.is_volatile and upper else [])))
            except OSError as error:
                if error.errno != errno.EINVAL or not options.is_volatile:
                    raise
                libc.mount("overlay", target, "overlay", flags, ",".join(parts))  # before 5.10 there is no volatile

        in_thread(act)
    finally:
        for fd in held:
            os.close(fd)


def in_thread(act: "Callable[[], None]") -> None:
    """Run `act` in a thread of its own, so that what it changes of its thread (directory, namespaces) ends with it; its error is raised here."""
    import threading

    errors: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="chandlery-kernel-call")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _make_read_only(target: str) -> None:
    """The whole tree of mounts, where mount_setattr (5.12) is known; else its top only."""
    attributes = _MOUNT_ATTR_RDONLY.to_bytes(8, "little") + bytes(24)
    try:
        libc.syscall(libc.SYS_MOUNT_SETATTR, libc.AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, len(attributes))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        libc.mount("none", target, "none", MS_REMOUNT | MS_BIND | MS_RDONLY)


def _can_mount(scratch: str, method: MountMethod) -> bool:
    names = [os.path.join(scratch, name) for name in ("lower", "upper", "work", "merged")]
    for name in names:
        os.mkdir(name)
    lower, upper, work, merged = names
    try:
        mount_overlay(merged, [lower], upper=upper, work=work, method=method)
        unmount(merged)
        return True
    except MachineError:
        return False
    finally:
        import shutil

        for name in names:
            shutil.rmtree(name)


def _with_errors(target: str, act: "Callable[[], None]") -> None:
    try:
        act()
    except OSError as error:
        raise _translated(target, error) from error


def _translated(target: str, error: OSError) -> MachineError:
    what = f"can't mount {target}: {error.strerror}"
    if error.errno == errno.ENOSPC:
        return NoSpace(what, hint="free disk space, or raise fs.mount-max if the disk isn't full")
    if error.errno == errno.EPERM:
        return MachineError(what, code="machine.no-privilege", hint="run as root; inside a container, give it CAP_SYS_ADMIN and allow mount")
    return MachineError(
        what,
        code="machine.no-overlay",
        hint="the store must be on a file system that overlayfs can write to (ext4, xfs, btrfs, tmpfs); CHANDLERY_MOUNT=copy works without",
    )

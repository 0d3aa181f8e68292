"""Namespaces of this process's threads.

A thread that has entered a private mount namespace passes it on to the threads it starts, and the namespace ends with the last of them
however they end: after SIGKILL too no mount of ours is left. Nothing here is ever given a name in the file system.
"""

import os

from chandlery.errors import MachineError
from chandlery.linux import libc, mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_UNIFIED = "/sys/fs/cgroup/unified"


def enter_private_mounts() -> None:
    """Give the calling thread (and threads it starts from now on) mounts of their own; the machine's later mounts still arrive.

    In the hybrid cgroup layout the unified hierarchy is taken out of sight: crun refuses to start where it has a controller, and
    our cgroups are version 1 there.
    """
    try:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("none", "/", "none", mount.MS_REC | mount.MS_SLAVE)
        while os.path.ismount(_UNIFIED):
            libc.umount(_UNIFIED, mount.MNT_DETACH)
    except OSError as error:
        raise MachineError(
            f"can't make a private mount namespace: {error.strerror}",
            code="machine.no-privilege",
            hint="run as root; inside a container, give it CAP_SYS_ADMIN",
        ) from error


def new_network(prepare: "Callable[[], None]") -> int:
    """An open descriptor of a new network namespace, which lives as long as it; `prepare` runs inside it, in a thread of its own."""
    opened: list[int] = []

    def act() -> None:
        libc.unshare(libc.CLONE_NEWNET)
        prepare()
        opened.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    mount.in_thread(act)
    return opened[0]


def within_network(fd: int, act: "Callable[[], None]") -> None:
    """Run `act` in the network namespace `fd`, in a thread of its own."""

    def enter() -> None:
        libc.setns(fd, libc.CLONE_NEWNET)
        act()

    mount.in_thread(enter)

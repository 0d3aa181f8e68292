"""What a test leaves behind: mounts, processes, cgroups, namespaces and descriptors. A test that leaves some fails.

Others use this machine at the same time, so only what can be told to be this test run's counts: by its directory in a mount point or a command line,
by parentage, by our process id in a cgroup's name.
"""

import os
import time
from contextlib import contextmanager

GRACE_S = 3.0


def leftovers(directory: str, before: "dict[str, set[str]]") -> dict[str, set[str]]:
    """What is there now and wasn't in `before` (an earlier `snapshot`), after a moment for what ends by itself."""
    deadline = time.monotonic() + GRACE_S
    while True:
        now = snapshot(directory)
        left = {kind: now[kind] - before[kind] for kind in now if now[kind] - before[kind]}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def snapshot(directory: str) -> dict[str, set[str]]:
    return {
        "mounts": _mounts(directory),
        "processes": _processes(directory),
        "cgroups": _cgroups(),
        "links": {name for name in os.listdir("/sys/class/net") if name.startswith(("step", "tap"))},
        "descriptors": _descriptors(),
    }


@contextmanager
def none_left(directory: str):
    before = snapshot(directory)
    yield
    left = leftovers(directory, before)
    assert not left, f"left behind: {left}"


def _mounts(directory: str) -> set[str]:
    with open("/proc/thread-self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    return {point for point in points if point.startswith(directory)}


def _processes(directory: str) -> set[str]:
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                parent = file.read().rpartition(")")[2].split()[1]
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(pid) != os.getpid() and (int(parent) == os.getpid() or directory in command):
            found.add(f"{pid} {command}")
    return found


def _cgroups() -> set[str]:
    found = set()
    for controller in ("", *(os.listdir("/sys/fs/cgroup") if os.path.isdir("/sys/fs/cgroup") else ())):
        ours = os.path.join("/sys/fs/cgroup", controller, "chandlery")
        if os.path.isdir(ours):
            found |= {os.path.join(ours, name) for name in os.listdir(ours) if name.startswith(f"t{os.getpid()}")}
    return found


def _descriptors() -> set[str]:
    """By what they are, so that the closing and reopening of one number doesn't hide another."""
    found: dict[str, int] = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        kind = target if target.startswith("/") and not target.startswith("/proc/") else target.partition(":")[0]
        found[kind] = found.get(kind, 0) + 1
    return {f"{kind} #{number}" for kind, count in found.items() for number in range(count)}

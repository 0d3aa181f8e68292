"""A step as the `config.json` of an OCI bundle, with the confinement that Docker gives by default.

Pure but for the last function, which writes the bundle. https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md
"""

import json
import os

from chandlery.runtime.process import StepNetwork, StepSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Document = dict[str, Any]

CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
RUNTIME_TARGETS = ("/proc", "/dev", "/sys")
"""Directories that the runtime mounts on in every step."""


def config(
    spec: StepSpec,
    *,
    network_path: str = "",
    cgroup_path: str = "",
    seccomp: "Document | None" = None,
    annotations: "Mapping[str, str] | None" = None,
    has_terminal: bool = False,
) -> "Document":
    """The bundle's document. `network_path` is the namespace for an isolated step (empty: a new, empty one)."""
    linux: Document = {
        "namespaces": _namespaces(spec.network, network_path),
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READ_ONLY_PATHS),
        "resources": {"devices": [{"allow": False, "access": "rwm"}, *_allowed_devices()]},
    }
    if cgroup_path:
        linux["cgroupsPath"] = cgroup_path
    if seccomp is not None:
        linux["seccomp"] = seccomp
    document: Document = {
        "ociVersion": "1.0.2",
        "process": _process(spec) | {"terminal": has_terminal},
        "root": {"path": spec.rootfs, "readonly": False},
        "hostname": spec.hostname,
        "mounts": _mounts(spec),
        "linux": linux,
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return document


def write(directory: str, document: "Document") -> None:
    """Make `directory` a bundle; only its owner reads it, since it holds the step's environment."""
    fd = os.open(os.path.join(directory, "config.json"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(json.dumps(document))  # json.dump would go the slow way, without C


def _process(spec: StepSpec) -> "Document":
    granted = list(CAPABILITIES)
    effective = granted if spec.user.uid == 0 else []
    return {
        "user": {"uid": spec.user.uid, "gid": spec.user.gid, "additionalGids": list(spec.user.groups), "umask": 0o022},
        "args": list(spec.argv),
        "env": _environment(spec),
        "cwd": spec.cwd,
        # A user other than root has them bounding only, as in Docker: a set-uid program or file capabilities may raise them.
        "capabilities": {"bounding": granted, "effective": effective, "permitted": effective, "inheritable": [], "ambient": []},
        "rlimits": [{"type": f"RLIMIT_{limit.name.upper()}", "soft": _limit(limit.soft), "hard": _limit(limit.hard)} for limit in spec.ulimits],
        "noNewPrivileges": False,
        "oomScoreAdj": 0,
    }


def _environment(spec: StepSpec) -> list[str]:
    """The step's own, and HOME where it has none: the runtimes would each choose by a rule of their own."""
    has_home = any(entry.startswith("HOME=") for entry in spec.env)
    return list(spec.env) if has_home else [*spec.env, f"HOME={spec.user.home}"]


def _limit(number: int) -> int:
    return (1 << 64) - 1 if number < 0 else number


def _namespaces(network: StepNetwork, network_path: str) -> "list[Document]":
    found: list[Document] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    if network is StepNetwork.ISOLATED and network_path:
        found.append({"type": "network", "path": network_path})
    elif network is not StepNetwork.HOST:
        found.append({"type": "network"})
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        found.append({"type": "cgroup"})
    return found


def _mounts(spec: StepSpec) -> "list[Document]":
    quiet = ["nosuid", "noexec", "nodev"]
    shm = [*quiet, "mode=1777", f"size={spec.shm_size_bytes}"]
    found: list[Document] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*quiet, "relatime", "ro"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": shm},
    ]
    for mount in spec.mounts:
        if mount.kind == "tmpfs":
            options = ["nosuid", "nodev", f"mode={mount.mode:o}", *([f"size={mount.size_bytes}"] if mount.size_bytes else [])]
            found.append({"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options})
        else:
            access = "ro" if mount.is_read_only else "rw"
            found.append({"destination": mount.target, "type": "bind", "source": mount.source, "options": ["rbind", "rprivate", access]})
    return found


def _allowed_devices() -> "list[Document]":
    """What Docker's device cgroup allows; only a runtime that makes its own cgroup looks at it."""
    numbers = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None), (10, 200)]
    made: list[Document] = [{"allow": True, "type": kind, "access": "m"} for kind in "bc"]
    for major, minor in numbers:
        entry: Document = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        made.append(entry if minor is None else entry | {"minor": minor})
    return made

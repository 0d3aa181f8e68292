"""What a step is to a runtime, and how it ended, as values.

`StepSpec` is complete: ids are numbers (runtime.user resolved names), paths are absolute, mounts are ready to bind. Nothing here is hashed.
"""

from enum import StrEnum

from chandlery.linux.cgroup import UNLIMITED, Limits
from chandlery.values import value


class StepNetwork(StrEnum):
    """ISOLATED: the pool's namespace, the internet without this machine; NONE: loopback only; HOST: this machine's."""

    ISOLATED = "isolated"
    NONE = "none"
    HOST = "host"


@value
class RuntimeMount:
    """`source` on this machine appears at `target` in the step. `kind` "bind" or "tmpfs" (then `source` is "" and `size_bytes` may limit it)."""

    target: str
    source: str = ""
    kind: str = "bind"
    is_read_only: bool = False
    size_bytes: int = 0
    mode: int = 0o1777


@value
class StepUser:
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


@value
class Ulimit:
    """As `--ulimit name=soft:hard`; -1 is unlimited. `name` is lower case without prefix: "nofile"."""

    name: str
    soft: int
    hard: int


ROOT_USER = StepUser(home="/root")


@value
class StepSpec:
    """Run `argv` in the merged tree `rootfs`. `env` entries are KEY=value. `is_interactive`: the caller's terminal is the step's."""

    argv: tuple[str, ...]
    rootfs: str
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: StepUser = ROOT_USER
    hostname: str = "buildkitsandbox"
    network: StepNetwork = StepNetwork.ISOLATED
    mounts: tuple[RuntimeMount, ...] = ()
    limits: Limits = UNLIMITED
    shm_size_bytes: int = 64 << 20
    ulimits: tuple[Ulimit, ...] = ()
    is_interactive: bool = False


@value
class ExitStatus:
    """`code` is the command's, 128 + n for signal n, 126/127 where it couldn't be executed or found."""

    code: int
    was_oom_killed: bool = False
    was_cancelled: bool = False
    timed_out: bool = False

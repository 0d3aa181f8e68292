"""One cgroup per step, version 1 or 2: limits hold in it, and nothing that a step started survives its end.

Ours are `chandlery/<store>.<build>-<n>` below the root of each hierarchy, so that the leftovers of a killed build can be told by their name. In version 1 a
step joins the freezer (to be killed at one instant) and, beyond it, only the controllers that its limits need: each costs time.
A process joins before it executes anything, through the prefix that `entering` puts before its command line.
https://docs.kernel.org/admin-guide/cgroup-v1/ and https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import errno
import os
import time

from chandlery.errors import MachineError
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_ROOT = "/sys/fs/cgroup"
_OURS = "chandlery"
_KILL_TIMEOUT_S = 20.0
_SIGKILL = 9
# "0" names the writer itself; in version 1 through `tasks`, which spares the kernel a lock over all processes that cgroup.procs takes.
_JOIN_SCRIPT = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@"'


@value
class Limits:
    """0 and "" mean unlimited. `memory_swap_bytes` is memory and swap together, -1 for as much swap as there is; 0 is twice the memory, as
    Docker's. `cpu_shares` is in version 1's measure (1024 is one)."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int = 0

    def controllers(self) -> tuple[str, ...]:
        wanted = {
            "memory": self.memory_bytes or self.memory_swap_bytes,
            "cpu": self.cpu_shares or self.cpu_period_us or self.cpu_quota_us,
            "cpuset": self.cpuset_cpus or self.cpuset_mems,
            "pids": self.pids,
        }
        return tuple(name for name, is_wanted in wanted.items() if is_wanted)


UNLIMITED = Limits()


class Cgroup:
    """A step's cgroup: one directory (version 2), or one a hierarchy (version 1)."""

    def __init__(self, name: str, directories: "Mapping[str, str]", *, is_unified: bool) -> None:
        self.name = name
        self._directories = dict(directories)
        self._is_unified = is_unified
        self._oom_events = -1

    @property
    def runtime_path(self) -> str:
        """The cgroup that a runtime which insists on one of its own may make, inside ours: "/chandlery/<name>/runtime"."""
        return f"/{_OURS}/{self.name}/runtime"

    def entering(self, argv: "list[str]") -> list[str]:
        """The command line that joins this cgroup and then becomes `argv`; it ends with 125 if it can't."""
        return self._joining(list(self._directories.values()), argv)

    def guarding(self, argv: "list[str]") -> list[str]:
        """As `entering`, for a runtime that puts the step into `runtime_path` itself: it is killed with the step, but limits don't count it."""
        if not self._is_unified:
            return self._joining(self._kill_directories(), argv)
        launcher = os.path.join(next(iter(self._directories.values())), "launcher")  # processes live in leaves only, in version 2
        os.mkdir(launcher)
        return self._joining([launcher], argv)

    def _joining(self, directories: "list[str]", argv: "list[str]") -> list[str]:
        file_name = "cgroup.procs" if self._is_unified else "tasks"
        files = [os.path.join(directory, file_name) for directory in directories]
        return ["/bin/sh", "-c", _JOIN_SCRIPT, "sh", *files, "--", *argv]

    def watch_oom(self) -> None:
        """Remember from now on whether the memory limit killed something. Version 1 tells by an event only, which the runtime's own cgroup
        inside ours doesn't keep from us as it does its counter."""
        directory = self._directories.get("memory")
        if directory is None or self._is_unified:
            return
        self._oom_events = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        control = os.open(os.path.join(directory, "memory.oom_control"), os.O_RDONLY)
        try:
            _write(directory, "cgroup.event_control", f"{self._oom_events} {control}")
        finally:
            os.close(control)

    def was_oom_killed(self) -> bool:
        if self._is_unified:
            return _counter(os.path.join(next(iter(self._directories.values())), "memory.events"), "oom_kill") > 0
        if self._oom_events < 0:
            return False
        try:
            return os.eventfd_read(self._oom_events) > 0
        except BlockingIOError:
            return False

    def kill(self) -> None:
        """Kill every process in it, at one instant so that none escapes by forking; returns when all are gone."""
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        delay_s = 0.0005
        while self._kill_once():
            if time.monotonic() > deadline:
                raise MachineError(f"processes of cgroup {self.name} don't end", code="machine.unkillable", hint="they may be stuck in a file system")
            time.sleep(delay_s)
            delay_s = min(delay_s * 2, 0.05)

    def remove(self) -> None:
        """Kill what is left and remove it; nothing happens when it is gone."""
        if self._oom_events >= 0:
            os.close(self._oom_events)
            self._oom_events = -1
        if any(_processes(directory) for directory in self._kill_directories()):
            self.kill()
        for base in _all_bases(is_unified=self._is_unified).values():
            _remove_tree(os.path.join(base, self.name))  # a runtime's own cgroup may have put our name into hierarchies that we didn't

    def _kill_directories(self) -> list[str]:
        if "freezer" not in self._directories:
            return list(self._directories.values())
        return [self._directories["freezer"]]

    def _kill_once(self) -> bool:
        """True while there was something to kill."""
        if self._is_unified:
            directory = next(iter(self._directories.values()))
            if not _processes(directory):
                return False
            if not _try_write(directory, "cgroup.kill", "1"):  # before 5.14
                _signal_all(directory)
            return True
        found = False
        for directory in self._kill_directories():
            if _processes(directory):
                found = True
                _try_write(directory, "freezer.state", "FROZEN")
                _signal_all(directory)
                _try_write(directory, "freezer.state", "THAWED")
        return found


def create(name: str, limits: Limits = UNLIMITED) -> Cgroup | None:
    """A new cgroup `name` ("<store>.<build>-<n>") with its limits set; None where cgroups can't be written and no limit asks for one.

    Raises MachineError "machine.no-cgroups" when a limit can't hold, "machine.bad-limit" when the kernel refuses its value.
    """
    unified = _is_unified()
    bases = _unified_base(limits) if unified else _separate_bases(limits)
    missing = [controller for controller in limits.controllers() if controller not in bases]
    if missing:
        raise MachineError(
            f"this machine has no writable cgroup controller for {', '.join(missing)}",
            code="machine.no-cgroups",
            hint="leave the limit out, or mount the cgroup file system writable",
        )
    paths = {controller: os.path.join(base, name) for controller, base in bases.items()}
    if unified:
        paths = {"": next(iter(paths.values()))} if paths else {}
    if not paths or not all(_made(path) for path in paths.values()):
        return None
    cgroup = Cgroup(name, paths, is_unified=unified)
    try:
        for controller, file_name, text in _settings(limits, is_unified=unified):
            _write(paths["" if unified else controller], file_name, text)
        if not unified and "cpuset" in paths:
            _inherit_cpuset(paths["cpuset"])
        cgroup.watch_oom()
    except OSError as error:
        cgroup.remove()
        raise MachineError(f"the kernel refuses a resource limit: {error}", code="machine.bad-limit", hint="see the limits in the request") from error
    return cgroup


def remove_dead(prefix: str, is_alive: "Callable[[str], bool]") -> int:
    """Kill and remove what builds that ended without saying goodbye left, of those whose cgroups' names begin with `prefix`: another store's
    are not ours to judge. `is_alive` gets a build's id, the part between prefix and "-". Returns how many cgroups."""
    unified = _is_unified()
    found: dict[str, dict[str, str]] = {}
    for controller, base in _all_bases(is_unified=unified).items():
        for name in _subdirectories(base):
            found.setdefault(name, {})[controller] = os.path.join(base, name)
    dead = [name for name in found if name.startswith(prefix) and not is_alive(name.removeprefix(prefix).rpartition("-")[0])]
    for name in dead:
        Cgroup(name, found[name], is_unified=unified).remove()
    return len(dead)


def _is_unified() -> bool:
    return os.path.exists(os.path.join(_ROOT, "cgroup.controllers"))


def _all_bases(*, is_unified: bool) -> dict[str, str]:
    """Where cgroups of ours may be, by hierarchy; links (cpu -> cpu,cpuacct) are other names of the same."""
    names = [""] if is_unified else _subdirectories(_ROOT)
    bases = {name: os.path.join(_ROOT, name, _OURS) for name in names}
    return {name: base for name, base in bases.items() if os.path.isdir(base)}


def _unified_base(limits: Limits) -> dict[str, str]:
    """Our cgroup by each controller it can use; "" where there is only the right to kill."""
    base = os.path.join(_ROOT, _OURS)
    if not _made(base):
        return {}
    for controller in limits.controllers():
        # EBUSY where processes live in the root of a container's cgroup namespace: then the controller stays missing.
        _try_write(_ROOT, "cgroup.subtree_control", f"+{controller}")
        _try_write(base, "cgroup.subtree_control", f"+{controller}")
    with open(os.path.join(base, "cgroup.subtree_control")) as file:
        usable = file.read().split()
    return {"": base} | dict.fromkeys(usable, base)


def _separate_bases(limits: Limits) -> dict[str, str]:
    bases: dict[str, str] = {}
    for controller in ("freezer", *limits.controllers()):
        root = os.path.join(_ROOT, controller)
        base = os.path.join(root, _OURS)
        if os.path.exists(os.path.join(root, "tasks")) and _made(base):
            bases[controller] = base
            if controller == "memory":
                _try_write(base, "memory.use_hierarchy", "1")  # the only choice since 5.11
            if controller == "cpuset":
                _inherit_cpuset(base)
    return bases


def _inherit_cpuset(directory: str) -> None:
    """A new version 1 cpuset is empty, and an empty one can't be joined."""
    for file_name in ("cpuset.cpus", "cpuset.mems"):
        with open(os.path.join(directory, file_name)) as file:
            if file.read().strip():
                continue
        with open(os.path.join(os.path.dirname(directory), file_name)) as file:
            _write(directory, file_name, file.read().strip())


def _settings(limits: Limits, *, is_unified: bool) -> "Iterator[tuple[str, str, str]]":
    """(controller, file, text), in the order in which the kernel takes them."""
    swap_bytes = limits.memory_swap_bytes or 2 * limits.memory_bytes
    if limits.memory_bytes:
        yield "memory", "memory.max" if is_unified else "memory.limit_in_bytes", str(limits.memory_bytes)
    if limits.memory_bytes and swap_bytes > 0:
        if is_unified and os.path.exists("/proc/swaps"):
            yield "memory", "memory.swap.max", str(max(swap_bytes - limits.memory_bytes, 0))
        elif os.path.exists(os.path.join(_ROOT, "memory/memory.memsw.limit_in_bytes")):
            yield "memory", "memory.memsw.limit_in_bytes", str(swap_bytes)
    if limits.cpu_shares:
        weight = 1 + (limits.cpu_shares - 2) * 9999 // 262142
        yield ("cpu", "cpu.weight", str(weight)) if is_unified else ("cpu", "cpu.shares", str(limits.cpu_shares))
    if is_unified and (limits.cpu_quota_us or limits.cpu_period_us):
        yield "cpu", "cpu.max", f"{limits.cpu_quota_us or 'max'} {limits.cpu_period_us or 100_000}"
    elif limits.cpu_quota_us or limits.cpu_period_us:
        yield "cpu", "cpu.cfs_period_us", str(limits.cpu_period_us or 100_000)
        yield "cpu", "cpu.cfs_quota_us", str(limits.cpu_quota_us or -1)
    if limits.cpuset_cpus:
        yield "cpuset", "cpuset.cpus", limits.cpuset_cpus
    if limits.cpuset_mems:
        yield "cpuset", "cpuset.mems", limits.cpuset_mems
    if limits.pids:
        yield "pids", "pids.max", str(limits.pids)


def _made(directory: str) -> bool:
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _write(directory: str, file_name: str, text: str) -> None:
    fd = os.open(os.path.join(directory, file_name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _try_write(directory: str, file_name: str, text: str) -> bool:
    try:
        _write(directory, file_name, text)
    except OSError:
        return False
    return True


def _counter(path: str, name: str) -> int:
    try:
        with open(path) as file:
            return next((int(line.split()[1]) for line in file if line.split()[0] == name), 0)
    except OSError:
        return 0


def _subdirectories(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _processes(directory: str) -> list[int]:
    """Processes in `directory` and in the cgroups below it."""
    try:
        with open(os.path.join(directory, "cgroup.procs")) as file:
            found = [int(line) for line in file]
    except OSError:
        return []
    for name in _subdirectories(directory):
        found += _processes(os.path.join(directory, name))
    return found


def _signal_all(directory: str) -> None:
    for pid in _processes(directory):
        try:
            os.kill(pid, _SIGKILL)
        except ProcessLookupError:
            pass


def _remove_tree(directory: str) -> None:
    for name in _subdirectories(directory):
        _remove_tree(os.path.join(directory, name))
    for attempt in range(200):
        try:
            os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # A process that just died may still count for a moment.
            if error.errno != errno.EBUSY or attempt == 199:
                raise MachineError(f"can't remove cgroup {directory}: {error.strerror}", code="machine.cgroup") from error
            time.sleep(0.005)

"""Running steps through the command line of an OCI runtime: crun, or runc.

Both run a bundle in the foreground, pass its streams through and end with its status. They differ in cgroups: crun joins the one that we made and makes
none (`--cgroup-manager=disabled`: it refuses the hybrid layout otherwise), runc insists on one of its own, so it gets one inside ours.
A step's processes share a PID namespace, whose init takes all with it; the cgroup takes the runtime itself too. Should this process be killed, a guard kills
that init.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from _thread import allocate_lock

from chandlery.errors import MachineError
from chandlery.linux.cgroup import Cgroup
from chandlery.runtime import bundle, seccomp
from chandlery.runtime.guard import Guard
from chandlery.runtime.process import ExitStatus, StepSpec
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from chandlery.runtime.protocol import CancelToken, Runtime

_POLL_MS = 50
_READ_BYTES = 1 << 16
_INSTALL_HINT = "install crun (Debian, Ubuntu: apt-get install crun; Fedora: dnf install crun) or runc"
_PRIVILEGE_HINT = "run as root; inside a container, see docs/in-a-container.md for what it must be given"


@value
class Dialect:
    """What differs between the two. `init_pid_keys`: the state file below the state directory, and its field with the init's process id."""

    name: str
    state_file: str
    init_pid_field: str
    makes_own_cgroup: bool
    takes_compiled_seccomp: bool


CRUN = Dialect("crun", "status", "pid", makes_own_cgroup=False, takes_compiled_seccomp=True)
RUNC = Dialect("runc", "state.json", "init_process_pid", makes_own_cgroup=True, takes_compiled_seccomp=False)


class OciCliRuntime:
    """One of the two, with its state (which containers run) in `state_dir`."""

    def __init__(self, dialect: Dialect, path: str, state_dir: str) -> None:
        self.name = dialect.name
        self.path = path
        self._dialect = dialect
        self._state_dir = state_dir
        self._lock = allocate_lock()
        self._guard: Guard | None = None

    def run(
        self,
        spec: StepSpec,
        *,
        bundle_dir: str,
        cgroup: Cgroup | None,
        network_path: str = "",
        output: "Callable[[int, bytes], None] | None" = None,
        cancelled: "CancelToken | None" = None,
        timeout_s: float = 0.0,
    ) -> ExitStatus:
        container = f"c{os.urandom(8).hex()}"
        self._write_bundle(spec, bundle_dir, cgroup, network_path)
        log_path = os.path.join(bundle_dir, f"{container}.log")
        argv = self._command(container, bundle_dir, log_path, cgroup)
        process = _spawn(argv, is_interactive=spec.is_interactive)
        end = _End(time.monotonic() + timeout_s if timeout_s else None, cancelled)
        try:
            self._watch()  # now, because the runtime takes longer than that to get where it has something to be guarded
            _pump(process, output, end, kill=lambda: self._kill(container, process, cgroup))
        except BaseException:
            self._kill(container, process, cgroup)
            raise
        finally:
            code = process.wait()
            was_oom_killed = cgroup is not None and cgroup.was_oom_killed()
            self._forget(container)
        if code != 0 and not end.reason:
            code = _explain(log_path, code)
        return ExitStatus(
            code if code >= 0 else 128 - code,
            was_oom_killed=was_oom_killed,
            was_cancelled=end.reason == "cancelled",
            timed_out=end.reason == "timeout",
        )

    def close(self) -> None:
        with self._lock:
            if self._guard is not None:
                self._guard.dismiss()
                self._guard = None

    def _watch(self) -> None:
        with self._lock:
            if self._guard is None:
                self._guard = Guard(self._state_dir, self._dialect.state_file, self._dialect.init_pid_field)

    def _write_bundle(self, spec: StepSpec, bundle_dir: str, cgroup: Cgroup | None, network_path: str) -> None:
        compiled = seccomp.compiled() if self._dialect.takes_compiled_seccomp else None
        document = bundle.config(
            spec,
            network_path=network_path,
            cgroup_path=cgroup.runtime_path if cgroup is not None and self._dialect.makes_own_cgroup else "",
            seccomp=seccomp.profile() if compiled is None else None,
            annotations={"run.oci.seccomp_bpf_data": compiled} if compiled is not None else None,
            # The runtime then makes a terminal for the step and passes ours through: Ctrl-C is the step's own affair.
            has_terminal=spec.is_interactive and os.isatty(0),
        )
        bundle.write(bundle_dir, document)

    def _command(self, container: str, bundle_dir: str, log_path: str, cgroup: Cgroup | None) -> list[str]:
        argv = [self.path, "--root", self._state_dir, "--log", log_path, "--log-format", "json"]
        if not self._dialect.makes_own_cgroup:
            argv.append("--cgroup-manager=disabled")
        elif cgroup is None:
            argv += ["--rootless", "true"]  # it then lives with cgroups that can't be written
        argv += ["run", "--bundle", bundle_dir, container]
        if cgroup is None:
            return argv
        return cgroup.guarding(argv) if self._dialect.makes_own_cgroup else cgroup.entering(argv)

    def _kill(self, container: str, process: "subprocess.Popen[bytes]", cgroup: Cgroup | None) -> None:
        pid = self._init_pid(container)
        if pid:
            _send_kill(pid)
        if cgroup is not None:
            cgroup.kill()
        elif not pid:
            process.kill()  # it was still setting up: its unfinished child ends when their pipe closes

    def _init_pid(self, container: str) -> int:
        """The process whose end takes the step's PID namespace with it; 0 while there is none. It can't be reused: its parent reaps it."""
        try:
            with open(os.path.join(self._state_dir, container, self._dialect.state_file)) as file:
                return int(json.load(file)[self._dialect.init_pid_field])
        except (OSError, ValueError, KeyError):
            return 0

    def _forget(self, container: str) -> None:
        """A run that ended by itself has removed its state; one that was killed hasn't."""
        if os.path.exists(os.path.join(self._state_dir, container)):
            self._delete(container)

    def _delete(self, container: str) -> None:
        argv = [self.path, "--root", self._state_dir]
        if not self._dialect.makes_own_cgroup:
            argv.append("--cgroup-manager=disabled")
        subprocess.run([*argv, "delete", "--force", container], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        shutil.rmtree(os.path.join(self._state_dir, container), ignore_errors=True)


def detect(state_dir: str, preferred: str = "") -> "Runtime":
    """crun, else runc; or the `preferred` one of the two. Raises MachineError "machine.no-runtime"."""
    for dialect in (CRUN, RUNC):
        if preferred in ("", dialect.name):
            path = shutil.which(dialect.name)
            if path is not None:
                return OciCliRuntime(dialect, path, state_dir)
    raise MachineError(f"no OCI runtime: {preferred or 'crun or runc'} not found in PATH", code="machine.no-runtime", hint=_INSTALL_HINT)


class _End:
    """Why and when a step is ended before it ends itself."""

    def __init__(self, deadline: float | None, cancelled: "CancelToken | None") -> None:
        self._deadline = deadline
        self._cancelled = cancelled
        self.reason = ""

    def is_due(self) -> bool:
        if not self.reason and self._cancelled is not None and self._cancelled.is_set():
            self.reason = "cancelled"
            return True
        if not self.reason and self._deadline is not None and time.monotonic() > self._deadline:
            self.reason = "timeout"
            return True
        return False


def _spawn(argv: list[str], *, is_interactive: bool) -> "subprocess.Popen[bytes]":
    if is_interactive:
        return subprocess.Popen(argv)
    # A session of its own: the terminal's Ctrl-C is for the build, which then ends its steps.
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def _pump(process: "subprocess.Popen[bytes]", output: "Callable[[int, bytes], None] | None", end: _End, kill: "Callable[[], None]") -> None:
    """Pass the streams on until both end and the process has, looking at `end` on the way."""
    streams = {stream.fileno(): number for number, stream in ((1, process.stdout), (2, process.stderr)) if stream is not None}
    ended = os.pidfd_open(process.pid)
    poller = select.poll()
    for fd in (*streams, ended):
        poller.register(fd, select.POLLIN)
    open_fds = {*streams, ended}
    try:
        while open_fds:
            for fd, _ in poller.poll(_POLL_MS):
                data = b"" if fd == ended else os.read(fd, _READ_BYTES)
                if data and output is not None:
                    output(streams[fd], data)
                if not data:
                    poller.unregister(fd)
                    open_fds.discard(fd)
            if end.is_due():
                kill()
    finally:
        os.close(ended)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _explain(log_path: str, code: int) -> int:
    """The status where the runtime couldn't start the command: 127 not found, 126 not executable, as a shell has them; else an error of
    the machine. A command that merely failed leaves no error in the runtime's log; the runtime has printed it, too."""
    message = _logged_error(log_path)
    if not message:
        return code
    lowered = message.lower()
    if "exec" in lowered or "chdir" in lowered:
        return 127 if "not found" in lowered or "no such file" in lowered else 126
    if "operation not permitted" in lowered:
        raise MachineError(f"the OCI runtime may not do its part: {message}", code="machine.no-privilege", hint=_PRIVILEGE_HINT)
    raise MachineError(f"the OCI runtime failed: {message}", code="machine.runtime-failed", hint="try the other one: CHANDLERY_RUNTIME=runc, or crun")


def _logged_error(log_path: str) -> str:
    try:
        with open(log_path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg", ""))
    return ""


def _send_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

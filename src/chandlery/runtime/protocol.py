"""`Runtime`: runs one step at a time per call, from any number of threads."""

from typing import Protocol

from chandlery.linux.cgroup import Cgroup
from chandlery.runtime.process import ExitStatus, StepSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class CancelToken(Protocol):
    """What a threading.Event offers of itself."""

    def is_set(self) -> bool: ...


class Runtime(Protocol):
    """An OCI runtime of this machine. `name` is its command's name; `version` what it says of itself."""

    name: str
    path: str

    def run(
        self,
        spec: StepSpec,
        *,
        bundle_dir: str,
        cgroup: Cgroup | None,
        network_path: str = "",
        output: "Callable[[int, bytes], None] | None" = None,
        cancelled: CancelToken | None = None,
        timeout_s: float = 0.0,
    ) -> ExitStatus:
        """Run the step to its end and give its status; `output(1 or 2, data)` gets what it writes, as it comes, from this thread.

        `bundle_dir` is an existing directory that this call may fill. When it returns, no process of the step is left, whether it ended,
        was cancelled or took longer than `timeout_s` (0: for ever). Raises MachineError "machine.runtime-failed" where the runtime itself
        couldn't do its part.
        """
        ...

    def close(self) -> None:
        """No step runs any more. Without this call, as when this process is killed, those that run end by themselves within moments."""
        ...

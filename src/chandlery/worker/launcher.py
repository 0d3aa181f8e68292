"""`Launcher`: starts processes in roots that are mounted, each with a cgroup and a bundle of its own, which go when it ends."""

import os
import shutil
from itertools import count

from chandlery.content.session import Session
from chandlery.linux import cgroup
from chandlery.runtime.process import ExitStatus, StepSpec
from chandlery.runtime.protocol import CancelToken, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Launcher:
    """For one session; `launch` may be called from many threads at once. `bundles` is a directory in memory."""

    def __init__(self, session: Session, runtime: Runtime, bundles: str, cancelled: CancelToken) -> None:
        self._session = session
        self._runtime = runtime
        self._bundles = bundles
        self._cancelled = cancelled
        self._numbers = count()

    def launch(self, spec: StepSpec, *, network_path: str, output: "Callable[[int, bytes], None]") -> ExitStatus:
        """Run it to its end, within its limits. Raises MachineError."""
        name = f"r{next(self._numbers)}"
        bundle = f"{self._bundles}/{name}"
        os.mkdir(bundle, 0o700)
        group = cgroup.create(self._session.machine_name(name), spec.limits)
        try:
            return self._runtime.run(spec, bundle_dir=bundle, cgroup=group, network_path=network_path, output=output, cancelled=self._cancelled)
        finally:
            if group is not None:
                group.remove()
            shutil.rmtree(bundle, ignore_errors=True)

    def close(self) -> None:
        """Nothing runs any more, and nothing will."""
        self._runtime.close()


def with_path(env: "Sequence[str]") -> tuple[str, ...]:
    """`env`, which has a PATH."""
    return tuple(env) if any(entry.startswith("PATH=") for entry in env) else (_DEFAULT_PATH, *env)


def make_working_directory(rootfs: str, cwd: str) -> None:
    """A process's working directory exists, as BuildKit has it, also where no WORKDIR made it (an image's own)."""
    from chandlery.linux.paths import make_dirs_in_root

    if cwd in ("", "/"):
        return
    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(make_dirs_in_root(root_fd, cwd))
    finally:
        os.close(root_fd)

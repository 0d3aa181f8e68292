"""Running a command in an image, to try it: one process tree, its output passed through, nothing kept.

The image's layers are mounted under an upper that is thrown away. It runs in a thread with mounts of its own, so nothing is left however the process ends.
"""

import contextlib
import os

from chandlery.engine.shelf import ImageShelf, StoredImage
from chandlery.engine.tools import Tools
from chandlery.errors import Cancelled, RequestError
from chandlery.graph.op import Network
from chandlery.linux.cgroup import UNLIMITED, Limits
from chandlery.oci.image_config import ImageConfig
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.runtime.process import ExitStatus, RuntimeMount, StepSpec
    from chandlery.runtime.protocol import CancelToken

STOP_TIMEOUT_S = 30.0
_HOSTNAME = "chandlery"


@value
class Trial:
    """What to run: `command` () and `entrypoint` None are the image's; `volumes` are (directory or file here, path there, read-only)."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    volumes: tuple[tuple[str, str, bool], ...] = ()
    working_directory: str = ""
    user: str = ""
    network: Network = Network.DEFAULT
    hosts: tuple[tuple[str, str], ...] = ()
    limits: Limits = UNLIMITED
    is_interactive: bool = False


def run_trial(tools: Tools, image: StoredImage, trial: Trial, *, output: "Callable[[int, bytes], None]") -> "ExitStatus":
    """Run it to its end. Raises Cancelled when a signal ended it, InputError, MachineError."""
    import queue
    import threading

    cancelled = threading.Event()
    ended: queue.SimpleQueue[ExitStatus | BaseException] = queue.SimpleQueue()

    def work() -> None:
        from chandlery.linux.namespaces import enter_private_mounts

        try:
            tools.clean()
            enter_private_mounts()
            ended.put(_run(tools, image, trial, output, cancelled))
        except BaseException as failure:
            ended.put(failure)

    thread = threading.Thread(target=work, name="chandlery-trial", daemon=True)
    thread.start()
    try:
        # not thread.join(): one that a signal interrupts counts as done ever after (bpo-45274)
        result = ended.get()
    except BaseException:
        cancelled.set()
        with contextlib.suppress(queue.Empty):
            ended.get(timeout=STOP_TIMEOUT_S)
        raise
    if isinstance(result, BaseException):
        raise result
    if result.was_cancelled:
        raise Cancelled()
    return result


def _run(tools: Tools, image: StoredImage, trial: Trial, output: "Callable[[int, bytes], None]", cancelled: "CancelToken") -> "ExitStatus":
    from chandlery.runtime.secrets import mount_memory
    from chandlery.runtime.stubs import MountStubs
    from chandlery.worker.launcher import Launcher, make_working_directory
    from chandlery.worker.mounter import Mounter
    from chandlery.worker.step_network import networked

    shelf = ImageShelf(tools)
    config = shelf.config(image)
    directories = shelf.forms(image).directories(shelf.file_system(image))
    scratch = tools.session.scratch("t")
    upper, work = f"{scratch}/u", f"{scratch}/w"
    os.mkdir(upper, 0o755)
    os.mkdir(work)
    network = tools.network()
    with contextlib.ExitStack() as stack:
        stack.callback(network.close)
        rootfs = stack.enter_context(Mounter(tools.session, tools.mount_method()).overlay(directories, upper=upper, work=work))
        network_path, etc = stack.enter_context(networked(network, trial.network, hostname=_HOSTNAME, hosts=trial.hosts, directory=scratch, is_read_only=False))
        stubs = MountStubs(rootfs, [*etc, *_volumes(trial)], upper=upper)
        spec = _spec(config, trial, rootfs, stubs.mounts)
        make_working_directory(rootfs, spec.cwd)
        memory = tools.session.scratch("r")
        mount_memory(memory)
        launcher = Launcher(tools.session, tools.runtime(f"{memory}/state"), memory, cancelled)
        stack.callback(launcher.close)
        return launcher.launch(spec, network_path=network_path, output=output)


def _spec(config: ImageConfig, trial: Trial, rootfs: str, mounts: "tuple[RuntimeMount, ...]") -> "StepSpec":
    from chandlery.runtime import user
    from chandlery.runtime.process import StepSpec
    from chandlery.worker.launcher import with_path
    from chandlery.worker.step_network import STEP_NETWORKS

    entrypoint = config.runtime.get("Entrypoint") or () if trial.entrypoint is None else trial.entrypoint
    # as in docker: an entrypoint of one's own drops the image's command
    command = trial.command or (tuple(config.runtime.get("Cmd") or ()) if trial.entrypoint is None else ())
    argv = (*entrypoint, *command)
    if not argv:
        raise RequestError("the image has no command", code="run.no-command", hint="say what to run: chandlery run IMAGE COMMAND")
    names = {entry.partition("=")[0] for entry in trial.env}
    env = [entry for entry in config.env if entry.partition("=")[0] not in names]
    return StepSpec(
        argv=argv,
        rootfs=rootfs,
        env=with_path((*env, *trial.env)),
        cwd=trial.working_directory or str(config.runtime.get("WorkingDir") or "/"),
        user=user.resolve(rootfs, trial.user or str(config.runtime.get("User") or "")),
        hostname=_HOSTNAME,
        network=STEP_NETWORKS[trial.network],
        mounts=mounts,
        limits=trial.limits,
        is_interactive=trial.is_interactive,
    )


def _volumes(trial: Trial) -> "list[RuntimeMount]":
    from chandlery.runtime.process import RuntimeMount

    return [RuntimeMount(target, source, is_read_only=is_read_only) for source, target, is_read_only in sorted(trial.volumes, key=lambda item: item[1])]

"""`StepRunner`: one RUN instruction: mounts in, process, mounts out, commit.

The order matters. The root is mounted, mounts are attached, mount points made where the image lacks them; the step runs; then mount points go again while the root
is still there to look at, everything is unmounted, and only then the uppers are read: the root's becomes a snapshot, the volumes' become deltas. A step that
failed leaves no snapshot, but its volumes keep what they got: a failing test must not cost the downloads.
"""

import contextlib
import os
import shutil
from itertools import count

from chandlery.content.session import Session
from chandlery.errors import Cancelled, StepFailed
from chandlery.graph.op import ExecOp, Network
from chandlery.linux import cgroup
from chandlery.linux.cgroup import Limits
from chandlery.runtime import user
from chandlery.runtime.etc_files import hosts_text
from chandlery.runtime.network import NetworkPool, host_address
from chandlery.runtime.process import ExitStatus, RuntimeMount, StepNetwork, StepSpec, Ulimit
from chandlery.runtime.protocol import CancelToken, Runtime
from chandlery.runtime.secrets import Secrets
from chandlery.runtime.stubs import MountStubs
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.values import replace, value
from chandlery.volume.volumes import Volumes
from chandlery.worker.mounter import Mounter
from chandlery.worker.results import Made
from chandlery.worker.step_mounts import StepMounts, VolumePolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from chandlery.runtime.ca_certs import CaCertificates
    from chandlery.runtime.ca_injection import TrustedInStep
    from chandlery.worker.results import Reporter

_NETWORKS = {Network.DEFAULT: StepNetwork.ISOLATED, Network.NONE: StepNetwork.NONE, Network.HOST: StepNetwork.HOST}
DEFAULT_HOSTNAME = "buildkitsandbox"
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@value
class StepConditions:
    """What holds for every step of a build. `resolv_conf` is the machine's, for steps on the machine's own network."""

    limits: Limits
    shm_size_bytes: int
    ulimits: tuple[Ulimit, ...]
    hostname: str = DEFAULT_HOSTNAME
    resolv_conf: str = "/etc/resolv.conf"


class StepRunner:
    """For one build; `run` may be called from many threads at once. `bundles` is a directory in memory."""

    def __init__(
        self,
        *,
        session: Session,
        snapshots: SnapshotStore,
        mounter: Mounter,
        runtime: Runtime,
        bundles: str,
        network: NetworkPool,
        volumes: Volumes,
        policy: VolumePolicy,
        secrets: Secrets,
        conditions: StepConditions,
        ca_certs: "CaCertificates | None",
        cancelled: CancelToken,
    ) -> None:
        self._session = session
        self._snapshots = snapshots
        self._mounter = mounter
        self._runtime = runtime
        self._bundles = bundles
        self._network = network
        self._volumes = volumes
        self._policy = policy
        self._secrets = secrets
        self._conditions = conditions
        self._ca_certs = ca_certs
        self._cancelled = cancelled
        self._numbers = count()

    def run(self, op: ExecOp, lowers: tuple[str, ...], layers: "Mapping[int, tuple[str, ...]]", step: "Reporter", *, starts_empty: bool) -> Made:
        """Run the step on `lowers` and commit its layer. Raises StepFailed, InputError, MachineError, Cancelled."""
        mounts = self._step_mounts(step, starts_empty=starts_empty)
        active = self._snapshots.prepare(self._session)
        status: ExitStatus | None = None
        try:
            status = self._run_on(op, lowers, active.upper, active.work, mounts, layers, step)
            _raise_for(status, op)
            return Made(self._snapshots.commit(active))
        except BaseException:
            self._snapshots.discard(active)
            raise
        finally:
            self._end_volumes(mounts, status, step)

    def rehearse(self, op: ExecOp, lowers: tuple[str, ...], layers: "Mapping[int, tuple[str, ...]]", step: "Reporter", *, is_interactive: bool) -> ExitStatus:
        """Run the step and keep nothing: neither its layer nor what it added to volumes. Raises InputError, MachineError."""
        mounts = self._step_mounts(step, starts_empty=False)
        active = self._snapshots.prepare(self._session)
        try:
            return self._run_on(op, lowers, active.upper, active.work, mounts, layers, step, is_interactive=is_interactive)
        finally:
            self._snapshots.discard(active)
            self._end_volumes(mounts, None, step)

    def _step_mounts(self, step: "Reporter", *, starts_empty: bool) -> StepMounts:
        return StepMounts(
            session=self._session,
            mounter=self._mounter,
            volumes=self._volumes,
            policy=self._policy,
            secrets=self._secrets,
            starts_empty=starts_empty,
            on_wait=self._waiting(step),
        )

    def _run_on(
        self,
        op: ExecOp,
        lowers: tuple[str, ...],
        upper: str,
        work: str,
        mounts: StepMounts,
        layers: "Mapping[int, tuple[str, ...]]",
        step: "Reporter",
        *,
        is_interactive: bool = False,
    ) -> ExitStatus:
        stubs: MountStubs | None = None
        trusted: "TrustedInStep | None" = None
        with contextlib.ExitStack() as stack:
            rootfs = stack.enter_context(self._mounter.overlay(lowers, upper=upper, work=work))
            wanted = mounts.attach(op.mounts, layers, stack)
            network_path, etc = stack.enter_context(self._networked(op, step))
            env = [*op.env, *op.unkeyed_env, *mounts.env]
            if self._ca_certs is not None:
                from chandlery.runtime.ca_injection import TrustedInStep

                trusted = TrustedInStep(self._ca_certs, rootfs, upper=upper, directory=self._session.scratch("t"), env=env)
                stack.callback(trusted.remove)
                env += trusted.env
                etc += trusted.mounts
            make_working_directory(rootfs, op.cwd)
            stubs = MountStubs(rootfs, [*etc, *wanted], upper=upper)
            stack.callback(stubs.remove)
            spec = replace(self._spec(op, rootfs, stubs.mounts, env), is_interactive=is_interactive)
            status = self._in_cgroup(spec, network_path, step)
        stubs.clean_upper()
        if trusted is not None:
            trusted.clean_upper()
        return status

    def _spec(self, op: ExecOp, rootfs: str, mounts: tuple[RuntimeMount, ...], env: list[str]) -> StepSpec:
        conditions = self._conditions
        return StepSpec(
            argv=op.argv,
            rootfs=rootfs,
            env=tuple(env) if any(entry.startswith("PATH=") for entry in env) else (_DEFAULT_PATH, *env),
            cwd=op.cwd or "/",
            user=user.resolve(rootfs, op.user),
            hostname=conditions.hostname,
            network=_NETWORKS[op.network],
            mounts=mounts,
            limits=conditions.limits,
            shm_size_bytes=conditions.shm_size_bytes,
            ulimits=conditions.ulimits,
        )

    def _in_cgroup(self, spec: StepSpec, network_path: str, step: "Reporter") -> ExitStatus:
        name = f"r{next(self._numbers)}"
        bundle = f"{self._bundles}/{name}"
        os.mkdir(bundle, 0o700)
        group = cgroup.create(self._session.machine_name(name), self._conditions.limits)
        try:
            return self._runtime.run(spec, bundle_dir=bundle, cgroup=group, network_path=network_path, output=step.log, cancelled=self._cancelled)
        finally:
            if group is not None:
                group.remove()
            shutil.rmtree(bundle, ignore_errors=True)

    @contextlib.contextmanager
    def _networked(self, op: ExecOp, step: "Reporter") -> "Iterator[tuple[str, list[RuntimeMount]]]":
        """The path of the step's network namespace ("" for none of its own) and the files that go with its network."""
        hosts = tuple((name, host_address() if address == "host-gateway" else address) for name, address in op.hosts)
        files = self._session.scratch("e")
        etc = [self._etc_file(files, "hosts", hosts_text(self._conditions.hostname, hosts))]
        if op.network is Network.HOST:
            if os.path.exists(self._conditions.resolv_conf):
                with open(self._conditions.resolv_conf, encoding="utf-8", errors="surrogateescape") as file:
                    etc.append(self._etc_file(files, "resolv.conf", file.read()))
            yield "", etc
        elif op.network is Network.NONE:
            yield "", etc
        else:
            namespace = self._network.acquire()
            try:
                yield namespace.path, [*etc, self._etc_file(files, "resolv.conf", self._network.resolv_conf())]
            finally:
                step.moved(self._network.take_received(namespace))
                self._network.release(namespace)

    @staticmethod
    def _etc_file(directory: str, name: str, text: str) -> RuntimeMount:
        path = f"{directory}/{name}"
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return RuntimeMount(f"/etc/{name}", path, is_read_only=True)

    def _end_volumes(self, mounts: StepMounts, status: ExitStatus | None, step: "Reporter") -> None:
        """Keep what the step added to its volumes if it ran at all; a volume never makes a build fail."""
        for attachment in mounts.attachments:
            if attachment.warning:
                step.warn("volume.warning", attachment.warning)
            if status is None:
                self._volumes.discard(attachment)
                continue
            report = self._volumes.commit(attachment, succeeded=status.code == 0)
            if report.warning:
                step.warn("volume.warning", report.warning)

    def _waiting(self, step: "Reporter") -> "Callable[[str, float], None]":
        told: set[str] = set()

        def on_wait(name: str, _seconds: float) -> None:
            if self._cancelled.is_set():
                raise Cancelled()
            if name not in told:
                told.add(name)
                step.log(2, f"waiting for cache volume {name}, which another step has locked\n".encode())

        return on_wait


def _raise_for(status: ExitStatus, op: ExecOp) -> None:
    if status.was_cancelled:
        raise Cancelled()
    if status.was_oom_killed:
        raise StepFailed("the step was killed: it needed more memory than its limit", status=status.code, code="step.out-of-memory", hint="raise --memory")
    if status.code != 0:
        command = op.argv[-1] if op.argv[:2] == ("/bin/sh", "-c") else " ".join(op.argv)
        shown = command if len(command) <= 200 else command[:200] + "..."
        raise StepFailed(f"{shown!r} ended with exit code {status.code}", status=status.code)


def make_working_directory(rootfs: str, cwd: str) -> None:
    """A step's working directory exists, as BuildKit has it, also where no WORKDIR made it (an image's own)."""
    from chandlery.linux.paths import make_dirs_in_root

    if cwd in ("", "/"):
        return
    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(make_dirs_in_root(root_fd, cwd))
    finally:
        os.close(root_fd)

"""`StepRunner`: one RUN instruction: mounts in, process, mounts out, commit.

The order matters. The root is mounted, mounts are attached, mount points made where the image lacks them; the step runs; then mount points go again
while the root is still there to look at, everything is unmounted, and only then the uppers are read: the root's becomes a snapshot, the volumes'
become deltas. A step that failed leaves no snapshot, but its volumes keep what they got: a failing test must not cost the downloads.
"""

import contextlib

from chandlery.content.session import Session
from chandlery.errors import Cancelled, StepFailed
from chandlery.graph.op import ExecOp
from chandlery.linux.cgroup import Limits
from chandlery.runtime import user
from chandlery.runtime.network import NetworkPool
from chandlery.runtime.process import ExitStatus, RuntimeMount, StepSpec, Ulimit
from chandlery.runtime.protocol import CancelToken
from chandlery.runtime.secrets import Secrets
from chandlery.runtime.stubs import MountStubs
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.values import replace, value
from chandlery.volume import observing
from chandlery.volume.adapters.adapter import MutableName
from chandlery.volume.volumes import Volumes
from chandlery.worker import unmounted
from chandlery.worker.launcher import Launcher, make_working_directory, with_path
from chandlery.worker.mounter import Mounter
from chandlery.worker.results import Made
from chandlery.worker.step_mounts import StepMounts, VolumePolicy
from chandlery.worker.step_network import RESOLV_CONF, STEP_NETWORKS, networked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chandlery.runtime.ca_certs import CaCertificates
    from chandlery.runtime.ca_injection import TrustedInStep
    from chandlery.worker.deps_caches import DepsCaches
    from chandlery.worker.results import Reporter

DEFAULT_HOSTNAME = "buildkitsandbox"


@value
class StepConditions:
    """What holds for every step of a build. `resolv_conf` is the machine's, for steps on the machine's own network."""

    limits: Limits
    shm_size_bytes: int
    ulimits: tuple[Ulimit, ...]
    hostname: str = DEFAULT_HOSTNAME
    resolv_conf: str = RESOLV_CONF


class StepRunner:
    """For one build; `run` may be called from many threads at once."""

    def __init__(
        self,
        *,
        session: Session,
        snapshots: SnapshotStore,
        mounter: Mounter,
        launcher: Launcher,
        network: NetworkPool,
        volumes: Volumes,
        policy: VolumePolicy,
        secrets: Secrets,
        conditions: StepConditions,
        ca_certs: "CaCertificates | None",
        cancelled: CancelToken,
        deps: "DepsCaches | None" = None,
    ) -> None:
        self._session = session
        self._snapshots = snapshots
        self._mounter = mounter
        self._launcher = launcher
        self._network = network
        self._volumes = volumes
        self._policy = policy
        self._secrets = secrets
        self._conditions = conditions
        self._ca_certs = ca_certs
        self._cancelled = cancelled
        self._deps = deps

    def run(self, op: ExecOp, lowers: tuple[str, ...], layers: "Mapping[int, tuple[str, ...]]", step: "Reporter", *, starts_empty: bool) -> Made:
        """Run the step on `lowers` and commit its layer. Raises StepFailed, InputError, MachineError, Cancelled."""
        mounts = self._step_mounts(step, starts_empty=starts_empty)
        active = self._snapshots.prepare(self._session)
        status: ExitStatus | None = None
        observed: tuple[MutableName, ...] = ()
        try:
            status = self._run_on(op, lowers, active.upper, active.work, mounts, layers, step)
            _raise_for(status, op)
            observed = tuple(name for directory in (active.upper, *mounts.throwaways) for name in observing.in_directory(directory))
            if self._deps is None:
                for found in unmounted.in_upper(active.upper, op, lowers):
                    step.warn("volume.unmounted", found.hint)
            snapshot = self._snapshots.commit(active)
        except BaseException:
            self._snapshots.discard(active)
            raise
        finally:
            observed += self._end_volumes(mounts, status, step)
        return Made(snapshot, observed=observing.distinct(observed))

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
            deps=self._deps,
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
            wanted = mounts.attach_deps(op.mounts, mounts.attach(op.mounts, layers, stack), stack, step)
            network_path, etc = stack.enter_context(
                networked(
                    self._network,
                    op.network,
                    hostname=self._conditions.hostname,
                    hosts=op.hosts,
                    directory=self._session.scratch("e"),
                    resolv_conf=self._conditions.resolv_conf,
                    received=step.moved,
                )
            )
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
            status = self._launcher.launch(spec, network_path=network_path, output=step.log)
        stubs.clean_upper()
        if trusted is not None:
            trusted.clean_upper()
        return status

    def _spec(self, op: ExecOp, rootfs: str, mounts: tuple[RuntimeMount, ...], env: list[str]) -> StepSpec:
        conditions = self._conditions
        return StepSpec(
            argv=op.argv,
            rootfs=rootfs,
            env=with_path(env),
            cwd=op.cwd or "/",
            user=user.resolve(rootfs, op.user),
            hostname=conditions.hostname,
            network=STEP_NETWORKS[op.network],
            mounts=mounts,
            limits=conditions.limits,
            shm_size_bytes=conditions.shm_size_bytes,
            ulimits=conditions.ulimits,
        )

    def _end_volumes(self, mounts: StepMounts, status: ExitStatus | None, step: "Reporter") -> tuple[MutableName, ...]:
        """Keep what the step added to its volumes if it ran at all; a volume never makes a build fail. The mutable names that they tell of."""
        observed: tuple[MutableName, ...] = ()
        if self._deps is not None:
            succeeded = status is not None and status.code == 0 and not status.was_cancelled
            observed += self._deps.end(mounts.lent, step, succeeded=succeeded, secrets=self._secrets.lent())
        for attachment in mounts.attachments:
            if attachment.warning:
                step.warn("volume.warning", attachment.warning)
            if status is None:
                self._volumes.discard(attachment)
                continue
            report = self._volumes.commit(attachment, succeeded=status.code == 0, step=step.name)
            if report.use is not None:
                step.used_volume(attachment.key.scope, report.use)
            if report.warning:
                step.warn("volume.warning", report.warning)
            observed += report.observed
        return observed

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

"""`Workshop`: the crew and everything that its threads share, made when the first step needs it and put away when the build ends."""

import time
from _thread import allocate_lock

from chandlery.buildcache.records import RecordStore
from chandlery.engine.contexts import Contexts
from chandlery.engine.crew import Crew
from chandlery.engine.request import BuildRequest
from chandlery.engine.tools import Tools
from chandlery.errors import Cancelled
from chandlery.graph.op import CopyAction, FileOp
from chandlery.graph.vertex import Vertex
from chandlery.oci import platform
from chandlery.source.layer_forms import LayerForms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from chandlery.engine.volume_use import VolumeUse
    from chandlery.graph.op import ExecOp
    from chandlery.runtime.network import NetworkPool
    from chandlery.runtime.secrets import Secrets
    from chandlery.volume.sharing import VolumeReport
    from chandlery.worker.deps_caches import DepsCaches
    from chandlery.worker.exec_op import StepRunner
    from chandlery.worker.launcher import Launcher
    from chandlery.worker.local import LocalWorker
    from chandlery.worker.mounter import Mounter

    T = TypeVar("T")


def patience_s(request: BuildRequest, failure: BaseException | None) -> float | None:
    """How long the end of a build waits for what is being published; one that was stopped doesn't wait."""
    if failure is not None and (isinstance(failure, Cancelled) or not isinstance(failure, Exception)):
        return 0.0
    return request.cache_publish_timeout_s


class Workshop:
    """For one build; a context manager. A build that runs nothing makes nothing of it. `networks_early`: steps with an isolated network are to come,
    so it is made beside what the build does first."""

    def __init__(
        self,
        request: BuildRequest,
        tools: Tools,
        forms: LayerForms,
        contexts: Contexts,
        records: RecordStore,
        *,
        created_s: int | None,
        warn: "Callable[[str, str, str], None]",
        networks_early: bool = False,
    ) -> None:
        self._warn = warn
        self._request = request
        self._tools = tools
        self._forms = forms
        self._contexts = contexts
        self._records = records
        self._created_ns = created_s * 10**9 if created_s is not None else None
        self._networks_early = networks_early
        self._lock = allocate_lock()
        self._worker: LocalWorker | None = None
        self._runner: StepRunner | None = None
        self._mounter: Mounter | None = None
        self._launcher: Launcher | None = None
        self._network: NetworkPool | None = None
        self._volume_use: VolumeUse | None = None
        self._secrets: Secrets | None = None
        self.volume_reports: tuple[VolumeReport, ...] = ()
        self.waited_s = 0.0
        self._deps: DepsCaches | None = None
        self.crew = Crew(prepare=self._prepare, cancelled=tools.stop, max_at_once=tools.max_steps)

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        """No thread, mount, process or namespace of the build is left afterwards. `waited_s` is how long that took because something was published."""
        try:
            self.crew.close()
        finally:
            try:
                if self._launcher is not None:
                    self._launcher.close()
                if self._network is not None:
                    self._network.close()
            finally:
                if self._deps is not None:
                    self._deps.close()
                if self._volume_use is not None:
                    began_s = time.monotonic()
                    self.volume_reports = self._volume_use.close(patience_s(self._request, failure))
                    self.waited_s = time.monotonic() - began_s

    def mounter(self) -> "Mounter":
        with self._lock:
            return self._made_mounter()

    def worker(self) -> "LocalWorker":
        """What makes the results of steps."""
        with self._lock:
            if self._worker is None:
                from chandlery.worker.local import LocalWorker

                self._worker = LocalWorker(
                    store=self._tools.store,
                    session=self._tools.session,
                    snapshots=self._tools.snapshots,
                    forms=self._forms,
                    mounter=self._made_mounter(),
                    runner=self._step_runner,
                    secrets=self._made_secrets(),
                    context=self._contexts.get,
                    previous=self._previous,
                    created_ns=self._created_ns,
                    keeps_volumes=self._request.keeps_volumes,
                )
            return self._worker

    def foresee(self, ops: "tuple[ExecOp, ...]") -> None:
        """Some of these steps with cache volumes may run."""
        with self._lock:
            use = self._made_volume_use()
        use.foresee(ops)

    def expect(self, op: "ExecOp") -> None:
        """A step with cache volumes will run, as soon as what it stands on is there."""
        with self._lock:
            use = self._made_volume_use()
        use.expect(op)

    def alone(self, work: "Callable[[], T]") -> "T":
        """Do one thing in the crew, and wait for it."""
        from chandlery.solver.facts import Executed, Fact, Failed

        made: list[T] = []
        failures: list[BaseException] = []

        def run() -> Fact:
            made.append(work())
            return Executed(0, None)

        def failed(vertex: int, failure: BaseException) -> Fact:
            failures.append(failure)
            return Failed(vertex)

        self.crew.submit(0, run, failed)
        try:
            self.crew.next_fact()
        except BaseException:
            self.crew.stop()
            raise
        if failures:
            raise failures[0]
        return made[0]

    def _prepare(self) -> None:
        """In the thread that starts the others: a mount namespace of the build's own."""
        from chandlery.linux.namespaces import enter_private_mounts

        self._tools.clean()
        enter_private_mounts()
        if self._networks_early:
            self._network = self._tools.network()
            self._network.start()

    def _made_mounter(self) -> "Mounter":
        if self._mounter is None:
            from chandlery.worker.mounter import Mounter

            self._mounter = Mounter(self._tools.session, self._tools.mount_method())
        return self._mounter

    def _step_runner(self) -> "StepRunner":
        with self._lock:
            if self._runner is None:
                self._runner = self._make_runner()
            return self._runner

    def _make_runner(self) -> "StepRunner":
        from chandlery.runtime.secrets import mount_memory
        from chandlery.worker.exec_op import DEFAULT_HOSTNAME, StepConditions, StepRunner
        from chandlery.worker.launcher import Launcher

        request, tools = self._request, self._tools
        self._network, use = self._network or tools.network(), self._made_volume_use()
        # bundles, and the copies that runtimes make of them, hold the secrets that steps see as variables
        memory = tools.session.scratch("o")
        mount_memory(memory)
        self._launcher = Launcher(tools.session, tools.runtime(f"{memory}/state"), memory, self.crew.cancelled)
        return StepRunner(
            session=tools.session,
            snapshots=tools.snapshots,
            mounter=self._made_mounter(),
            launcher=self._launcher,
            network=self._network,
            volumes=use.volumes(),
            policy=use.policy,
            secrets=self._made_secrets(),
            conditions=StepConditions(
                request.limits, request.shm_size_bytes, request.ulimits, dict(request.build_args).get("BUILDKIT_SANDBOX_HOSTNAME") or DEFAULT_HOSTNAME
            ),
            ca_certs=tools.ca_certs(request.ca_certs),
            cancelled=self.crew.cancelled,
            deps=self._deps_caches(),
        )

    def _made_secrets(self) -> "Secrets":
        if self._secrets is None:
            from chandlery.runtime.secrets import Secrets

            self._secrets = Secrets(self._request.secrets, self._tools.environment)
        return self._secrets

    def _made_volume_use(self) -> "VolumeUse":
        if self._volume_use is None:
            from chandlery.engine.volume_use import VolumeUse, volume_scope
            from chandlery.worker.step_mounts import VolumePolicy

            tools, secrets = self._tools, self._made_secrets()
            scope = volume_scope(self._request, tools.scopes)
            policy = VolumePolicy(scope, str(platform.native()), tools.plain_volumes, tools.cache_mode == "off")
            self._volume_use = VolumeUse(lambda: tools.volumes(self._warn, secrets.lent), policy, tools.session)
        return self._volume_use

    def _deps_caches(self) -> "DepsCaches | None":
        request, tools = self._request, self._tools
        if not request.deps_caches:
            return None
        from chandlery.scope import MACHINE_SCOPE
        from chandlery.volume.deps_cache import parse_all
        from chandlery.worker.deps_caches import ANY_SCOPE, DepsCaches, DepsPolicy

        # who names a directory for it means to share it, whether or not the source has a scope that others know
        # (a step that is run again has its scope in the request)
        given = request.cache_scope if request.cache_scope != MACHINE_SCOPE else ""
        scopes = tools.scopes.reads if tools.scopes.is_shared else (given or ANY_SCOPE,)
        policy = DepsPolicy(parse_all(request.deps_caches), scopes, str(platform.native()), tools.cache_mode)
        self._deps = DepsCaches(tools.store, tools.session, self._made_mounter(), policy)
        return self._deps

    def _previous(self, vertex: Vertex) -> str:
        """The snapshot that the same COPY of a context made last time, leased, as a directory; "" if there is none."""
        from chandlery.errors import Lost
        from chandlery.solver.cache_key import operation_digest

        if not isinstance(vertex.op, FileOp) or not any(isinstance(action, CopyAction) for action in vertex.op.actions):
            return ""
        for record in self._records.same_operation(operation_digest(vertex.op), limit=3):
            snapshot = record.result.layers[-1].snapshot if record.result.layers else ""
            try:
                if snapshot:
                    self._tools.snapshots.lease(self._tools.session, (snapshot,))
                    return self._tools.snapshots.path(snapshot)
            except Lost:
                continue
        return ""

"""`LocalWorker`: makes results on this machine. It finds the files that an operation needs, hands them to the module that does the operation, and commits what
came of it as a snapshot. One instance a build; its methods run in the crew's threads.
"""

import contextlib

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.errors import InternalError
from chandlery.graph.op import CopyAction, ExecOp, FileOp
from chandlery.graph.selection import selections
from chandlery.graph.vertex import Vertex
from chandlery.oci.digest import Digest
from chandlery.runtime.secrets import Secrets
from chandlery.snapshot.checksum import digest_view
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.source.layer_forms import LayerForms
from chandlery.worker import file_op, manifest
from chandlery.worker.exec_op import StepRunner
from chandlery.worker.file_op import ContextInput, HttpInput, Input, ViewInput
from chandlery.worker.mounter import Mounter
from chandlery.worker.results import ContextFiles, HttpFile, Made
from chandlery.worker.step_mounts import required_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chandlery.runtime.process import ExitStatus
    from chandlery.source.context import LocalContext
    from chandlery.worker.results import Reporter


class LocalWorker:
    """`context(name)` opens a local context; `previous(vertex)` names the snapshot that the same instruction made last time, "" if none.
    A step that is to run anew starts with empty volumes, unless `keeps_volumes`."""

    def __init__(
        self,
        *,
        store: Store,
        session: Session,
        snapshots: SnapshotStore,
        forms: LayerForms,
        mounter: Mounter,
        runner: "Callable[[], StepRunner]",
        secrets: Secrets,
        context: "Callable[[str], LocalContext]",
        previous: "Callable[[Vertex], str]",
        created_ns: int | None = None,
        keeps_volumes: bool = False,
    ) -> None:
        self._store = store
        self._session = session
        self._snapshots = snapshots
        self._forms = forms
        self._mounter = mounter
        self._runner = runner
        self._secrets = secrets
        self._context = context
        self._previous = previous
        self._created_ns = created_ns
        self._keeps_volumes = keeps_volumes

    def check_secrets(self, vertex: Vertex) -> None:
        """Raise RequestError if a secret is missing without which the step must not run, whoever else may be running it."""
        if isinstance(vertex.op, ExecOp):
            for name in required_secrets(vertex.op.mounts):
                self._secrets.read(name, is_required=True)

    def prepare(self, vertex: Vertex, inputs: tuple[object, ...]) -> None:
        """Fetch what the step needs of base images, so that a pull is shown before the step and not as a part of it. Raises Lost, RegistryError."""
        for index in {0, *selections(vertex.op)}:
            source = inputs[index]
            if isinstance(source, FileSystem):
                self._forms.directories(source)

    def execute(self, vertex: Vertex, inputs: tuple[object, ...], step: "Reporter") -> Made:
        """Make the vertex's layer. Raises StepFailed, InputError, MachineError, Lost, Cancelled."""
        match vertex.op:
            case FileOp():
                return self._file(vertex, vertex.op, inputs, step)
            case ExecOp():
                return self._exec(vertex.op, inputs, step, starts_empty=vertex.is_cache_ignored and not self._keeps_volumes)
        raise InternalError(f"{type(vertex.op).__name__} is not a step")

    def digest(self, selected: tuple[str, ...], source: object, *, is_copy: bool) -> Digest:
        """The content digest of the paths that a step selects of an input. Raises Lost; InputError where a path isn't there."""
        if isinstance(source, ContextFiles):
            return self._context(source.name).digest(selected, allows_wildcards=is_copy)
        with self._mounter.view(self._forms.directories(_files(source))) as view:
            return digest_view(view, selected, allows_wildcards=is_copy)

    def has_same_content(self, one: LayerRef, other: LayerRef) -> bool:
        return self._forms.has_same_content(one, other)

    def _file(self, vertex: Vertex, op: FileOp, inputs: tuple[object, ...], step: "Reporter") -> Made:
        base = self._forms.directories(_files(inputs[0]))
        before = self._previous(vertex)
        active = self._snapshots.prepare(self._session)
        try:
            with contextlib.ExitStack() as stack:
                view = stack.enter_context(self._mounter.view(base)) if base else None
                sources = {index: self._input(inputs[index], stack) for index in selections(op)}
                report = file_op.apply(op, base=view, upper=active.upper, inputs=sources, previous=before or None, created_ns=self._created_ns)
            snapshot = self._snapshots.commit(active, size_bytes=report.size_bytes)
        except BaseException:
            self._snapshots.discard(active)
            raise
        for warning in report.warnings:
            step.warn("copy.owner", warning)
        if report.manifest:
            manifest.write(self._store.layout.snapshot(snapshot), report.manifest)
        return Made(snapshot, report.size_bytes)

    def _input(self, source: object, stack: contextlib.ExitStack) -> Input:
        match source:
            case ContextFiles():
                return ContextInput(self._context(source.name))
            case HttpFile():
                return HttpInput(self._store.blobs.path(source.op.digest), source.op.file_name, source.op.mtime_s)
        layers = tuple(self._forms.directories(_files(source)))
        return ViewInput(stack.enter_context(self._mounter.view(layers)), layers)

    def rehearse(self, op: ExecOp, inputs: tuple[object, ...], step: "Reporter", *, is_interactive: bool) -> "ExitStatus":
        """Run a step and keep nothing of it. Raises InputError, MachineError, Lost."""
        return self._runner().rehearse(op, self._forms.directories(_files(inputs[0])), self._mounted(op, inputs), step, is_interactive=is_interactive)

    def _exec(self, op: ExecOp, inputs: tuple[object, ...], step: "Reporter", *, starts_empty: bool) -> Made:
        return self._runner().run(op, self._forms.directories(_files(inputs[0])), self._mounted(op, inputs), step, starts_empty=starts_empty)

    def _mounted(self, op: ExecOp, inputs: tuple[object, ...]) -> dict[int, tuple[str, ...]]:
        """The directories of each input that the step mounts something of."""
        layers: dict[int, tuple[str, ...]] = {}
        for index, selected in selections(op).items():
            source = inputs[index]
            layers[index] = self._context_layers(source, selected) if isinstance(source, ContextFiles) else self._forms.directories(_files(source))
        return layers

    def _context_layers(self, source: ContextFiles, selected: tuple[str, ...]) -> tuple[str, ...]:
        """A context's selected files as a layer: what a bind mount of the context shows is root's and without what is ignored."""
        active = self._snapshots.prepare(self._session)
        actions = tuple(CopyAction(1, (path,), path, allows_wildcards=False) for path in selected)
        try:
            contexts: Mapping[int, Input] = {1: ContextInput(self._context(source.name))}
            report = file_op.apply(FileOp(actions), base=None, upper=active.upper, inputs=contexts, created_ns=self._created_ns)
            return (self._snapshots.path(self._snapshots.commit(active, size_bytes=report.size_bytes)),)
        except BaseException:
            self._snapshots.discard(active)
            raise


def _files(result: object) -> FileSystem:
    if not isinstance(result, FileSystem):
        raise InternalError(f"{type(result).__name__} is not a file system")
    return result

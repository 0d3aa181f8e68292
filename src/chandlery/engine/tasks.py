"""What the driver has done for it: one method for each of the solver's actions that does something. Runs in the crew's threads.

A step runs under a lock of its key's name, held across processes: the second build that wants the same step waits, then finds the first one's record.
Results are recorded before anyone is told of them. A layer that turns out to be gone is reported as ResultLost, never as an error.
"""

import time

from chandlery.buildcache.record import Observation, StepRecord
from chandlery.buildcache.records import RecordStore
from chandlery.content.steplock import StepLocks
from chandlery.engine.failures import with_source
from chandlery.engine.foreign import as_ours
from chandlery.engine.sharing import Sharing
from chandlery.engine.steps import Step, StepBook
from chandlery.engine.stop_flag import StopFlag
from chandlery.engine.volatility import Volatility
from chandlery.errors import Cancelled, ChandleryError, InternalError, Lost, NoSpace, StepFailed, StoreError
from chandlery.events import Outcome
from chandlery.graph.op import ContextOp, ExecOp, ExportOp, FileOp, HttpOp, ImageOp, ScratchOp
from chandlery.graph.selection import selections
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import Digest
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.solver.actions import DigestInputs, Execute, FindTwin
from chandlery.solver.cache_key import CacheKey
from chandlery.solver.facts import Digested, Executed, Fact, NoTwin, ResultLost, TwinFound
from chandlery.values import replace
from chandlery.worker.results import ContextFiles, HttpFile, Made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    T = TypeVar("T")

    class Worker(Protocol):
        """Makes results: see worker.local.LocalWorker."""

        def prepare(self, vertex: Vertex, inputs: "tuple[object, ...]") -> None: ...
        def execute(self, vertex: Vertex, inputs: "tuple[object, ...]", step: Step) -> Made: ...
        def digest(self, selected: tuple[str, ...], source: object, *, is_copy: bool) -> Digest: ...
        def has_same_content(self, one: LayerRef, other: LayerRef) -> bool: ...
        def check_secrets(self, vertex: Vertex) -> None: ...

    class Exports(Protocol):
        """Makes outputs: see engine.exports.Exports."""

        def run(self, output: int, result: FileSystem, step: Step) -> None: ...
        def is_instant(self, output: int, result: FileSystem) -> bool: ...
        def is_repeatable(self, output: int) -> bool: ...
        def name(self, output: int) -> str: ...


STEP_TIMEOUT_S = 24 * 3600.0


class BuildTasks:
    """For one build. `fresh(vertex)` says that the vertex must not be answered from records; `created` gives the layers' created time; `keep_failed`
    writes a failed step down and gives the command that repeats it."""

    def __init__(
        self,
        *,
        graph: Graph,
        keys: "tuple[CacheKey | None, ...]",
        fresh: "Callable[[int], bool]",
        worker: "Callable[[], Worker]",
        exports: "Exports",
        records: RecordStore,
        locks: StepLocks,
        book: StepBook,
        stop: StopFlag,
        root: str,
        make_room: "Callable[[], bool]",
        created: "Callable[[], str]",
        keep_failed: "Callable[[ExecOp, tuple[object, ...]], str]",
        volatility: Volatility,
        sharing: Sharing | None = None,
    ) -> None:
        self._volatility = volatility
        self._sharing = sharing
        self._graph = graph
        self._keys = keys
        self._fresh = fresh
        self._worker = worker
        self._exports = exports
        self._records = records
        self._locks = locks
        self._book = book
        self._stop = stop
        self._root = root
        self._make_room = make_room
        self._created = created
        self._keep_failed = keep_failed

    def is_instant(self, action: Execute, inputs: tuple[object, ...]) -> bool:
        """Whether `execute` has so little to do that a thread would cost more."""
        op = self._graph.vertices[action.vertex].op
        if isinstance(op, ExportOp):
            return self._exports.is_instant(op.output, _files(inputs[0]))
        return isinstance(op, ScratchOp | ImageOp | ContextOp | HttpOp)

    def execute(self, action: Execute, inputs: tuple[object, ...]) -> Fact:
        vertex = self._graph.vertices[action.vertex]
        match vertex.op:
            case ScratchOp():
                return Executed(action.vertex, FileSystem())
            case ImageOp():
                return Executed(action.vertex, FileSystem(tuple(LayerRef(diff_id=str(diff_id)) for diff_id in vertex.op.diff_ids)))
            case ContextOp():
                return Executed(action.vertex, ContextFiles(vertex.op.name))
            case HttpOp():
                return Executed(action.vertex, HttpFile(vertex.op))
            case ExportOp():
                return self._export(action.vertex, vertex.op.output, _files(inputs[0]))
            case ExecOp() | FileOp():
                return self._step(action, vertex, inputs)

    def digest_inputs(self, action: DigestInputs, inputs: tuple[object, ...]) -> Fact:
        """Digest what the vertex selects of its inputs, for the key by content."""
        vertex = self._graph.vertices[action.vertex]
        digests: list[tuple[int, Digest]] = []
        try:
            for index, selected in sorted(selections(vertex.op).items()):
                digests.append((index, self._worker().digest(selected, inputs[index], is_copy=isinstance(vertex.op, FileOp))))
        except Lost as lost:
            return self._lost(action.vertex, lost, inputs)
        except ChandleryError as failure:
            raise with_source(failure, vertex) from failure
        for index in range(1, len(vertex.inputs)):
            key = self._keys[vertex.inputs[index]]
            if index not in dict(digests) and key is not None:
                digests.append((index, key.digest))
        return Digested(action.vertex, tuple(sorted(digests)))

    def find_twin(self, action: FindTwin, parent: object) -> Fact:
        """An older record of this operation, on a parent that differs from the new one in its topmost layer's times at most."""
        key, files = self._keys[action.vertex], _files(parent)
        if key is None or not files.layers:
            return NoTwin(action.vertex)
        for record in self._records.same_operation(key.op_digest):
            older = record.result.below()
            # leased before it is read, or a prune could take it away meanwhile
            if not _may_be_twins(record, key, older, files) or (leased := self._records.look_up(record.key, on_same_inputs=True)) is None:
                continue
            try:
                if leased.result == record.result and self._has_same_top(older, files):
                    self._adopt(action.vertex, key, leased, older)
                    return TwinFound(action.vertex, older, leased.result)
            except Lost:
                continue
        return NoTwin(action.vertex)

    def _has_same_top(self, older: FileSystem, parent: FileSystem) -> bool:
        one, other = older.layers[-1], parent.layers[-1]
        return _is_one_layer(one, other) or self._worker().has_same_content(one, other)

    def _adopt(self, vertex: int, key: CacheKey, record: StepRecord, parent: FileSystem) -> None:
        """Let the keys of this build name the older chain, so that the next build hits at once."""
        described, below = self._graph.vertices[vertex], self._graph.vertices[vertex].inputs[0]
        taken = self._volatility.complete(vertex, _under(record, key))
        self._records.put(taken)
        parent_key = self._keys[below]
        if parent_key is not None:
            adopted = StepRecord(
                parent_key.digest, parent_key.op_digest, parent_key.document, parent, self._graph.vertices[below].name, record.created_at_s,
                observed=self._volatility.of(below), sources=record.sources,
            )  # fmt: skip
            self._records.put(adopted, replaces=True)
        if self._sharing is not None:
            self._sharing.offer(vertex, taken)
        self._book.cached(described.name, key=str(key.digest), detail="content unchanged", observed=taken.observed)

    def _step(self, action: Execute, vertex: Vertex, inputs: tuple[object, ...]) -> Fact:
        key = self._keys[action.vertex]
        if key is None:
            raise InternalError(f"{vertex.name} has no key")
        shown = _Shown(self._book, vertex.name, str(key.digest))
        try:
            self._worker().check_secrets(vertex)
            with self._locks.hold(str(key.digest), timeout_s=STEP_TIMEOUT_S, on_wait=shown.say_waiting, while_waiting=self._stop.check):
                found = None if self._fresh(action.vertex) else self._records.look_up(key.digest)
                if found is not None:
                    self._volatility.note_hit(action.vertex, found, is_by_chain=True)
                    shown.finish(Outcome.CACHED, detail="made by another build", observed=found.observed)
                    return Executed(action.vertex, found.result)
                self._worker().prepare(vertex, inputs)
                step = shown.step()
                return self._with_room(lambda: self._run(action, vertex, inputs, key, step))
        except Lost as lost:
            shown.finish(Outcome.CANCELLED, detail=f"{lost.what} is gone, making it again")
            return self._lost(action.vertex, lost, inputs)
        except Cancelled:
            shown.finish(Outcome.CANCELLED)
            raise
        except Exception as raised:
            failure = as_ours(raised, self._root)
            shown.finish(Outcome.FAILED, failure=failure)
            if isinstance(failure, StepFailed) and isinstance(vertex.op, ExecOp):
                failure.reproduce = self._keep_failed(vertex.op, inputs)
            if isinstance(failure, ChandleryError):
                failure = with_source(failure, vertex, log_tail=shown.step().log_tail)
            raise failure from raised

    def _with_room(self, work: "Callable[[], T]") -> "T":
        """On a full disk: what nobody uses goes, and the work is done once more."""
        try:
            return work()
        except Exception as failure:
            if not isinstance(as_ours(failure, self._root), NoSpace) or not self._make_room():
                raise
        return work()

    def _run(self, action: Execute, vertex: Vertex, inputs: tuple[object, ...], key: CacheKey, step: Step) -> Fact:
        started, started_at_s = time.monotonic(), time.time()
        is_fresh = self._fresh(action.vertex)
        made = self._worker().execute(vertex, inputs, step)
        layer = LayerRef(snapshot=made.snapshot, created=self._created(), created_by=vertex.created_by)
        result = _files(inputs[0]).on_top(layer)
        sources = self._sharing.sources(result) if self._sharing is not None else ()
        observed = tuple(Observation(name.kind, name.name, name.validator, started_at_s) for name in made.observed)
        record = StepRecord(
            key.digest, key.op_digest, key.document, result, vertex.name, time.time(), time.monotonic() - started, made.size_bytes, observed, sources
        )  # fmt: skip
        record = self._volatility.complete(action.vertex, record)
        by_content = tuple(replace(_under(record, other), observed=self._volatility.by_content(action.vertex, record)) for other in action.keys[1:])
        self._records.put(record, by_content=by_content, replaces=is_fresh)
        if self._sharing is not None:
            self._sharing.offer(action.vertex, record, by_content)
        step.finish(Outcome.DONE, observed=record.observed)
        return Executed(action.vertex, result)

    def _export(self, vertex: int, output: int, result: FileSystem) -> Fact:
        step = self._book.start(self._exports.name(output))
        try:
            if self._exports.is_repeatable(output):
                self._with_room(lambda: self._exports.run(output, result, step))
            else:
                self._exports.run(output, result, step)
        except Lost as lost:
            if not self._exports.is_repeatable(output):
                step.finish(Outcome.FAILED, failure=lost)
                hint = "build again: it is made anew"
                raise StoreError(f"{lost.what} is gone from the store, and half of the output is written", code="store.lost", hint=hint) from lost
            step.finish(Outcome.CANCELLED, detail=f"{lost.what} is gone, making it again")
            return self._lost(vertex, lost, (result,))
        except Exception as raised:
            failure = as_ours(raised, self._root)
            step.finish(Outcome.CANCELLED if isinstance(failure, Cancelled) else Outcome.FAILED, failure=failure)
            raise failure from raised
        step.finish(Outcome.DONE)
        return Executed(vertex, None)

    def _lost(self, vertex: int, lost: Lost, inputs: tuple[object, ...]) -> Fact:
        """Which inputs stood on what is lost; their records are forgotten. None of them does where a base layer or a blob is lost: those are made or
        fetched again when the vertex is tried again."""
        self._records.forget_with_snapshot(lost.what)
        described = self._graph.vertices[vertex]
        holders = tuple(
            source
            for source, result in zip(described.inputs, inputs, strict=True)
            if isinstance(result, FileSystem) and any(lost.what in (layer.snapshot, layer.diff_id) for layer in result.layers)
        )
        return ResultLost(vertex, holders)


def _files(result: object) -> FileSystem:
    if not isinstance(result, FileSystem):
        raise InternalError(f"{type(result).__name__} is not a file system")
    return result


class _Shown:
    """A step that is shown once there is something to say of it."""

    def __init__(self, book: StepBook, name: str, key: str) -> None:
        self._book = book
        self._name = name
        self._key = key
        self._step: Step | None = None

    def step(self) -> Step:
        if self._step is None:
            self._step = self._book.start(self._name, key=self._key)
        return self._step

    def say_waiting(self) -> None:
        self.step().log(2, b"another build is running this step: waiting for its result\n")

    def finish(self, outcome: Outcome, *, detail: str = "", failure: BaseException | None = None, observed: tuple[Observation, ...] = ()) -> None:
        self.step().finish(outcome, detail=detail, failure=failure, observed=observed)


def _under(record: StepRecord, key: CacheKey) -> StepRecord:
    return replace(record, key=key.digest, op_digest=key.op_digest, document=key.document)


def _is_one_layer(one: LayerRef, other: LayerRef) -> bool:
    return (one.snapshot, one.diff_id) == (other.snapshot, other.diff_id)


def _may_be_twins(record: StepRecord, key: CacheKey, older: FileSystem, parent: FileSystem) -> bool:
    """Whether it is worth comparing contents: same height, same layers but the topmost, and the operation reads the same beside its parent."""
    import json

    if not older.layers or len(older.layers) != len(parent.layers):
        return False
    if not older.layers[-1].snapshot:
        return False  # a base image's, perhaps one that this build knows nothing of
    if not all(_is_one_layer(*pair) for pair in zip(older.layers[:-1], parent.layers[:-1], strict=True)):
        return False
    one, other = (json.loads(document)["inputs"][1:] for document in (record.document, key.document))
    return bool(one == other)

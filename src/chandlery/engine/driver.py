"""Feeds facts to the solver and carries out its actions: the one loop of a build.

Look-ups are made here, inline; work is done by the crew's threads and comes back as facts through one queue. A failure stops the build: nothing new starts,
running steps are cancelled, and the first error is raised when all have ended. However the loop is left, no work of this build goes on behind it.
"""

from chandlery.buildcache.record import StepRecord
from chandlery.buildcache.records import RecordStore
from chandlery.engine.crew import Crew
from chandlery.engine.request import Pairs
from chandlery.engine.sharing import Sharing
from chandlery.engine.steps import StepBook
from chandlery.engine.volatility import Volatility
from chandlery.errors import Cancelled, ChandleryError, InternalError, StoreError
from chandlery.graph.mount import CacheMount
from chandlery.graph.op import ContextOp, ExecOp, ExportOp, FileOp, HttpOp, ImageOp, ScratchOp
from chandlery.graph.vertex import Graph
from chandlery.solver.actions import Action, DigestInputs, Execute, FindTwin, LookUp, Stop
from chandlery.solver.facts import Fact, Failed, KeyFound, KeyMissing, Wanted
from chandlery.solver.solver import Solver, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import UnionType
    from typing import Protocol

    class Tasks(Protocol):
        """What the driver has done for it; each call answers with one fact and raises only what fails the build."""

        def execute(self, action: Execute, inputs: tuple[object, ...]) -> Fact: ...
        def digest_inputs(self, action: DigestInputs, inputs: tuple[object, ...]) -> Fact: ...
        def find_twin(self, action: FindTwin, parent: object) -> Fact: ...
        def is_instant(self, action: Execute, inputs: tuple[object, ...]) -> bool: ...

    class Foreseeing(Protocol):
        """Hears of steps with cache volumes: `foresee` that a shared cache is asked for them, `expect` that one has missed, long before what it stands on
        is there."""

        def foresee(self, ops: tuple[ExecOp, ...]) -> None: ...
        def expect(self, op: ExecOp) -> None: ...


class Driver:
    def __init__(
        self,
        *,
        graph: Graph,
        solver: Solver,
        records: RecordStore,
        tasks: "Tasks",
        crew: Crew,
        book: StepBook,
        is_shown: "Callable[[str], bool]",
        volatility: Volatility,
        sharing: Sharing | None = None,
        volumes: "Foreseeing | None" = None,
    ) -> None:
        self._volumes = volumes
        self._is_foreseen = False
        self._volatility = volatility
        self._sharing = sharing
        self._hits: dict[int, StepRecord] = {}
        self._graph = graph
        self._solver = solver
        self._records = records
        self._tasks = tasks
        self._crew = crew
        self._book = book
        self._is_shown = is_shown
        self._shown: set[int] = set()
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Resolve the graph's targets; raises the first failure, or Cancelled."""
        try:
            self._loop()
        except BaseException:
            self._crew.stop()
            raise
        if self._failure is not None:
            raise self._failure
        if self._solver.is_stopped:
            raise StoreError("results of this build keep disappearing from the store", code="store.vanishing", hint="does something delete files in it?")

    def _loop(self) -> None:
        waiting: list[Action] = self._solver.handle(Wanted())
        while True:
            while waiting:
                waiting[:0] = self._act(waiting.pop(0))
            if self._solver.is_finished:
                return
            if not self._crew.is_busy:
                raise InternalError("the build stands still: nothing runs and nothing is decided")
            waiting = self._take(self._crew.next_fact())

    def _act(self, action: Action) -> list[Action]:
        match action:
            case LookUp():
                return self._look_up(action)
            case Stop():
                self._crew.stop()
                return []
            case Execute():
                return self._execute(action)
            case DigestInputs():
                inputs = self._inputs(action.vertex)
                self._crew.submit(action.vertex, lambda: self._tasks.digest_inputs(action, inputs), self._failed)
            case FindTwin():
                parent = self._solver.result(self._graph.vertices[action.vertex].inputs[0])
                self._crew.submit(action.vertex, lambda: self._tasks.find_twin(action, parent), self._failed)
        return []

    def _look_up(self, action: LookUp) -> list[Action]:
        """Here first; where that misses, in the shared cache, whose answer is waited for by a thread unless it has come already."""
        record = self._records.look_up(action.key.digest)
        if record is not None:
            if self._sharing is not None:
                self._sharing.learn(record)
            self._hits[action.vertex] = record
            return self._take(self._found(action, record))
        if self._sharing is None or not self._sharing.is_asked:
            return self._take(KeyMissing(action.vertex))
        sharing = self._sharing
        if self._volumes is not None and not self._is_foreseen:
            self._is_foreseen = True
            self._volumes.foresee(tuple(filter(None, (self._with_volumes(vertex) for vertex in sorted(self._graph.needed())))))
        if sharing.is_answered(action):
            return self._take(self._answer(sharing, action))
        self._crew.submit(action.vertex, lambda: self._answer(sharing, action), self._failed)
        return []

    def _answer(self, sharing: Sharing, action: LookUp) -> Fact:
        record = sharing.look_up(action)
        return KeyMissing(action.vertex) if record is None else self._found(action, record)

    def _found(self, action: LookUp, record: StepRecord) -> Fact:
        self._volatility.note_hit(action.vertex, record, is_by_chain=action.key == self._solver.keys[action.vertex])
        return KeyFound(action.vertex, record.result)

    def _execute(self, action: Execute) -> list[Action]:
        op, inputs = self._graph.vertices[action.vertex].op, self._inputs(action.vertex)
        if isinstance(op, ExecOp | FileOp | ExportOp):
            self._show_cached(action.vertex)
        if isinstance(op, ExecOp | FileOp | ExportOp):
            self._shown.add(action.vertex)
        if self._tasks.is_instant(action, inputs):
            return self._take(self._guarded(action.vertex, lambda: self._tasks.execute(action, inputs)))
        self._crew.submit(action.vertex, lambda: self._tasks.execute(action, inputs), self._failed)
        return []

    def _guarded(self, vertex: int, work: "Callable[[], Fact]") -> Fact:
        try:
            return work()
        except ChandleryError as failure:
            return self._failed(vertex, failure)

    def _failed(self, vertex: int, failure: BaseException) -> Fact:
        """Keep the first real failure; a cancellation that it caused elsewhere doesn't hide it."""
        if self._failure is None or (isinstance(self._failure, Cancelled) and not isinstance(failure, Cancelled)):
            self._failure = failure
        return Failed(vertex)

    def _take(self, fact: Fact) -> list[Action]:
        if isinstance(fact, KeyMissing) and self._volumes is not None and (op := self._with_volumes(fact.vertex)) is not None:
            self._volumes.expect(op)
        return self._solver.handle(fact)

    def _with_volumes(self, vertex: int) -> ExecOp | None:
        op = self._graph.vertices[vertex].op
        return op if isinstance(op, ExecOp) and any(isinstance(mount, CacheMount) for mount in op.mounts) else None

    def _inputs(self, vertex: int) -> tuple[object, ...]:
        return tuple(self._solver.result(source) for source in self._graph.vertices[vertex].inputs)

    def _show_cached(self, before: int) -> None:
        """Show, before a vertex is made, every step below it that nothing had to be done for; base images, which may still be pulled, before an export."""
        silent = ScratchOp | ContextOp | HttpOp | ExportOp
        if not isinstance(self._graph.vertices[before].op, ExportOp):
            silent |= ImageOp
        below = [vertex for vertex in sorted(Graph(self._graph.vertices, (before,)).needed() - {before}) if self._is_news(vertex, silent)]
        # what lies below a hit was looked up by nobody
        untold = [key.digest for vertex in below if self._solver.canonical(vertex) not in self._hits and (key := self._solver.keys[vertex]) is not None]
        known = self._records.made(untold) if untold and self._sharing is not None else {}
        for vertex in below:
            key, record = self._solver.keys[vertex], self._hits.get(self._solver.canonical(vertex))
            made = (record.created_at_s, record.size_bytes) if record is not None else known.get(key.digest) if key is not None else None
            origin = self._sharing.origin(vertex, made, self._hits, is_found_here=record is not None) if self._sharing is not None else ()
            observed, name = self._volatility.of(vertex), self._graph.vertices[vertex].name
            self._book.cached(name, key=str(key.digest) if key else "", detail=_origin_text(origin), origin=origin, observed=observed)

    def _is_news(self, vertex: int, silent: "type | UnionType") -> bool:
        """Whether to show a step or an image as cached, once."""
        described, canonical = self._graph.vertices[vertex], self._solver.canonical(vertex)
        if canonical in self._shown or isinstance(described.op, silent):
            return False
        is_untouched = self._solver.state(vertex) is State.IDLE or self._solver.is_hit(vertex)
        if not is_untouched and not (isinstance(described.op, ImageOp) and not self._is_shown(described.name)):
            return False
        self._shown.add(canonical)
        return True


def _origin_text(origin: Pairs) -> str:
    """What is shown behind CACHED: nothing for what this machine had."""
    named = dict(origin)
    if named.get("from", "local") == "local":
        return ""
    whose = (f", {name} {named[key]}" for key, name in (("scope", "scope"), ("writer", "by")) if named.get(key))
    return f"from {named['from']}{''.join(whose)}"

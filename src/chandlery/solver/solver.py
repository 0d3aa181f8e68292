"""Decides what happens next in a build; does nothing itself: no I/O, no clock, no threads.

`Solver.handle(fact)` returns the actions that the fact makes possible. Work is demanded from the targets backwards, so an unused stage is never
touched and the deepest hit ends the search: only a vertex that missed demands its inputs. Vertices with equal chain keys are one vertex.

The life of a vertex, and the fact that moves it on:

    IDLE -> LOOKING -> DONE                                                     KeyFound
                    -> WAITING   (its inputs are demanded)                       KeyMissing
    WAITING -> DIGESTING -> LOOKING_BY_CONTENT -> DONE | (next line)             Digested, KeyFound | KeyMissing
    WAITING -> TWINNING -> DONE | RUNNING                                        TwinFound | NoTwin
    WAITING -> RUNNING -> DONE | FAILED                                          Executed | Failed
    DONE -> WAITING                                                              ResultLost: a hit is a promise that can be revoked

A vertex that the request wants run anew (`is_cache_ignored`) makes everything above it *tainted*: there a chain key says nothing about content any more, so
tainted vertices are judged by content alone (a selection whose digest is known, or a twin), never by their chain key.

Must stay true: every action is answered by one fact; a vertex runs at most once unless its result was lost; a vertex has a result exactly while it is DONE.
"""

from enum import StrEnum

from chandlery.errors import InternalError
from chandlery.graph.op import ContextOp, ExecOp, ExportOp, FileOp, HttpOp, ImageOp, ScratchOp
from chandlery.graph.selection import selections
from chandlery.graph.vertex import Graph, Vertex
from chandlery.solver.actions import Action, DigestInputs, Execute, FindTwin, LookUp, Stop
from chandlery.solver.cache_key import CacheKey, chain_keys, content_key
from chandlery.solver.facts import Digested, Executed, Fact, Failed, KeyFound, KeyMissing, NoTwin, ResultLost, TwinFound, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from chandlery.oci.digest import Digest

_SOURCES = (ScratchOp, ImageOp, HttpOp, ContextOp)
MAX_REVOCATIONS = 8


class State(StrEnum):
    IDLE = "idle"
    LOOKING = "looking"
    WAITING = "waiting"
    DIGESTING = "digesting"
    LOOKING_BY_CONTENT = "looking by content"
    TWINNING = "twinning"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class _Progress:
    """What is known of one vertex."""

    __slots__ = ("by_content", "has_digests", "has_twinned", "is_hit", "is_older", "result", "revocations", "state")

    def __init__(self) -> None:
        self.state = State.IDLE
        self.result: object = None
        self.by_content: CacheKey | None = None
        self.has_digests = False
        self.has_twinned = False
        self.is_hit = False
        self.is_older = False  # its result is that of another chain key, under which what follows was recorded
        self.revocations = 0


class Solver:
    def __init__(self, graph: Graph, context_digests: "Mapping[tuple[int, int], Digest]") -> None:
        self._graph = graph
        self.keys = chain_keys(graph, context_digests)
        self._tainted = _tainted(graph)
        self._same_as = _twins_by_key(self.keys, graph, self._tainted)
        self._progress = [_Progress() for _ in graph.vertices]
        self._dependents: dict[int, set[int]] = {}
        self.is_stopped = False

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do: all targets are DONE, or a failure stopped the build and nothing runs any more."""
        if self.is_stopped:
            busy = (State.LOOKING, State.DIGESTING, State.LOOKING_BY_CONTENT, State.TWINNING, State.RUNNING)
            return all(item.state not in busy for item in self._progress)
        return all(self._of(target).state is State.DONE for target in self._graph.targets)

    def state(self, vertex: int) -> State:
        return self._of(vertex).state

    def result(self, vertex: int) -> object:
        """The result of a vertex that is DONE."""
        known = self._of(vertex)
        if known.state is not State.DONE:
            raise InternalError(f"vertex {vertex} has no result: it is {known.state}")
        return known.result

    def result_or_none(self, vertex: int) -> object:
        """The result of a vertex; None unless it is DONE."""
        known = self._of(vertex)
        return known.result if known.state is State.DONE else None

    def is_fresh(self, vertex: int) -> bool:
        """Whether the request wants this vertex, or one below it, run anew: its record then replaces an older one."""
        return self._same_as[vertex] in self._tainted

    def is_hit(self, vertex: int) -> bool:
        """Whether the vertex's result came from a record."""
        return self._of(vertex).is_hit

    def canonical(self, vertex: int) -> int:
        """The vertex that stands for this one: the first with the same chain key."""
        return self._same_as[vertex]

    def handle(self, fact: Fact) -> list[Action]:
        """Take in a fact; the actions that became possible, in the order in which they should start."""
        match fact:
            case Wanted():
                return self._demand_all(self._graph.targets)
            case KeyFound():
                known = self._of(fact.vertex)
                known.is_hit, known.is_older = True, known.state is State.LOOKING_BY_CONTENT
                return self._finish(fact.vertex, fact.result)
            case KeyMissing():
                return self._missed(self._same_as[fact.vertex])
            case Digested():
                return self._digested(self._same_as[fact.vertex], dict(fact.digests))
            case TwinFound():
                return self._twin_found(fact)
            case NoTwin():
                return self._advance(self._same_as[fact.vertex])
            case Executed():
                return self._finish(fact.vertex, fact.result)
            case Failed():
                self._of(fact.vertex).state = State.FAILED
                was_stopped, self.is_stopped = self.is_stopped, True
                return [] if was_stopped else [Stop()]
            case ResultLost():
                return self._revoke(fact)

    def _of(self, vertex: int) -> _Progress:
        return self._progress[self._same_as[vertex]]

    def _vertex(self, vertex: int) -> Vertex:
        return self._graph.vertices[vertex]

    def _demand_all(self, vertices: tuple[int, ...]) -> list[Action]:
        return [action for vertex in vertices for action in self._demand(self._same_as[vertex])]

    def _demand(self, vertex: int) -> list[Action]:
        known, described = self._progress[vertex], self._vertex(vertex)
        if known.state is not State.IDLE or self.is_stopped:
            return []
        if isinstance(described.op, _SOURCES):
            known.state = State.RUNNING
            return [Execute(vertex, ())]
        key = self.keys[vertex]
        if key is None or vertex in self._tainted:
            return self._missed(vertex)
        known.state = State.LOOKING
        return [LookUp(vertex, key)]

    def _missed(self, vertex: int) -> list[Action]:
        known = self._progress[vertex]
        known.state = State.WAITING
        actions: list[Action] = []
        for source in self._vertex(vertex).inputs:
            self._dependents.setdefault(self._same_as[source], set()).add(vertex)
            actions += self._demand(self._same_as[source])
        return actions + self._advance(vertex)

    def _advance(self, vertex: int) -> list[Action]:
        """Take a vertex that missed one stage further, if all its inputs are there."""
        known, described = self._progress[vertex], self._vertex(vertex)
        if self.is_stopped:
            known.state = State.IDLE if known.state is not State.FAILED else known.state
            return []
        if any(self._of(source).state is not State.DONE for source in described.inputs):
            known.state = State.WAITING
            return []
        if not known.has_digests and self._stage_inputs(described):
            known.state = State.DIGESTING
            return [DigestInputs(vertex)]
        if not known.has_twinned and self._may_have_twin(described):
            known.has_twinned = True
            known.state = State.TWINNING
            return [FindTwin(vertex)]
        known.state = State.RUNNING
        return [Execute(vertex, tuple(key for key in (self.keys[vertex], known.by_content) if key is not None))]

    def _stage_inputs(self, described: Vertex) -> list[int]:
        """Inputs that the key names by their chain although the operation reads only a selection of them."""
        if described.is_cache_ignored or not isinstance(described.op, FileOp | ExecOp) or self._same_as[described.inputs[0]] in self._tainted:
            return []
        read = selections(described.op)
        return [index for index in read if not isinstance(self._vertex(self._same_as[described.inputs[index]]).op, (ContextOp, HttpOp, ScratchOp))]

    def _may_have_twin(self, described: Vertex) -> bool:
        if described.is_cache_ignored or not described.inputs or isinstance(described.op, ExportOp):
            return False
        root = self._of(described.inputs[0])
        return (root.is_older or not root.is_hit) and isinstance(self._vertex(self._same_as[described.inputs[0]]).op, FileOp | ExecOp)

    def _digested(self, vertex: int, digests: "dict[int, Digest]") -> list[Action]:
        known, described = self._progress[vertex], self._vertex(vertex)
        known.has_digests = True
        known.by_content = content_key(described, self.keys[self._same_as[described.inputs[0]]], digests)
        known.state = State.LOOKING_BY_CONTENT
        return [LookUp(vertex, known.by_content)]

    def _twin_found(self, fact: TwinFound) -> list[Action]:
        parent = self._of(self._vertex(self._same_as[fact.vertex]).inputs[0])
        parent.result = fact.parent_result
        known = self._of(fact.vertex)
        known.is_hit = known.is_older = True
        return self._finish(fact.vertex, fact.result)

    def _finish(self, vertex: int, result: object) -> list[Action]:
        canonical = self._same_as[vertex]
        known = self._progress[canonical]
        known.state, known.result = State.DONE, result
        waiting = sorted(self._dependents.get(canonical, ()))
        return [action for dependent in waiting if self._progress[dependent].state is State.WAITING for action in self._advance(dependent)]

    def _revoke(self, fact: ResultLost) -> list[Action]:
        """Forget the lost results and wait for them again; a vertex that keeps losing them is a failure."""
        vertex = self._same_as[fact.vertex]
        known = self._progress[vertex]
        known.revocations += 1
        if known.revocations > MAX_REVOCATIONS:
            return self.handle(Failed(vertex))
        known.state = State.WAITING
        actions: list[Action] = []
        for lost in {self._same_as[item] for item in fact.inputs}:
            if self._progress[lost].state is State.DONE:
                self._forget(lost)
                actions += self._missed(lost) if not isinstance(self._vertex(lost).op, _SOURCES) else self._demand(lost)
        return actions + ([] if actions else self._advance(vertex))

    def _forget(self, vertex: int) -> None:
        known = self._progress[vertex]
        known.state, known.result, known.is_hit, known.is_older = State.IDLE, None, False, False
        known.has_digests = known.has_twinned = False
        known.by_content = None


def _twins_by_key(keys: "tuple[CacheKey | None, ...]", graph: Graph, tainted: frozenset[int]) -> tuple[int, ...]:
    first: dict[tuple[str, bool, bool], int] = {}
    same_as = []
    for vertex, key in enumerate(keys):
        same_as.append(vertex if key is None else first.setdefault((str(key.digest), graph.vertices[vertex].is_cache_ignored, vertex in tainted), vertex))
    return tuple(same_as)


def _tainted(graph: Graph) -> frozenset[int]:
    found: set[int] = set()
    for vertex, described in enumerate(graph.vertices):
        if described.is_cache_ignored or any(source in found for source in described.inputs):
            found.add(vertex)
    return frozenset(found)

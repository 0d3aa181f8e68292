"""A world for the solver to act in: remembers records, executes at once, and can lose results, without processes, files or time."""

from collections import deque

from chandlery.graph.vertex import Graph
from chandlery.oci.digest import Digest, sha256
from chandlery.solver.actions import DigestInputs, Execute, FindTwin, LookUp, Stop
from chandlery.solver.facts import Digested, Executed, Failed, KeyFound, KeyMissing, NoTwin, ResultLost, TwinFound, Wanted
from chandlery.solver.solver import Solver


class World:
    """`records` maps key digests to results and survives from build to build; `lose` names vertices whose result is lost once when used."""

    def __init__(self) -> None:
        self.records: dict[Digest, object] = {}
        self.twins: dict[int, tuple[object, object]] = {}
        self.contents: dict[object, Digest] = {}
        self.fails: set[int] = set()
        self.lose: dict[int, tuple[int, ...]] = {}
        self.executed: list[int] = []
        self.looked_up: list[int] = []
        self.stopped = False

    def build(self, graph: Graph, context_digests: "dict[tuple[int, int], Digest] | None" = None) -> Solver:
        solver = Solver(graph, context_digests or {})
        waiting = deque(solver.handle(Wanted()))
        for _ in range(10_000):
            if not waiting:
                break
            waiting.extend(self._answer(solver, graph, waiting.popleft()))
        assert solver.is_finished
        return solver

    def _answer(self, solver: Solver, graph: Graph, action: object) -> "list[object]":
        match action:
            case LookUp():
                self.looked_up.append(action.vertex)
                known = self.records.get(action.key.digest)
                return list(solver.handle(KeyMissing(action.vertex) if known is None else KeyFound(action.vertex, known)))
            case DigestInputs():
                vertex = graph.vertices[action.vertex]
                digests = [
                    (index, self.contents.get(solver.result(source), sha256(repr(solver.result(source)).encode())))
                    for index, source in enumerate(vertex.inputs)
                    if index > 0
                ]
                return list(solver.handle(Digested(action.vertex, tuple(digests))))
            case FindTwin():
                twin = self.twins.get(action.vertex)
                return list(solver.handle(NoTwin(action.vertex) if twin is None else TwinFound(action.vertex, *twin)))
            case Stop():
                self.stopped = True
                return []
            case Execute():
                return self._execute(solver, action)
        raise AssertionError(action)

    def _execute(self, solver: Solver, action: Execute) -> "list[object]":
        if action.vertex in self.lose:
            lost = self.lose.pop(action.vertex)
            for vertex in lost:
                key = solver.keys[vertex]
                if key is not None:
                    self.records.pop(key.digest, None)
            return list(solver.handle(ResultLost(action.vertex, lost)))
        self.executed.append(action.vertex)
        if action.vertex in self.fails:
            return list(solver.handle(Failed(action.vertex)))
        result = ("result", action.vertex, len(self.executed))
        for key in action.keys:
            self.records.setdefault(key.digest, result)
        return list(solver.handle(Executed(action.vertex, result)))

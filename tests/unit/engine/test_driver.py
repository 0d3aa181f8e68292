"""The loop of a build: the solver's actions carried out in order, failures and lost results on their way back."""

import threading

import pytest

from chandlery.buildcache.records import RecordStore
from chandlery.engine.crew import Crew
from chandlery.engine.driver import Driver
from chandlery.engine.steps import StepBook
from chandlery.engine.volatility import Volatility
from chandlery.errors import Cancelled, StepFailed, StoreError
from chandlery.events import StepFinished, discard
from chandlery.graph.op import ExecOp, ExportOp, ImageOp, ScratchOp
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import sha256
from chandlery.solver.actions import DigestInputs, Execute, FindTwin
from chandlery.solver.facts import Executed, Fact, NoTwin, ResultLost
from chandlery.solver.solver import Solver

BASE = ImageOp("debian", sha256(b"manifest"), (sha256(b"layer"),))


def step(command: str, *inputs: int) -> Vertex:
    return Vertex(ExecOp(("/bin/sh", "-c", command), (), "/"), inputs, command)


def graph_of(*vertices: Vertex) -> Graph:
    return Graph((*vertices, Vertex(ExportOp(0), (len(vertices) - 1,))), (len(vertices),))


class Fakes:
    """Tasks that note what is executed; `fails` and `loses` (once) by vertex."""

    def __init__(self) -> None:
        self.executed: list[int] = []
        self.fails: dict[int, BaseException] = {}
        self.loses: dict[int, list[tuple[int, ...]]] = {}
        self.waits: dict[int, threading.Event] = {}

    def execute(self, action: Execute, inputs: tuple[object, ...]) -> Fact:
        self.executed.append(action.vertex)
        if action.vertex in self.waits:
            self.waits[action.vertex].wait(5)
        if action.vertex in self.fails:
            raise self.fails[action.vertex]
        if self.loses.get(action.vertex):
            return ResultLost(action.vertex, self.loses[action.vertex].pop(0))
        return Executed(action.vertex, action.vertex)

    def digest_inputs(self, action: DigestInputs, inputs: tuple[object, ...]) -> Fact:
        raise AssertionError(action)

    def find_twin(self, action: FindTwin, parent: object) -> Fact:
        return NoTwin(action.vertex)

    def is_instant(self, action: Execute, inputs: tuple[object, ...]) -> bool:
        return action.vertex == 0


@pytest.fixture
def tasks() -> Fakes:
    return Fakes()


@pytest.fixture
def run(store, session, tasks):
    def drive(graph: Graph, sink=discard) -> Crew:
        crew = Crew(prepare=lambda: None)
        solver = Solver(graph, {})
        try:
            records = RecordStore(store, session)
            volatility = Volatility(graph, solver.canonical)
            Driver(
                graph=graph, solver=solver, records=records, tasks=tasks, crew=crew, book=StepBook(sink), is_shown=lambda _: False, volatility=volatility
            ).run()  # fmt: skip
        finally:
            crew.close()
        return crew

    return drive


def test_steps_are_executed_in_the_order_of_their_inputs(run, tasks):
    run(graph_of(Vertex(BASE), step("a", 0), step("b", 1)))
    assert tasks.executed == [0, 1, 2, 3]


def test_independent_steps_run_at_once(run, tasks):
    both = threading.Barrier(2, timeout=5)
    execute = tasks.execute

    def meet(action: Execute, inputs: tuple[object, ...]) -> Fact:
        if action.vertex in (1, 2):
            both.wait()
        return execute(action, inputs)

    tasks.execute = meet
    run(graph_of(Vertex(BASE), step("a", 0), step("b", 0), step("c", 1, 2)))
    assert tasks.executed[-2:] == [3, 4]


def test_a_failure_is_raised_and_nothing_new_begins(run, tasks):
    tasks.fails[1] = StepFailed("no", status=3)
    with pytest.raises(StepFailed):
        run(graph_of(Vertex(BASE), step("a", 0), step("b", 1)))
    assert tasks.executed == [0, 1]


def test_the_failure_that_stopped_the_build_is_not_hidden_by_the_cancellations_that_it_caused(run, tasks):
    first_runs = threading.Event()
    execute = tasks.execute

    def one_fails_one_is_cancelled(action: Execute, inputs: tuple[object, ...]) -> Fact:
        if action.vertex == 1:
            first_runs.set()
            raise StepFailed("no", status=3)
        if action.vertex == 2:
            first_runs.wait(5)
            raise Cancelled()
        return execute(action, inputs)

    tasks.execute = one_fails_one_is_cancelled
    with pytest.raises(StepFailed):
        run(graph_of(Vertex(BASE), step("a", 0), step("b", 0), step("c", 1, 2)))


def test_a_lost_result_is_made_again(run, tasks):
    tasks.loses[2] = [(1,)]
    run(graph_of(Vertex(BASE), step("a", 0), step("b", 1)))
    assert tasks.executed == [0, 1, 2, 1, 2, 3]


def test_an_export_that_lost_a_blob_alone_is_tried_again(run, tasks):
    tasks.loses[2] = [()]
    run(graph_of(Vertex(BASE), step("a", 0)))
    assert tasks.executed == [0, 1, 2, 2]


def test_a_result_that_is_lost_again_and_again_is_an_error_and_no_loop(run, tasks):
    tasks.loses[2] = [(1,)] * 100
    with pytest.raises(StoreError) as raised:
        run(graph_of(Vertex(BASE), step("a", 0), step("b", 1)))
    assert raised.value.code == "store.vanishing"


def test_steps_that_nothing_had_to_be_done_for_are_shown_before_the_export(run, store, session):
    seen: list[object] = []
    run(graph_of(Vertex(ScratchOp()), Vertex(BASE, (), "FROM debian")), sink=seen.append)
    assert [event.outcome for event in seen if isinstance(event, StepFinished)] == ["cached"]

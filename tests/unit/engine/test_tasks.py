"""What the crew does for the driver: one run for every key, records before news, and every failure with a name and a place."""

import errno
import threading

import pytest

from chandlery.buildcache.record import StepRecord
from chandlery.buildcache.records import RecordStore
from chandlery.content.steplock import StepLocks
from chandlery.engine.steps import StepBook
from chandlery.engine.stop_flag import StopFlag
from chandlery.engine.tasks import BuildTasks
from chandlery.engine.volatility import Volatility
from chandlery.errors import Cancelled, InputError, InternalError, Lost, MachineError, NoSpace, RequestError, StepFailed, StoreError
from chandlery.events import Outcome, StepFinished
from chandlery.graph.op import ExecOp, ExportOp, ImageOp
from chandlery.graph.source_range import SourceRange
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import sha256
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.solver.actions import Execute, FindTwin
from chandlery.solver.cache_key import chain_keys
from chandlery.solver.facts import Executed, NoTwin, ResultLost, TwinFound
from chandlery.worker.results import Made

BASE = ImageOp("debian", sha256(b"manifest"), (sha256(b"layer"),))
BASE_FILES = FileSystem((LayerRef(diff_id=sha256(b"layer")),))
PLACE = SourceRange("Dockerfile", 3)


def run(command: str, *inputs: int) -> Vertex:
    return Vertex(ExecOp(("/bin/sh", "-c", command), (), "/"), inputs, f"RUN {command}", source=PLACE, created_by=f"RUN {command}")


GRAPH = Graph((Vertex(BASE), run("a", 0), run("b", 1), Vertex(ExportOp(0), (2,))), (3,))
KEYS = chain_keys(GRAPH, {})


class FakeWorker:
    """Commits an empty layer for each step; `fails` are raised first, one a call."""

    def __init__(self, snapshots, session) -> None:
        self.snapshots, self.session = snapshots, session
        self.fails: list[BaseException] = []
        self.runs = 0
        self.same_content = True
        self.missing_secret = False

    def check_secrets(self, vertex) -> None:
        if self.missing_secret:
            raise RequestError("no secret", code="request.missing-secret")

    def prepare(self, vertex, inputs) -> None:
        pass

    def execute(self, vertex, inputs, step) -> Made:
        self.runs += 1
        if self.fails:
            step.log(1, b"output before the end\n")
            raise self.fails.pop(0)
        return Made(self.snapshots.commit(self.snapshots.prepare(self.session), size_bytes=1), 1)

    def has_same_content(self, one, other) -> bool:
        return self.same_content


class FakeExports:
    def __init__(self) -> None:
        self.fails: list[BaseException] = []
        self.repeatable = True
        self.runs = 0

    def name(self, output: int) -> str:
        return "exporting"

    def is_instant(self, output: int, result: FileSystem) -> bool:
        return False

    def is_repeatable(self, output: int) -> bool:
        return self.repeatable

    def run(self, output: int, result: FileSystem, step) -> None:
        self.runs += 1
        if self.fails:
            raise self.fails.pop(0)


class World:
    def __init__(self, store, session) -> None:
        self.store, self.session = store, session
        self.snapshots = SnapshotStore(store)
        self.worker = FakeWorker(self.snapshots, session)
        self.exports = FakeExports()
        self.records = RecordStore(store, session)
        self.stop = StopFlag()
        self.seen: list[object] = []
        self.room = [False]
        self.fresh = False
        self.reproduced: list[object] = []
        self.tasks = self.make()

    def make(self, **changes) -> BuildTasks:
        given = {
            "graph": GRAPH, "keys": KEYS, "fresh": lambda _: self.fresh, "worker": lambda: self.worker, "exports": self.exports,
            "records": self.records, "locks": StepLocks(self.store.layout), "book": StepBook(self.seen.append, self.stop), "stop": self.stop,
            "root": self.store.root, "make_room": self.room_left, "created": lambda: "2024-01-01T00:00:00Z",
            "keep_failed": lambda op, inputs: "chandlery run --failed x", "volatility": Volatility(GRAPH, lambda vertex: vertex),
        }  # fmt: skip
        return BuildTasks(**{**given, **changes})

    def room_left(self) -> bool:
        return self.room.pop()

    def execute(self, vertex: int, *inputs: object):
        return self.tasks.execute(Execute(vertex, tuple(key for key in (KEYS[vertex],) if key)), inputs)

    def outcomes(self) -> list[Outcome]:
        return [event.outcome for event in self.seen if isinstance(event, StepFinished)]


@pytest.fixture
def world(store, session):
    return World(store, session)


def test_a_step_is_recorded_with_its_whole_chain_before_anyone_is_told(world):
    fact = world.execute(1, BASE_FILES)
    assert isinstance(fact, Executed)
    record = world.records.look_up(KEYS[1].digest)
    assert record.result == fact.result
    assert record.result.layers[0] == BASE_FILES.layers[0]
    assert record.result.layers[1].created_by == "RUN a"


def test_a_step_that_another_build_made_while_this_one_waited_is_not_run(world):
    first = world.execute(1, BASE_FILES)
    assert world.execute(1, BASE_FILES) == first
    assert world.worker.runs == 1
    assert world.outcomes() == [Outcome.DONE, Outcome.CACHED]


def test_a_step_that_is_to_run_anew_runs(world):
    world.execute(1, BASE_FILES)
    world.fresh = True
    second = world.execute(1, BASE_FILES)
    assert world.worker.runs == 2
    assert world.records.look_up(KEYS[1].digest).result == second.result


def test_a_failed_step_says_where_it_is_what_it_printed_and_how_to_repeat_it(world):
    world.worker.fails = [StepFailed("no", status=3)]
    with pytest.raises(StepFailed) as raised:
        world.execute(1, BASE_FILES)
    failure = raised.value
    assert (failure.where, failure.log_tail, failure.reproduce) == ("Dockerfile:3:1", "output before the end", "chandlery run --failed x")
    assert world.outcomes() == [Outcome.FAILED]
    assert world.records.look_up(KEYS[1].digest) is None


@pytest.mark.parametrize(
    ("raised", "expected", "code"),
    [(PermissionError(errno.EPERM, "mount"), MachineError, "machine.refused"), (KeyError("bug"), InternalError, "internal")],
)
def test_whatever_else_is_raised_becomes_ours_and_ends_the_step(world, raised, expected, code):
    world.worker.fails = [raised]
    with pytest.raises(expected) as failure:
        world.execute(1, BASE_FILES)
    assert failure.value.code == code
    assert world.outcomes() == [Outcome.FAILED]


def test_a_missing_secret_is_told_at_its_instruction_before_anything_runs(world):
    world.worker.missing_secret = True
    with pytest.raises(InputError) as raised:
        world.execute(1, BASE_FILES)
    assert (raised.value.code, raised.value.where) == ("request.missing-secret", "Dockerfile:3:1")
    assert world.worker.runs == 0


@pytest.mark.parametrize("full", [NoSpace("full"), OSError(errno.ENOSPC, "full")])
def test_a_full_disk_is_pruned_once_and_the_step_is_run_again(world, full):
    world.room, world.worker.fails = [True], [full]
    assert isinstance(world.execute(1, BASE_FILES), Executed)
    assert world.worker.runs == 2


def test_a_disk_that_stays_full_fails_the_step(world):
    world.room, world.worker.fails = [True], [NoSpace("full"), NoSpace("full")]
    with pytest.raises(NoSpace):
        world.execute(1, BASE_FILES)
    world.room, world.worker.fails = [False], [NoSpace("full")]
    with pytest.raises(NoSpace):
        world.execute(1, BASE_FILES)


def test_a_lost_layer_names_the_inputs_that_stand_on_it_and_forgets_their_records(world):
    made = world.execute(1, BASE_FILES).result
    lost = made.layers[-1].snapshot
    world.worker.fails = [Lost(lost)]
    assert world.execute(2, made) == ResultLost(2, (1,))
    assert world.records.look_up(KEYS[1].digest) is None


def test_a_lost_blob_is_nobodys_result_and_the_vertex_is_tried_again(world):
    world.exports.fails = [Lost(sha256(b"blob"))]
    assert world.execute(3, BASE_FILES) == ResultLost(3, ())


def test_half_an_output_on_standard_output_is_not_begun_again(world):
    world.exports.repeatable, world.exports.fails = False, [Lost(sha256(b"blob"))]
    with pytest.raises(StoreError) as raised:
        world.execute(3, BASE_FILES)
    assert raised.value.code == "store.lost"
    world.exports.fails = [NoSpace("full")]
    with pytest.raises(NoSpace):
        world.execute(3, BASE_FILES)
    assert world.exports.runs == 2


def test_who_waits_for_another_build_stops_waiting_when_the_build_stops(world):
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with StepLocks(world.store.layout).hold(str(KEYS[1].digest), timeout_s=5):
            held.set()
            release.wait(5)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(5)
    threading.Timer(0.1, world.stop.set).start()
    with pytest.raises(Cancelled):
        world.execute(1, BASE_FILES)
    release.set()
    other.join()
    assert world.outcomes() == [Outcome.CANCELLED]


def older_chain(world, *, key=b"older") -> StepRecord:
    """A record of RUN b on a parent that an older RUN a made."""
    layers = [world.snapshots.commit(world.snapshots.prepare(world.session), size_bytes=1) for _ in range(2)]
    result = FileSystem((*BASE_FILES.layers, *map(LayerRef, layers)))
    record = StepRecord(sha256(key), KEYS[2].op_digest, KEYS[2].document, result, "RUN b", 1.0)
    world.records.put(record)
    return record


def test_an_older_chain_on_equal_content_replaces_both_results(world):
    older = older_chain(world)
    parent = world.execute(1, BASE_FILES).result
    fact = world.tasks.find_twin(FindTwin(2), parent)
    assert fact == TwinFound(2, older.result.below(), older.result)
    assert world.records.look_up(KEYS[2].digest).result == older.result
    assert world.records.look_up(KEYS[1].digest).result == older.result.below()


def test_a_step_on_a_base_image_of_another_build_is_no_twin(world):
    layer = world.snapshots.commit(world.snapshots.prepare(world.session), size_bytes=1)
    result = FileSystem((*BASE_FILES.layers, LayerRef(diff_id=sha256(b"its second layer")), LayerRef(layer)))
    world.records.put(StepRecord(sha256(b"older"), KEYS[2].op_digest, KEYS[2].document, result, "RUN b", 1.0))
    parent = world.execute(1, BASE_FILES).result
    assert world.tasks.find_twin(FindTwin(2), parent) == NoTwin(2)


def test_other_content_is_no_twin(world):
    older_chain(world)
    world.worker.same_content = False
    parent = world.execute(1, BASE_FILES).result
    assert world.tasks.find_twin(FindTwin(2), parent) == NoTwin(2)


def test_a_twin_that_is_gone_is_no_twin(world):
    import shutil

    older = older_chain(world)
    parent = world.execute(1, BASE_FILES).result
    shutil.rmtree(world.store.layout.snapshot(older.result.layers[-1].snapshot))
    assert world.tasks.find_twin(FindTwin(2), parent) == NoTwin(2)

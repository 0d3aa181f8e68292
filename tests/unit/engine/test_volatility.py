"""What results stand on: own names, and those of the steps below."""

import pytest

from chandlery.buildcache.record import Observation, StepRecord
from chandlery.engine.volatility import MOST_NAMES, Volatility
from chandlery.graph.op import ContextOp, CopyAction, ExecOp, FileOp, ScratchOp
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import sha256
from chandlery.snapshot.state import FileSystem
from chandlery.values import replace

STEP = ExecOp(("true",), (), "/")
# 0 scratch, 1 base step, 2 another stage's step, 3 COPY --from=2 on 1, 4 a step on 3
GRAPH = Graph(
    (
        Vertex(ScratchOp(), ()), Vertex(STEP, (0,), "RUN base"), Vertex(STEP, (0,), "RUN other"),
        Vertex(FileOp((CopyAction(1, ("/a",), "/a"),)), (1, 2), "COPY"), Vertex(STEP, (3,), "RUN last"),
    ),
    (4,),
)  # fmt: skip


def seen(url: str, at_s: float = 100.0, of: str = "") -> Observation:
    return Observation("maven-snapshot", url, "", at_s, of)


def record(*observed: Observation) -> StepRecord:
    return StepRecord(sha256(b"k"), sha256(b"o"), b"{}", FileSystem(), observed=observed)


@pytest.fixture
def volatility():
    made = Volatility(GRAPH, lambda vertex: vertex)
    made.complete(1, record(seen("a", 1.0)))
    made.complete(2, record(seen("b", 2.0)))
    return made


def test_a_step_stands_on_what_is_below_it(volatility):
    assert volatility.complete(3, record()).observed == (seen("a", 1.0, "RUN base"), seen("b", 2.0, "RUN other"))
    assert volatility.complete(4, record(seen("c", 3.0))).observed == (seen("c", 3.0), seen("a", 1.0, "RUN base"), seen("b", 2.0, "RUN other"))


def test_by_content_a_selection_of_a_stage_stands_on_nothing_of_it(volatility):
    assert volatility.by_content(3, record()) == (seen("a", 1.0, "RUN base"),)


def test_hit_by_its_chain_says_everything_itself(volatility):
    volatility.note_hit(3, record(seen("z", 9.0, "RUN older")), is_by_chain=True)
    assert volatility.of(3) == (seen("z", 9.0, "RUN older"),)


def test_hit_by_content_stands_on_what_its_inputs_do_now(volatility):
    volatility.note_hit(3, record(seen("z", 9.0, "RUN older")), is_by_chain=False)
    assert volatility.of(3) == (seen("a", 1.0, "RUN base"), seen("b", 2.0, "RUN other"))


def test_of_too_many_names_the_oldest_stay(volatility):
    volatility.note_hit(1, record(*(seen(f"{at}", float(at)) for at in reversed(range(40)))), is_by_chain=True)
    kept = volatility.complete(3, record()).observed
    assert len(kept) == MOST_NAMES
    assert min(item.checked_at_s for item in kept) == 0.0


def test_contexts_stand_on_nothing():
    graph = Graph((Vertex(ContextOp("."), ()), Vertex(STEP, (0,), "RUN x")), (1,))
    assert Volatility(graph, lambda vertex: vertex).complete(1, replace(record(), observed=())).observed == ()

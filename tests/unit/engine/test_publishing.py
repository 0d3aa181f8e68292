"""When a step's record goes out: at once, but for what would cross the network for nothing."""

from chandlery.engine.publishing import Moment, moment_of
from chandlery.graph.mount import CacheMount, Sharing
from chandlery.graph.op import ExecOp, ExportOp
from chandlery.graph.vertex import Graph, Vertex


def step(*inputs: int, mounts: tuple = (), argv: str = "make") -> Vertex:
    return Vertex(ExecOp(argv=(argv,), env=(), cwd="/", mounts=mounts), inputs)


VOLUME = CacheMount("/root/.m2", "m2")
# 0: tools, with a volume; 1: the build stage's end, with a volume; 2: another stage's end, without; 3: the target, which copies from both
GRAPH = Graph((step(mounts=(VOLUME,)), step(0, mounts=(VOLUME,)), step(), step(2, 1), Vertex(ExportOp(0), (3,))), (4,))


def test_the_end_of_the_target_waits_for_the_push_of_its_layer() -> None:
    assert moment_of(GRAPH, 3, is_pushed=True) is Moment.AFTER_PUSH
    assert moment_of(GRAPH, 3, is_pushed=False) is Moment.NOW


def test_the_end_of_another_stage_with_a_volume_is_shared_where_the_build_fails() -> None:
    assert moment_of(GRAPH, 1, is_pushed=True) is Moment.IF_FAILED


def test_what_steps_stand_on_is_shared_at_once_and_so_is_what_had_no_volume() -> None:
    assert moment_of(GRAPH, 0, is_pushed=True) is Moment.NOW
    assert moment_of(GRAPH, 2, is_pushed=True) is Moment.NOW


def test_a_volume_that_no_other_machine_sees_makes_no_difference() -> None:
    for mount in (CacheMount("/c", "c", sharing=Sharing.PRIVATE), CacheMount("/c", "c", is_read_only=True)):
        graph = Graph((step(mounts=(mount,)), step(), Vertex(ExportOp(0), (1,))), (2,))
        assert moment_of(graph, 0, is_pushed=False) is Moment.NOW

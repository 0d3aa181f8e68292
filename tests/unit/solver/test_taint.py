"""Steps that are to run anew: what stands on them is judged by content, and never mixed with what came from cache."""

from tests.unit.solver.simulation import World

from chandlery.graph.op import CopyAction, ExecOp, ExportOp, FileOp, ImageOp
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import sha256

BASE = ImageOp("debian", sha256(b"manifest"), (sha256(b"layer"),))


def run(command: str) -> ExecOp:
    return ExecOp(("/bin/sh", "-c", command), (), "/")


def two_equal_stages(*, is_first_anew: bool) -> Graph:
    """Two stages with the same two steps, and a last one that takes a file of the second; the first is its base."""
    return Graph(
        (
            Vertex(BASE),
            Vertex(run("x"), (0,), is_cache_ignored=is_first_anew),
            Vertex(run("y"), (1,)),
            Vertex(run("x"), (0,)),
            Vertex(run("y"), (3,)),
            Vertex(FileOp((CopyAction(1, ("/out",), "/out"),)), (2, 4)),
            Vertex(ExportOp(0), (5,)),
        ),
        (6,),
    )


def test_equal_stages_are_one() -> None:
    world = World()
    world.build(two_equal_stages(is_first_anew=False))
    assert world.executed == [0, 1, 2, 5, 6]


def test_a_stage_that_is_to_run_anew_is_not_its_cached_double() -> None:
    world = World()
    world.build(two_equal_stages(is_first_anew=False))
    world.executed.clear()
    solver = world.build(two_equal_stages(is_first_anew=True))
    assert {1, 2} <= set(world.executed)
    assert solver.canonical(4) != solver.canonical(2)
    assert solver.is_hit(4)

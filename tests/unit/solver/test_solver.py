"""The solver's decisions, in a simulated world."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.solver.simulation import World

from chandlery.graph.op import ContextOp, CopyAction, ExecOp, ExportOp, FileOp, ImageOp, ScratchOp
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import sha256
from chandlery.solver.solver import State

BASE = ImageOp("debian", sha256(b"manifest"), (sha256(b"layer"),))


def run(command: str) -> ExecOp:
    return ExecOp(("/bin/sh", "-c", command), (), "/")


def copy_from(index: int) -> FileOp:
    return FileOp((CopyAction(index, ("/out",), "/out"),))


def chain(*commands: str) -> Graph:
    vertices = [Vertex(BASE)]
    for command in commands:
        vertices.append(Vertex(run(command), (len(vertices) - 1,)))
    vertices.append(Vertex(ExportOp(0), (len(vertices) - 1,)))
    return Graph(tuple(vertices), (len(vertices) - 1,))


def test_a_first_build_executes_every_needed_step_once_in_order() -> None:
    world = World()
    world.build(chain("a", "b"))
    assert world.executed == [0, 1, 2, 3]


def test_a_second_build_looks_up_the_deepest_step_alone() -> None:
    world = World()
    world.build(chain("a", "b"))
    world.executed.clear()
    world.looked_up.clear()
    solver = world.build(chain("a", "b"))
    assert world.executed == [3]
    assert world.looked_up == [2]
    assert solver.is_hit(2)


def test_a_changed_last_step_starts_from_the_hit_below_it() -> None:
    world = World()
    world.build(chain("a", "b"))
    world.executed.clear()
    world.build(chain("a", "c"))
    assert world.executed == [2, 3]


def test_an_unused_stage_is_never_touched() -> None:
    graph = Graph((Vertex(BASE), Vertex(run("unused"), (0,)), Vertex(run("used"), (0,)), Vertex(ExportOp(0), (2,))), (3,))
    world = World()
    world.build(graph)
    assert 1 not in world.executed


def test_equal_steps_are_one() -> None:
    graph = Graph(
        (
            Vertex(BASE),
            Vertex(run("same"), (0,)),
            Vertex(run("same"), (0,)),
            Vertex(copy_from(1), (1, 2)),
            Vertex(ExportOp(0), (3,)),
        ),
        (4,),
    )
    world = World()
    world.build(graph)
    assert world.executed.count(1) == 1
    assert 2 not in world.executed


def test_a_lost_result_revokes_the_hit_and_runs_the_step_again() -> None:
    world = World()
    graph = chain("a", "b")
    world.build(graph)
    world.executed.clear()
    world.lose = {3: (2,)}
    solver = world.build(graph)
    assert world.executed == [2, 3]
    assert solver.state(3) is State.DONE


def test_a_result_lost_twice_in_a_row_reaches_down_to_what_is_left() -> None:
    world = World()
    graph = chain("a", "b")
    world.build(graph)
    world.executed.clear()
    world.lose = {3: (2,), 2: (1,)}
    world.build(graph)
    assert world.executed == [0, 1, 2, 3]


def test_a_failure_stops_the_build_and_starts_nothing_new() -> None:
    world = World()
    world.fails = {1}
    world.build(chain("a", "b"))
    assert world.executed == [0, 1]
    assert world.stopped


def test_copy_from_a_rebuilt_stage_with_the_same_content_is_a_hit() -> None:
    def graph(command: str) -> Graph:
        return Graph(
            (Vertex(BASE), Vertex(run(command), (0,)), Vertex(copy_from(1), (0, 1)), Vertex(ExportOp(0), (2,))),
            (3,),
        )

    world = World()
    world.contents = {("result", 1, 2): sha256(b"same"), ("result", 1, 6): sha256(b"same")}
    world.build(graph("make"))
    solver = world.build(graph("make # again"))
    assert world.executed == [0, 1, 2, 3, 0, 1, 3]
    assert solver.is_hit(2)


def test_a_twin_replaces_parent_and_child() -> None:
    world = World()
    world.build(chain("a", "b"))
    world.executed.clear()
    world.twins = {2: ("older parent", "older child")}
    solver = world.build(chain("a2", "b"))
    assert world.executed == [0, 1, 3]
    assert solver.result(1) == "older parent"
    assert solver.result(2) == "older child"


def test_what_follows_a_hit_by_content_or_a_twin_is_looked_for_where_it_was_recorded() -> None:
    def graph(command: str) -> Graph:
        return Graph(
            (Vertex(BASE), Vertex(run(command), (0,)), Vertex(copy_from(1), (0, 1)), Vertex(run("b"), (2,)), Vertex(run("c"), (3,)), Vertex(ExportOp(0), (4,))),
            (5,),
        )

    world = World()
    world.contents = {("result", 1, 2): sha256(b"same"), ("result", 1, 8): sha256(b"same")}
    world.build(graph("make"))
    world.twins = {3: (("result", 2, 3), ("result", 3, 4)), 4: (("result", 3, 4), ("result", 4, 5))}
    solver = world.build(graph("make # again"))
    assert world.executed == [0, 1, 2, 3, 4, 5, 0, 1, 5]
    assert [solver.result(vertex) for vertex in (2, 3, 4)] == [("result", 2, 3), ("result", 3, 4), ("result", 4, 5)]


def test_a_step_above_one_that_must_run_anew_is_not_believed_by_its_chain_key() -> None:
    def graph(is_cache_ignored: bool) -> Graph:
        return Graph(
            (Vertex(BASE), Vertex(run("a"), (0,), is_cache_ignored=is_cache_ignored), Vertex(run("b"), (1,)), Vertex(ExportOp(0), (2,))),
            (3,),
        )

    world = World()
    world.build(graph(False))
    world.executed.clear()
    solver = world.build(graph(True))
    assert world.executed == [0, 1, 2, 3]
    assert solver.is_fresh(2)


def test_context_digests_are_part_of_the_key() -> None:
    graph = Graph((Vertex(ScratchOp()), Vertex(ContextOp("")), Vertex(copy_from(1), (0, 1)), Vertex(ExportOp(0), (2,))), (3,))
    world = World()
    first = world.build(graph, {(2, 1): sha256(b"one")})
    second = world.build(graph, {(2, 1): sha256(b"two")})
    assert first.keys[2] != second.keys[2]
    assert world.executed.count(2) == 2


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    vertices = [Vertex(BASE), Vertex(ScratchOp())]
    for _ in range(draw(st.integers(1, 12))):
        root = draw(st.integers(0, len(vertices) - 1))
        other = draw(st.integers(0, len(vertices) - 1))
        ignored = draw(st.integers(0, 9)) == 0
        if draw(st.booleans()):
            vertices.append(Vertex(run(draw(st.sampled_from("abc"))), (root,), is_cache_ignored=ignored))
        else:
            vertices.append(Vertex(copy_from(1), (root, other), is_cache_ignored=ignored))
    vertices.append(Vertex(ExportOp(0), (len(vertices) - 1,)))
    return Graph(tuple(vertices), (len(vertices) - 1,))


@given(graphs(), st.data())
def test_every_build_ends_whatever_is_known_lost_or_failing(graph: Graph, data: st.DataObject) -> None:
    world = World()
    world.build(graph)
    for key in [key for key in world.records if data.draw(st.booleans())]:
        del world.records[key]
    exec_vertices = [index for index, vertex in enumerate(graph.vertices) if vertex.inputs]
    for vertex in data.draw(st.lists(st.sampled_from(exec_vertices), max_size=3)):
        world.lose[vertex] = graph.vertices[vertex].inputs
    if data.draw(st.integers(0, 4)) == 0:
        world.fails = {data.draw(st.sampled_from(exec_vertices))}
    world.executed.clear()
    solver = world.build(graph)
    assert set(world.executed) <= {solver.canonical(vertex) for vertex in graph.needed()}
    if not world.stopped:
        assert all(solver.state(target) is State.DONE for target in graph.targets)

"""`Vertex` and `Graph`: operations and the edges between them.

A vertex's id is its index in the graph's tuple; inputs always have smaller ids, so the tuple is a topological order and no cycle can be written down.
"""

from chandlery.graph.op import Op
from chandlery.graph.source_range import SourceRange
from chandlery.values import value


@value
class Vertex:
    """`name` is what people read ("[build 2/5] RUN make"); `stage` its stage's name or index; `created_by` the image history's text.

    `is_cache_ignored`: --no-cache or --no-cache-filter names it: look nothing up, record the result.
    """

    op: Op
    inputs: tuple[int, ...] = ()
    name: str = ""
    stage: str = ""
    source: SourceRange | None = None
    created_by: str = ""
    is_cache_ignored: bool = False


@value
class Graph:
    """`targets` are the vertices whose results the build wants: usually one, the end of the target stage."""

    vertices: tuple[Vertex, ...]
    targets: tuple[int, ...]

    def needed(self) -> frozenset[int]:
        """The ids of the vertices that the targets depend on, themselves included."""
        seen: set[int] = set()
        waiting = list(self.targets)
        while waiting:
            vertex = waiting.pop()
            if vertex not in seen:
                seen.add(vertex)
                waiting.extend(self.vertices[vertex].inputs)
        return frozenset(seen)

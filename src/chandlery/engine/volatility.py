"""`Volatility`: which mutable names the results of one build stand on (design.md section 4, `observed`).

A step's key says nothing about what its inputs resolved upstream, so a record carries the names of everything below it: where a SNAPSHOT has moved, the steps
that stand on it are as old as the step that took it. By content a selection of another stage is what it is, whatever that stage resolved.
"""

from chandlery.buildcache.record import Observation, StepRecord
from chandlery.graph.vertex import Graph
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_NAMES = 16


class Volatility:
    """For one build; safe for threads. `canonical(vertex)` is the vertex that stands for one."""

    def __init__(self, graph: Graph, canonical: "Callable[[int], int]") -> None:
        self._graph = graph
        self._canonical = canonical
        self._known: dict[int, tuple[Observation, ...]] = {}

    def note_hit(self, vertex: int, record: StepRecord, *, is_by_chain: bool) -> None:
        """A record answered a vertex. One that was found by content says nothing about what the inputs stand on."""
        observed = record.observed if is_by_chain else self._with_inherited(record.own_observed, vertex)
        self._known[self._canonical(vertex)] = observed

    def complete(self, vertex: int, record: StepRecord) -> StepRecord:
        """The record of a vertex whose inputs are known, with what they stand on beside its own."""
        observed = self._with_inherited(record.own_observed, vertex)
        self._known[self._canonical(vertex)] = observed
        return replace(record, observed=observed)

    def by_content(self, vertex: int, record: StepRecord) -> tuple[Observation, ...]:
        """What a record stands on that is found by the content of what it selects, and by the chain of its first input alone."""
        return self._with_inherited(record.own_observed, vertex, inputs=self._graph.vertices[vertex].inputs[:1])

    def of(self, vertex: int) -> tuple[Observation, ...]:
        return self._known.get(self._canonical(vertex), ())

    def _with_inherited(self, own: tuple[Observation, ...], vertex: int, *, inputs: "Iterable[int] | None" = None) -> tuple[Observation, ...]:
        found = {(item.kind, item.url, item.of): item for item in own}
        for source in self._graph.vertices[vertex].inputs if inputs is None else inputs:
            for item in self.of(source):
                inherited = replace(item, of=item.of or self._graph.vertices[source].name)
                found.setdefault((item.kind, item.url, inherited.of), inherited)
        # the oldest decide how long a record lasts
        return tuple(sorted(found.values(), key=lambda item: (item.of != "", item.checked_at_s)))[:MOST_NAMES] if found else ()

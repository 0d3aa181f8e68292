"""`EarlierSteps`: hits on this machine that the shared cache lacks, made before there was one, or offline. They are offered to it behind the build's back.

Only steps of this build, and only where no byte has to be fetched for it. What the cache is known to have costs one query of the store.
"""

from chandlery.buildcache.records import RecordStore
from chandlery.buildcache.shared_marks import SharedMarks
from chandlery.errors import Cancelled, ChandleryError
from chandlery.graph.op import ExecOp, FileOp
from chandlery.graph.vertex import Graph
from chandlery.solver.cache_key import CacheKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from chandlery.buildcache.record import StepRecord

JOIN_S = 5.0


class EarlierSteps:
    """For one build. `offer(vertex, record)` publishes; `target` is the name of the remote that is written."""

    def __init__(
        self, graph: Graph, keys: "tuple[CacheKey | None, ...]", fresh: "Callable[[int], bool]", records: RecordStore, marks: SharedMarks, target: str,
        offer: "Callable[[int, StepRecord], None]",
    ) -> None:  # fmt: skip
        self._graph = graph
        self._keys = keys
        self._fresh = fresh
        self._records = records
        self._marks = marks
        self._target = target
        self._offer = offer
        self._thread: threading.Thread | None = None
        self._is_over = False

    def start(self) -> None:
        """Look for them, and offer them one after the other, in a thread of its own."""
        steps = {key.digest: vertex for vertex in self._graph.needed() if (key := self._keys[vertex]) is not None and self._is_step(vertex)}
        unknown = [steps[key] for key in self._marks.unknown(list(steps))]
        if unknown:
            import threading

            self._thread = threading.Thread(target=self._run, args=(sorted(unknown),), name="chandlery-earlier", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait until all that there are have been offered."""
        if self._thread is not None:
            self._thread.join(JOIN_S)
            self._is_over = True
            self._thread.join(JOIN_S)

    def _is_step(self, vertex: int) -> bool:
        return isinstance(self._graph.vertices[vertex].op, ExecOp | FileOp) and not self._fresh(vertex)

    def _run(self, vertices: list[int]) -> None:
        try:
            for vertex in vertices:
                key = self._keys[vertex]
                record = self._records.look_up(key.digest) if key is not None and not self._is_over else None
                if record is not None and self._is_here(record):
                    self._offer(vertex, record)
        except (ChandleryError, Cancelled):
            return  # the store has its own ways to say so; this was a favour

    def _is_here(self, record: "StepRecord") -> bool:
        """Whether every layer above the base is a directory here, or lies in the same cache already."""
        there = {source.diff_id for source in record.sources if source.remote == self._target}
        away = {source.diff_id for source in record.sources} - there
        return not any(layer.diff_id in away and not layer.snapshot for layer in record.result.layers)

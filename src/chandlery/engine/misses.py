"""Why the steps of a build ran that ran: said when it is over, from the documents that lie beside the records.

The nearest earlier run is one of the same operation, else of the same text, else at the same place of a stage with that name; which of them is most like
this one. What was selected of a local context is remembered as a list of files, so that a later miss can name those that changed. Costs nothing where all hit.
"""

import json
import time

from chandlery.buildcache.records import RecordStore
from chandlery.content.database import Database
from chandlery.engine.contexts import Contexts
from chandlery.engine.request import NEVER_RAN, RUN_ANEW, StepOutcome
from chandlery.errors import ChandleryError
from chandlery.events import Outcome
from chandlery.graph.op import ContextOp, FileOp
from chandlery.graph.selection import selections
from chandlery.graph.vertex import Graph
from chandlery.solver.cache_key import CacheKey
from chandlery.solver.key_difference import first_difference, likeness
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.buildcache.record import StepRecord

MOST_STEPS = 50
MOST_FILES = 5000
_SHOWN_FILES = 3
_LONGEST_NAME = 70


class Misses:
    """For one build that has ended. `fresh(vertex)`: the request wanted it run anew."""

    def __init__(
        self, graph: Graph, keys: "tuple[CacheKey | None, ...]", records: RecordStore, db: Database, contexts: Contexts, fresh: "Callable[[int], bool]"
    ) -> None:
        self._graph = graph
        self._records = records
        self._db = db
        self._contexts = contexts
        self._fresh = fresh
        self._vertices = {str(key.digest): vertex for vertex, key in reversed(list(enumerate(keys))) if key is not None}
        self._keys = keys

    def explained(self, outcomes: list[StepOutcome]) -> list[StepOutcome]:
        """The outcomes, with the reason in those that ran."""
        left = MOST_STEPS
        explained = []
        for outcome in outcomes:
            if outcome.outcome == Outcome.DONE and outcome.key in self._vertices and left:
                left -= 1
                outcome = replace(outcome, missed=self._reason(self._vertices[outcome.key]))
            explained.append(outcome)
        return explained

    def _reason(self, vertex: int) -> str:
        key = self._keys[vertex]
        if key is None:
            return ""
        self._remember_files(vertex, key)
        if self._fresh(vertex):
            return RUN_ANEW
        if reason := self._records.why_not(key.digest):
            return reason
        now = json.loads(key.document)
        nearest = max(self._candidates(vertex, key), key=lambda record: likeness(json.loads(record.document), now), default=None)
        if nearest is None:
            return NEVER_RAN
        names = [_cut(self._graph.vertices[source].name) or "the context" for source in self._graph.vertices[vertex].inputs]
        return first_difference(json.loads(nearest.document), now, names, self._changed_files) or "its record is gone"

    def _candidates(self, vertex: int, key: CacheKey) -> "list[StepRecord]":
        """Newest first, so that of equally near ones the newest is taken."""
        name = self._graph.vertices[vertex].name
        return self._records.earlier(key.op_digest, name) or self._records.earlier_at(_place(name))

    # files of contexts

    def _remember_files(self, vertex: int, key: CacheKey) -> None:
        inputs = json.loads(key.document)["inputs"]
        described = self._graph.vertices[vertex]
        for at, selected in selections(described.op).items():
            source = self._graph.vertices[described.inputs[at]].op
            if not isinstance(source, ContextOp) or "content" not in inputs[at] or self._files(inputs[at]["content"]) is not None:
                continue
            try:
                found = self._contexts.get(source.name).fingerprints(selected, allows_wildcards=isinstance(described.op, FileOp), most=MOST_FILES)
            except (ChandleryError, OSError):
                continue
            if found is not None:
                self._keep(inputs[at]["content"], found)

    def _keep(self, content: str, found: "dict[str, str]") -> None:
        from zlib import compress

        with self._db.transaction(durable=False) as tx:
            packed = compress(json.dumps(found).encode(), 1)
            tx.execute("INSERT OR REPLACE INTO memo (key, value, last_used_at) VALUES (?, ?, ?)", (f"files:{content}", packed, time.time()))

    def _files(self, content: str) -> "dict[str, str] | None":
        from zlib import decompress

        rows = self._db.read("SELECT value FROM memo WHERE key = ?", (f"files:{content}",))
        return json.loads(decompress(rows[0][0])) if rows else None

    def _changed_files(self, before: str, after: str) -> str:
        """ "3 files changed: a, b (new), c (gone)"; "" where the lists aren't known or say the same."""
        old, new = self._files(before), self._files(after)
        if old is None or new is None:
            return ""
        changed = [
            f"{path}{'' if path in old and path in new else ' (new)' if path in new else ' (gone)'}"
            for path in sorted(old.keys() | new.keys())
            if old.get(path) != new.get(path)
        ]
        if not changed:
            return "its files are the same, but not their modes, links or attributes"
        more = f" and {len(changed) - _SHOWN_FILES} more" if len(changed) > _SHOWN_FILES else ""
        return f"{len(changed)} file{'s' if len(changed) > 1 else ''} changed: {', '.join(changed[:_SHOWN_FILES])}{more}"


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _place(name: str) -> str:
    """Where in its stage a step stands: "[build 3/5] RUN x" is at "[build 3/"."""
    return name.partition("/")[0] + "/" if name.startswith("[") and "/" in name.partition("]")[0] else ""

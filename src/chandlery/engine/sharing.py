"""`Sharing`: the shared cache as one build uses it: which scope and remotes, look-ups for the solver's misses, and records on their way out.

Made for every build; where no remote is configured, or the scope is a guess that stays on this machine, it does nothing and loads nothing. A hit from afar is
recorded here as it is, so that the next build finds it without asking, and its layers stay where they are until something needs them.
"""

import time
from _thread import allocate_lock

from chandlery.buildcache.record import NO_LIMITS, AgeLimits, LayerSource, StepRecord
from chandlery.buildcache.records import RecordStore
from chandlery.content.database import Database
from chandlery.engine.remote_layers import RemoteLayers
from chandlery.engine.request import CacheReport, Pairs
from chandlery.engine.steps import StepBook
from chandlery.errors import ChandleryError
from chandlery.graph.op import ExecOp, FileOp, ImageOp
from chandlery.graph.vertex import Graph
from chandlery.oci.digest import Digest
from chandlery.scope import Scopes
from chandlery.snapshot.state import FileSystem
from chandlery.solver.actions import LookUp
from chandlery.solver.cache_key import CacheKey
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

    from chandlery.buildcache.entry import Expected
    from chandlery.buildcache.imports import Imports
    from chandlery.buildcache.look_ups import Found, LookUps
    from chandlery.buildcache.publisher import Base, Offer, Publisher
    from chandlery.buildcache.remote import StepRemote
    from chandlery.buildcache.shared_marks import SharedMarks
    from chandlery.content.blobs import VerifiedReader
    from chandlery.engine.earlier_steps import EarlierSteps
    from chandlery.engine.publishing import Moment
    from chandlery.oci.descriptor import Descriptor
    from chandlery.snapshot.state import LayerRef


# for so long earlier steps are not offered to a cache that can't be reached, that took none, or that may not be written
UNREACHABLE_S, AWAY_S, DENIED_S = 600.0, 60.0, 86400.0
# the end of the build waits no longer for its uses to be told
TELL_S = 2.0


class Sharing:
    """For one build. `fresh(vertex)`: the vertex isn't to be answered from records; `pack(layer)` makes a step's layer a blob; `is_pushed`: the build pushes
    its image; `machine` is what others are told that this one is called."""

    def __init__(
        self,
        remotes: "tuple[StepRemote, ...]",
        scopes: Scopes,
        layers: RemoteLayers,
        *,
        graph: Graph,
        keys: "tuple[CacheKey | None, ...]",
        fresh: "Callable[[int], bool]",
        records: RecordStore,
        book: StepBook,
        pack: "Callable[[LayerRef], tuple[Digest, Descriptor]]",
        limits: AgeLimits = NO_LIMITS,
        db: Database,
        imports: "Imports | None" = None,
        is_pushed: bool = False,
        machine: str = "",
        down: dict[str, str] | None = None,
    ) -> None:
        self._machine = machine
        self._down = down if down is not None else {}
        # what others made that lies below a hit, so that nobody looked it up
        self._met: list[Digest] = []
        # what the cache that is written had, as it turned out: once a day for each step, as marks are kept for a day
        self._used: set[tuple[str, Digest]] = set()
        self._is_pushed = is_pushed
        self.layers = layers
        self._imports = imports
        self._remotes = remotes
        self._scopes = scopes
        self._graph = graph
        self._keys = keys
        self._fresh = fresh
        self._records = records
        self._book = book
        self._pack = pack
        self._limits = limits
        self._db = db
        self._marked: SharedMarks | None = None
        self._earlier: EarlierSteps | None = None
        self._look_ups: LookUps | None = None
        self._publisher: Publisher | None = None
        self._lock = allocate_lock()
        self._held_back: list[str] = []
        self._later: list[tuple[Moment, Offer]] = []

    @property
    def is_on(self) -> bool:
        return bool(self._remotes)

    @property
    def is_asked(self) -> bool:
        """Whether steps that aren't here may be elsewhere."""
        return bool(self._remotes) or self._imports is not None

    # reading

    def is_answered(self, action: LookUp) -> bool:
        """Whether `look_up` answers at once. The first miss of a build sends out every question that it may come to."""
        return self._asking().is_answered(action.key.digest)

    def look_up(self, action: LookUp) -> StepRecord | None:
        """The record of a shared cache, recorded here too; None is a miss. May wait for a few seconds; never raises what a remote does wrong."""
        asking = self._asking()
        found = asking.answer(action.key, self._expected(action.vertex))
        if found is None:
            return None
        if self._is_broken(found):
            asking.replaceable.add(action.key.digest)
            return None
        sources = tuple(
            LayerSource(str(layer.diff_id), layer.blob, found.remote.name, found.scope) for layer in found.entry.layers if layer.blob is not None
        )  # fmt: skip
        record = replace(found.entry.record(), sources=sources)
        self.layers.learn(record)
        self._records.put(record)
        if (marks := self._marks()) is not None:
            marks.note((record.key,))
            if found.remote is self._target():
                self._used.add((found.scope, record.key))
        return record

    def heard(self, vertex: int) -> StepRecord | None:
        """The record of a step that the build didn't come to, where other questions brought its answer with them."""
        key = self._keys[vertex]
        return self.look_up(LookUp(vertex, key)) if self._look_ups is not None and key is not None and self._look_ups.known(key.digest) else None

    def learn(self, record: StepRecord) -> None:
        """A hit on this machine may stand on layers that were never fetched, and the shared cache may lack it."""
        if record.sources:
            self.layers.learn(record)
        target, marks = self._target(), self._marks()
        if target is not None and marks is not None and self._earlier is None:
            from chandlery.engine.earlier_steps import EarlierSteps

            offer = lambda vertex, hit: self.offer(vertex, hit, is_earlier=True)  # noqa: E731
            self._earlier = EarlierSteps(self._graph, self._keys, self._fresh, self._records, marks, target.name, offer)
            self._earlier.start()

    def sources(self, result: FileSystem) -> tuple[LayerSource, ...]:
        """Where those layers of a file system can be had that another machine made."""
        found = (self.layers.source(layer.diff_id) for layer in result.layers if layer.diff_id)
        return tuple(source for source in found if source is not None)

    def origin(self, vertex: int, made: tuple[float, int] | None, hits: dict[int, StepRecord], *, is_found_here: bool) -> Pairs:
        """Where a hit, or what lies below one, came from, for the summary and the metadata file; `made` is when its record here was made, and its size,
        and `hits` are those of this machine. Nobody is asked for it."""
        step_key = self._keys[vertex]
        key = step_key.digest if step_key is not None else None
        found = self._look_ups.known_soon(key) if key is not None and not is_found_here and self._look_ups is not None else None
        if found is not None and key is not None:
            entry, size = found.entry, sum(blob.size_bytes for blob in found.entry.blobs[-1:])
            age = max(0, int(time.time() - entry.created_at_s))
            self._met.append(key)
            pairs = (("from", found.remote.name), ("scope", found.scope), ("writer", entry.writer), ("age_s", str(age)), ("bytes", str(size)))
            return pairs
        if made is not None:
            return (("from", "local"), ("age_s", str(max(0, int(time.time() - made[0])))), ("bytes", str(made[1])))
        return self._origin_of_layer(vertex, hits)

    def _origin_of_layer(self, vertex: int, hits: dict[int, StepRecord]) -> Pairs:
        """As the record of a hit above tells it, which has the step's layer among its own."""
        base, height = self._base(vertex)
        for above in sorted(hits) if height else ():
            whose, record = self._base(above), hits[above]
            layers = record.result.layers
            if whose[1] > height and len(layers) == len(base.diff_ids) + whose[1] and self._is_below(vertex, above):
                layer = layers[len(base.diff_ids) + height - 1]
                source = self.layers.source(layer.diff_id) if layer.diff_id and not layer.snapshot else None
                return (("from", source.remote), ("scope", source.scope)) if source is not None else (("from", "local"),)
        return ()

    def _is_below(self, vertex: int, above: int) -> bool:
        while above > vertex and isinstance(self._graph.vertices[above].op, ExecOp | FileOp):
            above = self._graph.vertices[above].inputs[0]
        return above == vertex

    def _asking(self) -> "LookUps":
        if self._look_ups is None:
            from chandlery.buildcache.look_ups import LookUps

            self._look_ups = LookUps(self._remotes, self._scopes.reads, warn=self._book.warn, limits=self._limits, imports=self._imports, down=self._down)
            wanted = []
            for vertex in sorted(self._graph.needed(), reverse=True):
                key = self._keys[vertex]
                if key is not None and isinstance(self._graph.vertices[vertex].op, ExecOp | FileOp) and not self._fresh(vertex):
                    wanted.append((key, self._expected(vertex)))
            self._look_ups.start(wanted)
        return self._look_ups

    def _expected(self, vertex: int) -> "Expected":
        from chandlery.buildcache.entry import Expected

        base, height = self._base(vertex)
        created_by = []
        for _ in range(height):
            created_by.append(self._graph.vertices[vertex].created_by)
            vertex = self._graph.vertices[vertex].inputs[0]
        return Expected(base.diff_ids, height, tuple(reversed(created_by)))

    def _base(self, vertex: int) -> "tuple[Base, int]":
        """The image at the bottom of a step's chain, and how many steps stand on it."""
        from chandlery.buildcache.publisher import Base

        height = 0
        while isinstance(self._graph.vertices[vertex].op, ExecOp | FileOp):
            height += 1
            vertex = self._graph.vertices[vertex].inputs[0]
        op = self._graph.vertices[vertex].op
        return (Base(tuple(map(str, op.diff_ids)), op.reference, str(op.manifest_digest)) if isinstance(op, ImageOp) else Base()), height

    # writing

    def offer(self, vertex: int, record: StepRecord, by_content: tuple[StepRecord, ...] = (), *, is_earlier: bool = False) -> None:
        """Share a record that was just written, or an earlier one, behind the build's back."""
        target = self._target()
        if target is None:
            return
        if self._look_ups is not None and self._look_ups.is_unreachable(target):
            self._held_back += [] if is_earlier else [record.name]
            return
        from chandlery.buildcache.publisher import Offer
        from chandlery.engine.publishing import Moment, moment_of

        base, height = self._base(vertex)
        if len(record.result.layers) != len(base.diff_ids) + height:
            return
        replaces = self._look_ups is not None and (record.key in self._look_ups.replaceable or self._is_broken(self._look_ups.known(record.key)))
        offer = Offer(record, base, by_content, replaces, is_earlier)
        # what was asked for again is worth sharing, whatever it is
        moment = Moment.NOW if is_earlier else moment_of(self._graph, vertex, is_pushed=self._is_pushed)
        if moment is Moment.NOW:
            self._offer_now(offer)
        else:
            with self._lock:
                self._later.append((moment, offer))

    def blobs_are_at(self, registry: str, repository: str) -> None:
        """An output's layers are there: what waited for that goes out, beside the end of the push. Called by any thread."""
        with self._lock:
            certain = [offer for moment, offer in self._later if moment.is_certain]
            self._later = [later for later in self._later if not later[0].is_certain]
        for offer in certain:
            self._offer_now(replace(offer, pushed_to=((registry, repository),)))

    def settle(self) -> None:
        """The outputs are made: what only a failure would have needed doesn't go out. Where this isn't called, everything does."""
        with self._lock:
            self._later = [later for later in self._later if later[0].is_certain]

    def _offer_now(self, offer: "Offer") -> None:
        target = self._target()
        assert target is not None
        self._publishing(target).offer(offer)

    def _target(self) -> "StepRemote | None":
        return next((remote for remote in self._remotes if remote.is_writable), None)

    def _marks(self) -> "SharedMarks | None":
        """What the remote that is written is known to have; None where none is."""
        target = self._target()
        if self._marked is None and target is not None:
            from chandlery.buildcache.shared_marks import SharedMarks

            self._marked = SharedMarks(self._db, target.name, self._scopes.write)
        return self._marked

    def _note_shared(self, keys: "tuple[Digest, ...]", is_new: bool) -> None:
        if not is_new:
            self._used.update((self._scopes.write, key) for key in keys)
        if (marks := self._marks()) is not None:
            marks.note(keys)

    def _is_broken(self, found: "Found | None") -> bool:
        """Whether an entry lists a layer that turned out to be lost."""
        return found is not None and any(str(layer.diff_id) in self.layers.lost for layer in found.entry.layers)

    def packed(self, layer: "LayerRef") -> "tuple[Digest, Descriptor]":
        return self._pack(layer)

    def source(self, diff_id: str) -> LayerSource | None:
        return self.layers.source(diff_id)

    def open_blob(self, blob: "Descriptor") -> "VerifiedReader":
        return self.layers.open_blob(blob)

    def _publishing(self, target: "StepRemote") -> "Publisher":
        with self._lock:
            if self._publisher is None:
                from chandlery.buildcache.publisher import Publisher

                self._publisher = Publisher(
                    target,
                    self._scopes.write,
                    self,
                    writer=self._machine,
                    is_lost=lambda digest: digest in self.layers.lost_blobs,
                    warn=self._book.warn,
                    note=self._note_shared,
                )
            return self._publisher

    # the end

    def _leave_alone_what_is_away(self) -> None:
        target, marks = self._target(), self._marks()
        if self._look_ups is not None and target is not None and marks is not None and self._look_ups.is_unreachable(target):
            marks.note_away(UNREACHABLE_S)

    def _remember_hits(self) -> None:
        """Or a later build that misses one of them here would know of no earlier run."""
        for vertex in self._graph.needed() if self._met else ():
            key = self._keys[vertex]
            if key is not None and key.digest in self._met:
                self.look_up(LookUp(vertex, key))

    def _tell_uses(self) -> "Thread | None":
        """One request in a thread of its own: what is used last goes last (`cache prune`). What goes wrong is silent."""
        target, used = self._target(), tuple(sorted(self._used.copy(), key=str))
        if target is None or not used or target.name in self._down:
            return None
        from threading import Thread

        def tell() -> None:
            try:
                target.note_uses(self._scopes.write, used)
            except (ChandleryError, OSError):
                return

        thread = Thread(target=tell, name="chandlery-uses", daemon=True)
        thread.start()
        return thread

    def finish(self, timeout_s: float | None) -> CacheReport:
        """Wait for what is on its way out, at most `timeout_s` (None: as long as it takes), and stop using the remotes. What was shared."""
        for _, offer in self._later:
            self._offer_now(offer)
        self._remember_hits()
        # the steps found here are asked for meanwhile
        telling = self._tell_uses() if self._earlier is None else None
        report = CacheReport(self._scopes.write, self._scopes.reads, self._scopes.reason, tuple(remote.name for remote in self._remotes))
        if self._earlier is not None:
            self._earlier.finish()
        self._leave_alone_what_is_away()
        target = self._target()
        if self._publisher is not None:
            published = self._publisher.finish(timeout_s)
            if published.why and (marks := self._marks()) is not None:
                marks.note_away(DENIED_S if published.is_denied else AWAY_S if published.has_answered else UNREACHABLE_S)
            report = replace(
                report,
                steps_published=published.steps,
                bytes_published=published.bytes_moved,
                unpublished=published.missing,
                why=published.why,
            )
        telling = telling or self._tell_uses()
        if telling is not None:
            telling.join(TELL_S if timeout_s is None else min(timeout_s, TELL_S))
        if self._held_back:
            report = replace(report, unpublished=(*report.unpublished, *self._held_back), why=report.why or "the shared cache is not reachable")
        if self._look_ups is not None or self._publisher is not None or self.layers.bytes_moved:
            for remote in self._remotes:
                remote.stop()
        if report.unpublished and not (target is not None and target.name in self._down):
            self._book.warn("cache.unpublished", f"{len(report.unpublished)} steps were not shared: {report.why}")
        return report

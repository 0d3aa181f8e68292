"""One build, request to result: the line that design.md draws, top to bottom.

open -> parse -> pin, lower -> digest contexts -> solve (steps, then exports) -> result
"""

import contextlib
import time

from chandlery.buildcache.record import AgeLimits
from chandlery.buildcache.records import RecordStore
from chandlery.content.steplock import StepLocks
from chandlery.engine.base_layers import BaseLayers
from chandlery.engine.contexts import Contexts, OpenedContext, open_context
from chandlery.engine.driver import Driver
from chandlery.engine.exports import Exports
from chandlery.engine.foreign import as_ours
from chandlery.engine.layer_sources import LayerSources
from chandlery.engine.lowering import RequestPinner, lower_options, named_directories
from chandlery.engine.pinning import pin_and_lower
from chandlery.engine.recipe import created_time, epoch_of, recipe_of
from chandlery.engine.remote_layers import RemoteLayers
from chandlery.engine.request import BuildRequest, BuildResult, CacheReport, Output, OutputKind
from chandlery.engine.sharing import Sharing
from chandlery.engine.steps import StepBook
from chandlery.engine.tasks import BuildTasks
from chandlery.engine.tools import Tools
from chandlery.engine.volatility import Volatility
from chandlery.engine.workshop import Workshop, patience_s
from chandlery.errors import ChandleryError, InputError
from chandlery.events import BuildFinished, BuildStarted, EventSink, Outcome
from chandlery.frontend.dockerfile.excerpt import render
from chandlery.frontend.dockerfile.instructions import Dockerfile
from chandlery.frontend.dockerfile.lowered import ImageReference, Lowered
from chandlery.frontend.dockerfile.parse import parse
from chandlery.graph.op import ContextOp, ExecOp, ExportOp, FileOp, ImageOp, Network
from chandlery.graph.selection import selections
from chandlery.graph.source_range import SourceRange
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.runtime.secrets import Secrets
from chandlery.scope import machine_name
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.solver.solver import Solver
from chandlery.source.image import PinnedImage
from chandlery.source.layer_forms import BlobForm, LayerForms
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chandlery.buildcache.imported import ImportedCache
    from chandlery.buildcache.remote import StepRemote
    from chandlery.engine.buildkit_caches import BuildkitCaches
    from chandlery.engine.exports import Exported


def build(request: BuildRequest, tools: Tools, sink: EventSink) -> BuildResult:
    """Run one build. Raises the first failure as a ChandleryError that says where it came from; nothing of it goes on behind that."""
    started_at_s = time.time()
    book = StepBook(sink, tools.stop)
    whose = (tools.scopes.write, tools.scopes.reason) if tools.scopes.write else ("", "")
    sink(BuildStarted(tools.session.id, started_at_s, tools.store.layout.log(tools.session.id), *whose))
    error_code = "internal"
    begun = _Build(request, tools, book, started_at_s)
    try:
        result = begun.run()
        error_code = ""
        return result
    except Exception as raised:
        failure = as_ours(raised, tools.store.root)
        error_code = getattr(failure, "code", error_code)
        if isinstance(failure, ChandleryError):
            failure.build = begun.result()
        raise failure from (failure.__cause__ if failure is not raised else raised.__cause__)
    finally:
        sink(BuildFinished(tools.session.id, time.time(), error_code))


class _Build:
    """The state of one run, each part made by the step of the line that is named for it."""

    def __init__(self, request: BuildRequest, tools: Tools, book: StepBook, started_at_s: float) -> None:
        self._request = request
        self._tools = tools
        self._book = book
        self._started_at_s = started_at_s
        self._outputs = request.outputs or (Output(),)
        self._cache: CacheReport | None = None
        self._caches: BuildkitCaches | None = None

    def run(self) -> BuildResult:
        opened = open_context(
            self._request,
            store=self._tools.store,
            session=self._tools.session,
            secrets=Secrets(self._request.secrets, self._tools.environment),
            book=self._book,
        )
        try:
            dockerfile = parse(opened.dockerfile_text, file=opened.dockerfile_name)
            self._remark(dockerfile)
            lowered, images = self._lower(dockerfile)
            if lowered.source_date_epoch == "context":
                self._date_by(opened)
                lowered, images = self._lower(dockerfile)
            self._warn_unused(lowered)
            contexts = Contexts(self._tools.store, opened, named_directories(self._request))
            return self._solve(lowered, images, contexts)
        except ChandleryError as failure:
            _add_excerpt(failure, opened)
            raise

    def _lower(self, dockerfile: Dockerfile) -> tuple[Lowered, dict[ImageReference, PinnedImage]]:
        return pin_and_lower(dockerfile, lower_options(self._request), RequestPinner(self._request, self._tools), self._book)

    def _date_by(self, opened: OpenedContext) -> None:
        """SOURCE_DATE_EPOCH=context means the time of a git context's commit, and nothing for other contexts, as in BuildKit."""
        others = tuple(pair for pair in self._request.build_args if pair[0] != "SOURCE_DATE_EPOCH")
        text = "" if opened.committed_at_s is None else str(opened.committed_at_s)
        self._request = replace(self._request, build_args=(*others, ("SOURCE_DATE_EPOCH", text)))

    def _solve(self, lowered: Lowered, images: dict[ImageReference, PinnedImage], contexts: Contexts) -> BuildResult:
        tools = self._tools
        graph = _with_exports(lowered, self._outputs)
        base = BaseLayers(tools.images, tools.session, self._book)
        _know_images(base, graph, images)
        epoch_s = epoch_of(lowered)
        solver = Solver(graph, _context_digests(graph, contexts))
        caches = self._buildkit_caches(graph, lowered.target, solver, contexts, tuple(images.values()), epoch_s)
        remotes = tools.remotes()
        remote = self._remote_layers((*remotes, *(caches.imported if caches is not None else ())))
        layers = LayerSources(base, remote)
        forms = LayerForms(
            tools.store, tools.snapshots, tools.session, fetch=layers.fetch, fetch_blob=layers.fetch_blob, elsewhere=layers, check=tools.stop.check
        )
        # what a failed build finished is packed and shared all the same
        unstopped = LayerForms(tools.store, tools.snapshots, tools.session, fetch=layers.fetch, fetch_blob=layers.fetch_blob)
        volatility = Volatility(graph, solver.canonical)
        limits = AgeLimits(self._request.cache_max_age_s, self._request.volatile_max_age_s)
        records = RecordStore(tools.store, tools.session, limits=limits)
        sharing = Sharing(
            remotes, tools.scopes, remote, graph=graph, keys=solver.keys, fresh=solver.is_fresh, records=records, book=self._book,
            pack=lambda layer: self._packed(unstopped, layer), limits=limits, db=tools.store.db, machine=machine_name(tools.environment), down=tools.down(),
            imports=caches.imports() if caches is not None else None, is_pushed=any(output.is_set("push") for output in self._outputs),
        )  # fmt: skip
        workshop = Workshop(
            self._request, tools, forms, contexts, records, created_s=epoch_s, warn=self._warn_of_volume, networks_early=_has_isolated_steps(graph)
        )
        with self._shared(sharing, workshop), workshop:
            origins = lambda registry: _mountable(registry, images, remote)  # noqa: E731
            exports = self._exports(lowered, forms, workshop, origins, caches, sharing)
            tasks = BuildTasks(
                graph=graph,
                keys=solver.keys,
                fresh=solver.is_fresh,
                worker=workshop.worker,
                exports=exports,
                records=records,
                locks=StepLocks(tools.store.layout),
                book=self._book,
                stop=tools.stop,
                root=tools.store.root,
                make_room=tools.make_room,
                created=lambda: created_time(epoch_s),
                keep_failed=self._keep_failed,
                volatility=volatility,
                sharing=sharing,
            )
            Driver(
                graph=graph, solver=solver, records=records, tasks=tasks, crew=workshop.crew, book=self._book, is_shown=base.is_shown,
                volatility=volatility, sharing=sharing, volumes=workshop if sharing.is_on else None,
            ).run()  # fmt: skip
            sharing.settle()
            if caches is not None:
                caches.export(forms, lambda vertex: _recorded(vertex, solver, records, sharing), origins)
        contexts.save()
        if any(outcome.key and outcome.outcome == Outcome.DONE for outcome in self._book.outcomes):
            from chandlery.engine.misses import Misses

            self._book.outcomes = Misses(graph, solver.keys, records, tools.store.db, contexts, solver.is_fresh).explained(self._book.outcomes)
        return self.result(exports.made)

    def _exports(
        self,
        lowered: Lowered,
        forms: LayerForms,
        workshop: Workshop,
        origins: "Callable[[str], dict[Digest, str]]",
        caches: "BuildkitCaches | None",
        sharing: Sharing,
    ) -> Exports:
        epoch_s, tools = epoch_of(lowered), self._tools
        return Exports(
            outputs=self._outputs,
            tags=self._request.tags,
            recipe=recipe_of(lowered, epoch_s),
            clamp_s=epoch_s,
            store=tools.store,
            session=tools.session,
            forms=forms,
            mounter=workshop.mounter,
            client=tools.images.client,
            origins=origins,
            inline=caches.inline if caches is not None else None,
            on_blobs=lambda name: sharing.blobs_are_at(name.registry, name.repository),
        )

    def _remote_layers(self, places: "tuple[StepRemote | ImportedCache, ...]") -> RemoteLayers:
        tools = self._tools
        return RemoteLayers(tools.store, tools.snapshots, tools.session, {place.name: place for place in places}, self._book, tools.stop.is_set)

    def _buildkit_caches(
        self, graph: Graph, target: int, solver: Solver, contexts: Contexts, images: tuple[PinnedImage, ...], epoch_s: int | None
    ) -> "BuildkitCaches | None":
        request = self._request
        if not request.cache_from and not request.cache_to and not request.wants_inline_cache:
            return None
        from chandlery.engine.buildkit_caches import BuildkitCaches

        self._caches = BuildkitCaches(
            request, self._tools, self._book, graph=graph, target=target, solver=solver, contexts=contexts, images=images,
            platform=lower_options(request).platform, epoch_s=epoch_s,
        )  # fmt: skip
        return self._caches

    @contextlib.contextmanager
    def _shared(self, sharing: Sharing, workshop: Workshop) -> "Iterator[None]":
        """However the build ends, what it finished is shared first; a build that was stopped doesn't wait for that."""
        failure: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            failure = raised
            raise
        finally:
            if sharing.is_on:
                patience = patience_s(self._request, failure)
                report = sharing.finish(None if patience is None else max(0.0, patience - workshop.waited_s))
                self._cache = replace(report, volumes=workshop.volume_reports)
            if self._caches is not None:
                self._caches.close()

    def _warn_of_volume(self, code: str, message: str, cause: str) -> None:
        self._book.warn(code, message, cause=cause)

    def _packed(self, forms: LayerForms, layer: LayerRef) -> tuple[Digest, Descriptor]:
        """A layer as the blob that this build's image has, so that the shared cache and the image's registry mean the same bytes."""
        from chandlery.layer.compression import Compression

        kinds = (OutputKind.IMAGE, OutputKind.OCI, OutputKind.DOCKER)
        image = next((output for output in self._request.outputs if output.kind in kinds), Output())
        wanted, level = image.option("compression", "gzip"), image.option("compression-level")
        form = BlobForm(Compression.NONE if wanted == "uncompressed" else Compression(wanted), int(level) if level else None)
        return forms.blob(layer, form)

    def _keep_failed(self, op: ExecOp, inputs: tuple[object, ...]) -> str:
        from chandlery.engine.again import keep

        return keep(self._tools, self._request, op, inputs)

    def result(self, outputs: "Sequence[Exported]" = ()) -> BuildResult:
        """What was made and moved; of a build that failed, so far."""
        first = next((made for made in outputs if made.descriptor is not None), outputs[0] if outputs else None)
        described = first.descriptor if first is not None else None
        return BuildResult(
            build_id=self._tools.session.id,
            image_digest=first.image_digest if first is not None else "",
            config_digest=first.config_digest if first is not None else "",
            descriptor=(("mediaType", described.media_type), ("digest", str(described.digest)), ("size", str(described.size_bytes))) if described else (),
            names=tuple(name for made in outputs for name in made.names),
            steps=tuple(self._book.outcomes),
            warnings=tuple(self._book.warnings),
            bytes_moved=sum(step.bytes_moved for step in self._book.outcomes),
            seconds=time.time() - self._started_at_s,
            log_path=self._tools.store.layout.log(self._tools.session.id),
            cache=self._cache,
        )

    def _remark(self, dockerfile: Dockerfile) -> None:
        if dockerfile.syntax:
            self._book.warn("dockerfile.syntax-ignored", f"# syntax={dockerfile.syntax} is read, but its front end is not fetched: Chandlery's own is used")

    def _warn_unused(self, lowered: Lowered) -> None:
        if lowered.unused_build_args:
            self._book.warn("build-arg.unused", f"One or more build-args {list(lowered.unused_build_args)} were not consumed")


def _mountable(registry: str, images: dict[ImageReference, PinnedImage], remote: RemoteLayers) -> dict[Digest, str]:
    """Repositories of a registry that have layers of this build: base images', and shared caches'."""
    found = {blob: repository for host, repository, blob in remote.origins() if host == registry}
    for image in images.values():
        if image.reference.registry == registry and not image.is_local:
            found.update((layer.digest, image.reference.repository) for layer in image.layers)
    return found


def _recorded(vertex: int, solver: Solver, records: RecordStore, sharing: Sharing) -> FileSystem | None:
    """The result of a step that this build never came to."""
    key = solver.keys[vertex]
    record = records.look_up(key.digest) if key is not None else None
    record = record or sharing.heard(vertex)
    if record is None:
        return None
    sharing.learn(record)
    return record.result


def _with_exports(lowered: Lowered, outputs: tuple[Output, ...]) -> Graph:
    vertices = list(lowered.graph.vertices)
    targets = []
    for index in range(len(outputs)):
        targets.append(len(vertices))
        vertices.append(Vertex(ExportOp(index), (lowered.target,)))
    return Graph(tuple(vertices), tuple(targets))


def _know_images(base: BaseLayers, graph: Graph, images: dict[ImageReference, PinnedImage]) -> None:
    names = {vertex.op.manifest_digest: vertex.name for vertex in graph.vertices if isinstance(vertex.op, ImageOp)}
    for image in images.values():
        base.know(image, names.get(image.manifest_digest, f"FROM {image.reference}"))


def _has_isolated_steps(graph: Graph) -> bool:
    """Whether a build that runs anything is likely to run a step in a network of its own: whatever misses, all that stands on it does, too."""
    needed = (graph.vertices[vertex].op for vertex in graph.needed())
    return any(isinstance(op, ExecOp) and op.network is Network.DEFAULT for op in needed)


def _context_digests(graph: Graph, contexts: Contexts) -> dict[tuple[int, int], Digest]:
    """The digest of every selection of a local context that the build needs; a missing file is reported at its instruction, before anything runs."""
    from chandlery.engine.failures import with_source

    digests: dict[tuple[int, int], Digest] = {}
    for vertex_id in sorted(graph.needed()):
        vertex = graph.vertices[vertex_id]
        for index, selected in selections(vertex.op).items():
            source = graph.vertices[vertex.inputs[index]].op
            if isinstance(source, ContextOp):
                try:
                    digests[vertex_id, index] = contexts.get(source.name).digest(selected, allows_wildcards=isinstance(vertex.op, FileOp))
                except InputError as failure:
                    raise with_source(failure, vertex) from failure
    return digests


def _add_excerpt(failure: ChandleryError, opened: OpenedContext) -> None:
    """Show the lines that an error points at, where it does and nobody has yet."""
    if not failure.where or failure.excerpt:
        return
    file, line, column = failure.where.rsplit(":", 2)
    if file == opened.dockerfile_name:
        failure.excerpt = render(opened.dockerfile_text, SourceRange(file, int(line), int(column), failure.end_line))

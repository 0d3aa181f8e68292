"""`BuildkitCaches`: --cache-from and --cache-to in one build: steps found in caches of BuildKit's form, and such caches written when the build is done.

Made only for builds that ask for one. What is written is complete: the chains with the base image's layers, as BuildKit wants them. `mode=min` writes the
layers of the result, `mode=max` those of every step that the build needed and knows. A cache that can't be written fails the build, as with buildx, unless
ignore-error=true; one that can't be read is a warning.
"""

from _thread import allocate_lock

from chandlery.buildcache.buildkit_export import StepLayer, describe
from chandlery.engine.request import BuildRequest, CacheKind, CacheSpec
from chandlery.engine.steps import Step, StepBook
from chandlery.engine.tools import Tools
from chandlery.errors import Cancelled, ChandleryError, Lost
from chandlery.graph.op import ExecOp, FileOp, ImageOp
from chandlery.graph.vertex import Graph
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, from_hex
from chandlery.snapshot.state import FileSystem, LayerRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chandlery.buildcache.buildkit_artifact import Artifact
    from chandlery.buildcache.buildkit_keys import Node
    from chandlery.buildcache.imports import Imports
    from chandlery.engine.contexts import Contexts
    from chandlery.oci.platform import Platform
    from chandlery.solver.solver import Solver
    from chandlery.source.image import PinnedImage
    from chandlery.source.layer_forms import BlobForm, LayerForms

_NAMES = {CacheKind.REGISTRY: "exporting cache to registry", CacheKind.LOCAL: "exporting cache to client directory"}


class BuildkitCaches:
    """`target` is the vertex whose file system the image is; `images` those that the build stands on."""

    def __init__(
        self,
        request: BuildRequest,
        tools: Tools,
        book: StepBook,
        *,
        graph: Graph,
        target: int,
        solver: "Solver",
        contexts: "Contexts",
        images: "Iterable[PinnedImage]",
        platform: "Platform",
        epoch_s: int | None,
    ) -> None:
        self._request = request
        self._tools = tools
        self._book = book
        self._graph = graph
        self._target = target
        self._solver = solver
        self._contexts = contexts
        self._images = tuple(images)
        self._platform = platform
        self._epoch_s = epoch_s
        self._lock = allocate_lock()
        self._nodes: tuple[Node, ...] | None = None
        self._descriptor: Descriptor | None = None
        self.imported = tools.imports(platform) if request.cache_from else ()

    def imports(self) -> "Imports | None":
        """What look-ups ask first; None where nothing is imported."""
        if not self.imported:
            return None
        from chandlery.buildcache.imports import Imports

        return Imports(self.imported, nodes=self.nodes, keys=self._solver.keys, warn=self._book.warn)

    def nodes(self) -> "tuple[Node, ...]":
        """The build's steps as BuildKit names them. Raises ContextError for files that changed meanwhile."""
        from chandlery.buildcache.buildkit_content import ContentDigests
        from chandlery.buildcache.buildkit_keys import Surroundings, name_operations

        with self._lock:
            if self._nodes is None:
                made: dict[str, ContentDigests] = {}

                def contents(name: str, paths: tuple[str, ...], is_copy: bool) -> str:
                    if name not in made:
                        made[name] = ContentDigests(self._contexts.get(name))
                    return made[name].of(paths, is_copy=is_copy)

                tops = {image.manifest_digest: image.top_digest for image in self._images if image.top_digest is not None}
                surroundings = Surroundings(self._platform, tops, self._epoch_s, has_usual_steps=_has_usual_steps(self._request))
                self._nodes = name_operations(self._graph, surroundings, contents)
            return self._nodes

    @property
    def descriptor(self) -> Descriptor | None:
        """The manifest of the cache that was written last."""
        return self._descriptor

    def inline(self, result: FileSystem) -> str:
        """What the image's configuration carries of its own steps, base64; "" where that isn't wanted."""
        if not self._request.wants_inline_cache or self._tools.cache_mode == "off":
            return ""
        from base64 import b64encode

        from chandlery.buildcache.buildkit_config import encode_records

        # records refer to the image's layers by their place
        layers = tuple(StepLayer(from_hex(f"{at:064x}"), layer.created) for at, layer in enumerate(result.layers))
        chains = {vertex: layers[: len(below.layers)] for vertex, below in self._below(self._target, result).items()}
        return b64encode(encode_records(describe(chains, self._solver.keys, self.nodes(), layers=layers))).decode()

    def export(self, forms: "LayerForms", known: "Callable[[int], FileSystem | None]", origins: "Callable[[str], dict[Digest, str]]") -> None:
        """Write every cache that was asked for. `known(vertex)` is the result of a step that this build never came to. Raises RegistryError, MachineError."""
        wanted = [spec for spec in self._request.cache_to if spec.kind is not CacheKind.INLINE]
        if wanted and self._tools.cache_mode in ("off", "local", "ro"):
            self._book.warn("cache.not-exported", f"--cache-to is left undone: CHANDLERY_CACHE={self._tools.cache_mode}")
            return
        for spec in wanted:
            try:
                self._book.during(_NAMES[spec.kind], lambda step, spec=spec: self._export(spec, step, forms, known, origins))  # type: ignore[misc]
            except Cancelled:
                raise
            except (ChandleryError, OSError) as failure:
                if not spec.is_set("ignore-error"):
                    raise
                self._book.warn("cache.not-exported", f"the cache {spec.name} was not written: {failure}")

    def close(self) -> None:
        for cache in self.imported:
            cache.stop()

    def _export(
        self, spec: CacheSpec, step: Step, forms: "LayerForms", known: "Callable[[int], FileSystem | None]", origins: "Callable[[str], dict[Digest, str]]"
    ) -> None:
        from chandlery.buildcache.buildkit_artifact import assemble

        chains, blobs = self._packed(spec, forms, self._results(spec.option("mode", "min"), known))
        config = describe(chains, self._solver.keys, self.nodes())
        if not config.layers:
            self._book.warn("cache.not-exported", f"the cache {spec.name} was not written: the build has no layers")
            return
        is_oci = spec.is_set("oci-mediatypes", default="true")
        artifact = assemble(config, blobs, is_oci=is_oci, is_image=spec.is_set("image-manifest", default="true" if is_oci else "false"))
        if spec.kind is CacheKind.LOCAL:
            from chandlery.buildcache.cache_directory import write

            write(spec.option("dest"), artifact, forms.open_blob, tag=spec.option("tag", "latest"))
        else:
            self._push(spec, artifact, step, forms, origins)
        self._descriptor = artifact.descriptor

    def _push(self, spec: CacheSpec, artifact: "Artifact", step: Step, forms: "LayerForms", origins: "Callable[[str], dict[Digest, str]]") -> None:
        from io import BytesIO

        from chandlery.oci import reference
        from chandlery.registry.push import push

        named = reference.parse(spec.option("ref"))
        receipt = push(
            self._tools.client(),
            named,
            blobs=(*artifact.layers, artifact.config),
            open_blob=lambda blob: BytesIO(artifact.document) if blob.digest == artifact.config.digest else forms.open_blob(blob),
            manifest=artifact.manifest,
            mount_from=origins(named.registry),
            on_progress=lambda progress: step.progress("pushing", progress.done_bytes, progress.total_bytes),
        )
        step.moved(receipt.bytes_moved)

    # which steps have which layers

    def _results(self, mode: str, known: "Callable[[int], FileSystem | None]") -> dict[int, FileSystem]:
        target = self._solver.result(self._target)
        found = self._below(self._target, target) if isinstance(target, FileSystem) else {}
        if mode != "max":
            return found
        for vertex in sorted(self._graph.needed(), reverse=True):
            if vertex in found or not isinstance(self._graph.vertices[vertex].op, ExecOp | FileOp):
                continue
            result = self._solver.result_or_none(vertex) or known(vertex)
            if isinstance(result, FileSystem):
                found = self._below(vertex, result) | found
        return found

    def _below(self, vertex: int, result: FileSystem) -> dict[int, FileSystem]:
        """A step's result and, as its lower parts, those of the steps that it stands on."""
        height = 0
        at = vertex
        while isinstance(self._graph.vertices[at].op, ExecOp | FileOp):
            height += 1
            at = self._graph.vertices[at].inputs[0]
        op = self._graph.vertices[at].op
        if len(result.layers) != height + (len(op.diff_ids) if isinstance(op, ImageOp) else 0):
            return {}
        found = {}
        for _ in range(height):
            found[vertex] = result
            vertex, result = self._graph.vertices[vertex].inputs[0], result.below()
        return found

    def _packed(
        self, spec: CacheSpec, forms: "LayerForms", results: dict[int, FileSystem]
    ) -> tuple[dict[int, tuple[StepLayer, ...]], dict[Digest, tuple[Digest, Descriptor]]]:
        """Every result's chain as blobs; results with a layer that nobody has any more are left out. Blobs by digest, each with its diff id."""
        form, may_stay_away = _form(spec), spec.kind is CacheKind.REGISTRY
        made: dict[LayerRef, tuple[Digest, Descriptor] | None] = {}
        chains: dict[int, tuple[StepLayer, ...]] = {}
        for vertex, result in sorted(results.items()):
            for layer in result.layers:
                if layer not in made:
                    try:
                        made[layer] = forms.blob(layer, form, may_stay_away=may_stay_away)
                    except Lost as lost:
                        made[layer] = None
                        self._book.warn("cache.lost-layer", f"a step is left out of the cache {spec.name}: its layer {lost.what[:19]} is gone")
            packed = [made[layer] for layer in result.layers]
            if all(packed):
                chains[vertex] = tuple(StepLayer(blob[1].digest, layer.created) for blob, layer in zip(packed, result.layers, strict=True) if blob is not None)
        return chains, {blob[1].digest: blob for blob in made.values() if blob is not None}


def _form(spec: CacheSpec) -> "BlobForm":
    from chandlery.layer.compression import Compression
    from chandlery.source.layer_forms import BlobForm

    wanted, level = spec.option("compression", "gzip"), spec.option("compression-level")
    compression = Compression.NONE if wanted == "uncompressed" else Compression(wanted)
    return BlobForm(compression, int(level) if level else None, spec.is_set("force-compression"))


def _has_usual_steps(request: BuildRequest) -> bool:
    """Whether steps run as BuildKit's do without options: what changes them enters its keys in ways of its own."""
    return not request.ulimits and request.shm_size_bytes == 64 << 20 and "BUILDKIT_SANDBOX_HOSTNAME" not in dict(request.build_args)

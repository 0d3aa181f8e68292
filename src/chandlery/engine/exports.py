"""`Exports`: makes a request's outputs from the target's file system: files, archives, images in the store and in registries.

Exports are vertices of the graph: a layer that turns out to be gone while it is packed or pushed is Lost, and takes the way back through the solver. An output
is written under a temporary name beside its destination and renamed when it is whole.
"""

from functools import partial

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.engine.destination import Destination
from chandlery.engine.request import Output, OutputKind
from chandlery.engine.steps import Step
from chandlery.errors import RequestError
from chandlery.exporter import assemble
from chandlery.exporter.assemble import Image, ImageRecipe
from chandlery.exporter.image_store import ImageNames
from chandlery.oci import image_config, reference
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.reference import Reference
from chandlery.snapshot.state import FileSystem
from chandlery.source.layer_forms import LayerForms
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.registry.client import RegistryClient
    from chandlery.registry.streamed import StreamedBlob
    from chandlery.worker.mounter import Mounter

_NAMES = {
    OutputKind.LOCAL: "exporting to client directory", OutputKind.TAR: "exporting to client tarball", OutputKind.OCI: "exporting to oci image format",
    OutputKind.DOCKER: "exporting to docker image format", OutputKind.IMAGE: "exporting to image", OutputKind.CACHE_ONLY: "keeping the cache only",
}  # fmt: skip


@value
class Exported:
    """What an export made, for the result; digests are "" where there is no such document."""

    config_digest: str = ""
    image_digest: str = ""
    descriptor: Descriptor | None = None
    names: tuple[str, ...] = ()


class Exports:
    """For one build. `origins(registry)` gives repositories there that are likely to have a blob, by its digest; `inline` the cache that
    an image is to carry of itself. `on_blobs` hears which repository has all blobs of an image, before a manifest names them."""

    def __init__(
        self,
        *,
        outputs: tuple[Output, ...],
        tags: tuple[str, ...],
        recipe: ImageRecipe,
        clamp_s: int | None,
        store: Store,
        session: Session,
        forms: LayerForms,
        mounter: "Callable[[], Mounter]",
        client: "Callable[[], RegistryClient]",
        origins: "Callable[[str], dict[Digest, str]]",
        inline: "Callable[[FileSystem], str] | None" = None,
        on_blobs: "Callable[[Reference], None]" = lambda _: None,
    ) -> None:
        self._inline = inline
        self._on_blobs = on_blobs
        self._outputs = outputs
        self._tags = tuple(reference.parse(tag) for tag in tags)
        self._recipe = recipe
        self._clamp_s = clamp_s
        self._store = store
        self._session = session
        self._forms = forms
        self._mounter = mounter
        self._client = client
        self._origins = origins
        self.made: list[Exported] = []

    def name(self, output: int) -> str:
        chosen = self._outputs[output]
        return "exporting to image and pushing" if chosen.is_set("push") else _NAMES[chosen.kind]

    def is_instant(self, output: int, result: FileSystem) -> bool:
        chosen = self._outputs[output]
        if chosen.kind is OutputKind.CACHE_ONLY:
            return True
        is_stored = chosen.kind is OutputKind.IMAGE and not chosen.is_set("push") and self._clamp_s is None
        return is_stored and all(self._forms.has_diff_id(layer) and not self._forms.is_away(layer) for layer in result.layers)

    def is_repeatable(self, output: int) -> bool:
        """Whether an output that failed half-way can be made again: what went to standard output is gone."""
        return self._outputs[output].destination != "-"

    def run(self, output: int, result: FileSystem, step: Step) -> None:
        """Make one output. Raises Lost, RegistryError, RequestError, MachineError."""
        chosen = self._outputs[output]
        if self._clamp_s is not None and chosen.kind is not OutputKind.CACHE_ONLY:
            # layers whose times are rewritten are packed anew, whoever made them
            result = self._forms.localised(result)
        match chosen.kind:
            case OutputKind.CACHE_ONLY:
                return
            case OutputKind.LOCAL | OutputKind.TAR:
                self._files(chosen, result)
            case OutputKind.IMAGE:
                self.made.append(self._push(chosen, result, step) if chosen.is_set("push") else self._store_image(chosen, result, step))
            case OutputKind.OCI | OutputKind.DOCKER:
                self.made.append(self._archive(chosen, result, step))

    def _files(self, chosen: Output, result: FileSystem) -> None:
        from chandlery.exporter import files

        with self._mounter().view(self._forms.directories(result)) as view:
            if chosen.kind is OutputKind.LOCAL:
                files.write_directory(chosen.destination, view)
            else:
                with Destination(chosen.destination) as out:
                    files.write_tar(out, view, clamp_s=self._clamp_s)

    def _store_image(self, chosen: Output, result: FileSystem, step: Step) -> Exported:
        if self._clamp_s is not None:
            # no snapshot is a layer with rewritten times: its blob is what the image can be run or pushed from later
            image, named = self._image(chosen, result, step), self._names(chosen)
            self._keep(image, named)
            return _exported(image, named)
        self._forms.bring(result)
        diff_ids = tuple(self._forms.diff_id(layer, clamp_s=self._clamp_s) for layer in result.layers)
        config = image_config.encode(assemble.assemble(self._whole_recipe(result), result.layers, diff_ids))
        names = self._names(chosen)
        digest = ImageNames(self._store, self._session).put(tuple(str(name) for name in names), config, diff_ids)
        return Exported(str(digest), str(digest), None, tuple(name.familiar for name in names))

    def _whole_recipe(self, result: FileSystem) -> ImageRecipe:
        return self._recipe if self._inline is None else replace(self._recipe, inline_cache=self._inline(result))

    def _names(self, chosen: Output) -> tuple[Reference, ...]:
        named = tuple(reference.parse(name) for name in chosen.option("name").split(",") if name)
        return named or self._tags

    def _image(self, chosen: Output, result: FileSystem, step: Step, *, send: "Callable[[], StreamedBlob] | None" = None, is_push: bool = False) -> Image:
        """The whole image with blobs for every layer, made where they don't exist yet; those go to `send`'s uploads meanwhile. What a push finds at its
        target needn't be here."""
        from chandlery.layer.compression import Compression
        from chandlery.source.layer_forms import BlobForm, layer_media_type

        wanted = chosen.option("compression", "gzip")
        level = chosen.option("compression-level")
        form = BlobForm(
            Compression.NONE if wanted == "uncompressed" else Compression(wanted),
            int(level) if level else None,
            chosen.is_set("force-compression"),
            self._clamp_s,
        )
        is_docker = chosen.option("oci-mediatypes", "false" if chosen.kind is OutputKind.DOCKER else "true") in ("false", "0") and wanted != "zstd"
        made = [
            self._forms.blob(layer, form, report=_numbered(step, number), send=send, may_stay_away=is_push) for number, layer in enumerate(result.layers, 1)
        ]
        config = assemble.assemble(self._whole_recipe(result), result.layers, tuple(diff_id for diff_id, _ in made))
        layers = tuple(Descriptor(layer_media_type(blob.media_type, is_docker=is_docker), blob.digest, blob.size_bytes) for _, blob in made)
        return assemble.with_manifest(config, layers, is_docker=is_docker)

    def _archive(self, chosen: Output, result: FileSystem, step: Step) -> Exported:
        from chandlery.exporter import archive

        if chosen.kind is OutputKind.DOCKER and not chosen.destination:
            return self._store_image(chosen, result, step)
        image = self._image(chosen, result, step)
        names = self._names(chosen)
        if chosen.kind is OutputKind.DOCKER and not archive.is_loadable(image):
            raise RequestError("docker can't load zstd layers", code="request.bad-output", hint="leave compression=zstd away, or use type=oci")
        with Destination(chosen.destination) as out:
            named = tuple(str(name) for name in names)
            opened = lambda blob: self._store.blobs.open(blob.digest)  # noqa: E731
            archive.write(out, [(image, named)], opened, is_oci=chosen.kind is OutputKind.OCI)  # type: ignore[arg-type]
        return _exported(image, names)

    def _push(self, chosen: Output, result: FileSystem, step: Step) -> Exported:
        from chandlery.registry.push import PushProgress, push
        from chandlery.registry.streamed import StreamedBlob

        names = self._names(chosen)
        streams: list[StreamedBlob] = []

        def send() -> StreamedBlob:
            streams.append(StreamedBlob(self._client(), names[0], on_bytes=step.moved))
            return streams[-1]

        image = self._image(chosen, result, step, send=send if names else None, is_push=True)
        blobs = (image.manifest.config, *image.manifest.layers)

        self._keep(image, names)

        def report(progress: PushProgress) -> None:
            step.progress("pushing", progress.done_bytes, progress.total_bytes)

        for name in names:
            receipt = push(
                self._client(),
                name,
                blobs=blobs,
                open_blob=self._forms.open_blob,
                manifest=image.manifest,
                mount_from=self._origins(name.registry),
                streams=tuple(streams) if name.name == names[0].name else (),
                on_blobs=partial(self._on_blobs, name),
                on_progress=report,
            )
            step.moved(receipt.bytes_moved)
        return _exported(image, names)

    def _keep(self, image: Image, names: tuple[Reference, ...]) -> None:
        """Put an image that has blobs in the store, under its names."""
        self._store.blobs.put(image.manifest.raw, session=self._session)
        stored = ImageNames(self._store, self._session)
        diff_ids = image_config.decode(image.config_blob).diff_ids
        stored.put(tuple(map(str, names)), image.config_blob, diff_ids, manifest_digest=image.manifest.digest)


def _numbered(step: Step, layer: int) -> "Callable[[str, int, int], None]":
    """Progress of one layer among others."""
    return lambda verb, done, total: step.progress(f"{verb} layer {layer}", done, total)


def _exported(image: Image, names: tuple[Reference, ...]) -> Exported:
    described = Descriptor(image.manifest.media_type, image.manifest.digest, len(image.manifest.raw))
    return Exported(str(image.config_digest), str(image.manifest.digest), described, tuple(name.familiar for name in names))

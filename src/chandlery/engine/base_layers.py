"""`BaseLayers`: brings layers of base images onto this machine when a step or an export needs their files, and not before."""

from _thread import allocate_lock

from chandlery.content.session import Session
from chandlery.engine.steps import Step, StepBook
from chandlery.errors import Cancelled, InternalError, Lost, StoreError
from chandlery.events import Outcome
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.source.image import ImageSource, PinnedImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.source.layer_fetch import LayerProgress


class BaseLayers:
    """For one build. `images` are (pinned image, the name of its step) in the order of the Dockerfile. Safe for threads: an image is fetched once."""

    def __init__(self, source: ImageSource, session: Session, book: StepBook) -> None:
        self._source = source
        self._session = session
        self._book = book
        self._images: list[tuple[PinnedImage, str]] = []
        self._snapshots: dict[str, str] = {}
        self._lock = allocate_lock()
        self._shown: set[str] = set()

    def know(self, image: PinnedImage, step_name: str) -> None:
        self._images.append((image, step_name))

    def fetch(self, diff_id: str) -> str:
        """The snapshot of a base layer, fetched with its whole image if need be. Raises RegistryError; StoreError for one that nobody has any more."""
        with self._lock:
            if diff_id not in self._snapshots or not self._source.has_snapshot(self._snapshots[diff_id]):
                self._materialise(diff_id)
            return self._snapshots[diff_id]

    def fetch_blob(self, diff_id: str) -> Descriptor | None:
        """A base layer's blob as its registry has it, brought into the store; None if no registry is known to have it. Raises RegistryError."""
        for image, name in self._images:
            if diff_id in image.config.diff_ids and image.layers and not image.is_local:
                blob = image.layers[image.config.diff_ids.index(Digest(diff_id))]
                shown = _Shown(self._book, f"{name} (layer {diff_id[7:19]})")
                try:
                    self._source.fetch_blob(image, blob, self._session, on_progress=shown.progress)
                except BaseException as failure:
                    shown.finish(Outcome.CANCELLED if isinstance(failure, Cancelled) else Outcome.FAILED, failure)
                    raise
                shown.finish(Outcome.DONE)
                return blob
        return None

    def has(self, diff_id: str) -> bool:
        """Whether an image of this build has the layer."""
        return any(diff_id in image.config.diff_ids for image, _ in self._images)

    def is_away(self, diff_id: str) -> bool:
        """Whether a registry has the layer and this machine doesn't have its files."""
        return any(diff_id in image.config.diff_ids and not image.is_local for image, _ in self._images) and not self._source.has_layer(diff_id)

    def blob(self, diff_id: str) -> Descriptor | None:
        """A layer's blob as its registry has it, not fetched; None for layers of images that were made here."""
        for image, _ in self._images:
            if diff_id in image.config.diff_ids and image.layers and not image.is_local:
                return image.layers[image.config.diff_ids.index(Digest(diff_id))]
        return None

    def bring(self, blob: Digest) -> None:
        """Have a layer's blob in the store, where its registry is known. Raises RegistryError."""
        for image, _ in self._images:
            for diff_id, layer in zip(image.config.diff_ids, image.layers, strict=False):
                if layer.digest == blob:
                    self.fetch_blob(str(diff_id))
                    return

    def is_shown(self, step_name: str) -> bool:
        """Whether the pull of an image was shown as a step."""
        return step_name in self._shown

    def _materialise(self, diff_id: str) -> None:
        image, name = next(((image, name) for image, name in self._images if diff_id in image.config.diff_ids), (None, ""))
        if image is None:
            raise InternalError(f"no pinned image has the layer {diff_id}")
        shown = _Shown(self._book, name)
        try:
            snapshots = self._source.materialise(image, self._session, on_progress=shown.progress)
        except Lost as lost:
            hint = f"make or pull {image.reference.familiar} again"
            gone = StoreError(f"a layer of {image.reference.familiar} is gone from the store ({lost.what})", code="store.base-lost", hint=hint)
            shown.finish(Outcome.FAILED, gone)
            raise gone from lost
        except BaseException as failure:
            shown.finish(Outcome.CANCELLED if isinstance(failure, Cancelled) else Outcome.FAILED, failure)
            raise
        if shown.step is None:
            self._book.cached(name)
        shown.finish(Outcome.DONE)
        self._shown.add(name)
        self._snapshots.update(zip(map(str, image.config.diff_ids), snapshots, strict=True))


class _Shown:
    """The step of a pull, shown from its first byte on; an image that is here makes none."""

    def __init__(self, book: StepBook, name: str) -> None:
        self._book = book
        self._name = name
        self.step: Step | None = None

    def progress(self, progress: "LayerProgress") -> None:
        if self.step is None:
            self.step = self._book.start(self._name)
        self.step.moved(progress.moved_bytes)
        self.step.progress(str(progress.layer)[:19], progress.done_bytes, progress.total_bytes)

    def finish(self, outcome: Outcome, failure: BaseException | None = None) -> None:
        if self.step is not None:
            self.step.finish(outcome, failure=failure)

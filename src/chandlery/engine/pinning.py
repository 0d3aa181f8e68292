"""Pinning: every mutable name that the Dockerfile uses becomes a digest, once per build, until lowering asks for nothing more (ONBUILD may add names)."""

from chandlery.engine.steps import StepBook
from chandlery.errors import RegistryError, RequestError
from chandlery.frontend.dockerfile import lower as lowering
from chandlery.frontend.dockerfile.instructions import Dockerfile
from chandlery.frontend.dockerfile.lowered import ImagePlace, ImageReference, Lowered, LowerOptions, PinnedUrl, Pins, UrlReference
from chandlery.frontend.dockerfile.lowered import PinnedImage as FrontendImage
from chandlery.oci import reference
from chandlery.source.image import PinnedImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Pinner(Protocol):
        """Where names are looked up: see wiring."""

        def image(self, wanted: ImageReference) -> PinnedImage: ...
        def url(self, wanted: UrlReference) -> PinnedUrl: ...


def pin_and_lower(dockerfile: Dockerfile, options: LowerOptions, pinner: "Pinner", book: StepBook) -> tuple[Lowered, dict[ImageReference, PinnedImage]]:
    """The graph of a Dockerfile and the images that it stands on. Raises DockerfileError, RegistryError, RequestError."""
    images: dict[ImageReference, PinnedImage] = {}
    urls: dict[UrlReference, PinnedUrl] = {}
    while True:
        known = {wanted: FrontendImage(str(image.reference), image.manifest_digest, image.config) for wanted, image in images.items()}
        lowered = lowering.lower(dockerfile, options, Pins(known, urls))
        if isinstance(lowered, Lowered):
            return lowered, images
        if not set(lowered.images) - set(images) and not set(lowered.urls) - set(urls):
            raise RequestError("the base images' ONBUILD triggers never end", code="dockerfile.onbuild-loop")
        for image, place in zip(lowered.images, lowered.places, strict=True):
            if image not in images:
                images[image] = _pin_image(image, place, pinner, book)
        for url in lowered.urls:
            if url not in urls:
                urls[url] = _pin_url(url, pinner, book)


def _pin_image(image: ImageReference, place: ImagePlace, pinner: "Pinner", book: StepBook) -> PinnedImage:
    """One look-up, shown as a step; a failure says which instruction named the image."""
    try:
        return book.during(f"[internal] load metadata for {_shown(image)}", lambda _: pinner.image(image))
    except RegistryError as failure:
        failure.where, failure.excerpt = place.where, place.excerpt
        failure.hint = place.hint or failure.hint
        raise


def _pin_url(url: UrlReference, pinner: "Pinner", book: StepBook) -> PinnedUrl:
    return book.during(f"[internal] load {url.url}", lambda _: pinner.url(url))


def _shown(image: ImageReference) -> str:
    return str(reference.parse(image.text)) if image.origin == "registry" else f"oci-layout://{image.text}"

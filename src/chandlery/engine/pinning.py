"""Pinning: every mutable name that the Dockerfile uses becomes a digest, once per build, until lowering asks for nothing more (ONBUILD may add names)."""

from chandlery.engine.steps import Step, StepBook
from chandlery.errors import RegistryError, RequestError
from chandlery.frontend.dockerfile import lower as lowering
from chandlery.frontend.dockerfile.instructions import Dockerfile
from chandlery.frontend.dockerfile.lowered import ImagePlace, ImageReference, Lowered, LowerOptions, NamedContext, PinnedUrl, Pins, UrlReference
from chandlery.frontend.dockerfile.lowered import PinnedImage as FrontendImage
from chandlery.oci import reference
from chandlery.source.image import PinnedImage
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Pinner(Protocol):
        """Where names are looked up: see wiring."""

        def image(self, wanted: ImageReference) -> PinnedImage: ...
        def url(self, wanted: UrlReference) -> PinnedUrl: ...


def pin_and_lower(dockerfile: Dockerfile, options: LowerOptions, pinner: "Pinner", book: StepBook) -> tuple[Lowered, dict[ImageReference, PinnedImage]]:
    """The graph of a Dockerfile and the images that it stands on. Raises DockerfileError, RegistryError, RequestError.

    Where the image of an optional context can't be had, lowering starts again without that context.
    """
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
                pinned = _pin_image(image, place, pinner, book, is_optional=_is_optional(image, options))
                if pinned is None:
                    options = _without(image, options)
                else:
                    images[image] = pinned
        for url in lowered.urls:
            if url not in urls:
                urls[url] = _pin_url(url, pinner, book)


def _is_optional(image: ImageReference, options: LowerOptions) -> bool:
    return image.origin == "registry" and any(context.is_optional and _names(context, image) for _, context in options.contexts)


def _without(image: ImageReference, options: LowerOptions) -> LowerOptions:
    kept = tuple([(name, context) for name, context in options.contexts if not (context.is_optional and _names(context, image))])
    return replace(options, contexts=kept)


def _names(context: NamedContext, image: ImageReference) -> bool:
    return context.kind == "image" and str(reference.parse(context.text)) == image.text


def _pin_image(image: ImageReference, place: ImagePlace, pinner: "Pinner", book: StepBook, *, is_optional: bool) -> PinnedImage | None:
    """One look-up, shown as a step; a failure says which instruction named the image. None for an optional one that can't be had."""

    def look_up(step: Step) -> PinnedImage | None:
        try:
            return pinner.image(image)
        except RegistryError as failure:
            if not is_optional:
                raise
            step.warn("context.optional", f"the build goes on without {_shown(image)}: {failure.message}")
            return None

    try:
        return book.during(f"[internal] load metadata for {_shown(image)}", look_up)
    except RegistryError as failure:
        failure.where, failure.excerpt = place.where, place.excerpt
        failure.hint = place.hint or failure.hint
        raise


def _pin_url(url: UrlReference, pinner: "Pinner", book: StepBook) -> PinnedUrl:
    return book.during(f"[internal] load {url.url}", lambda _: pinner.url(url))


def _shown(image: ImageReference) -> str:
    return str(reference.parse(image.text)) if image.origin == "registry" else f"oci-layout://{image.text}"

"""Layers and instructions to an image configuration and a manifest: pure.

The times are the layers' own, so an image that comes from cache alone has the digest that it had; an instruction that made no layer takes the time of what is
below it.
"""

from chandlery.errors import InternalError
from chandlery.oci import image_config
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.image_config import HistoryEntry, ImageConfig
from chandlery.oci.manifest import Manifest, build_manifest
from chandlery.oci.media_type import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST
from chandlery.snapshot.state import LayerRef
from chandlery.values import replace, value

INLINE_CACHE = "moby.buildkit.cache.v0"
EPOCH = "1970-01-01T00:00:00Z"


@value
class ImageRecipe:
    """What the image is to say. `config` is the target's, without layers and history; `base` the base image's or None; `history` the new entries, in order,
    times empty; `epoch` (RFC 3339) replaces every time that is later, "" for none; `inline_cache` is what the image carries of its own steps."""

    config: ImageConfig
    base: ImageConfig | None
    history: tuple[HistoryEntry, ...]
    epoch: str = ""
    inline_cache: str = ""


def assemble(recipe: ImageRecipe, layers: tuple[LayerRef, ...], diff_ids: tuple[Digest, ...]) -> ImageConfig:
    """The image's configuration over all its layers, base's included, bottom first."""
    base_count = len(recipe.base.diff_ids) if recipe.base is not None else 0
    made = layers[base_count:]
    if len(made) != sum(1 for entry in recipe.history if not entry.is_empty_layer):
        raise InternalError(f"{len(made)} layers for {len(recipe.history)} instructions")
    history = _timed(recipe, made)
    before = recipe.base.history if recipe.base is not None else ()
    created = history[-1].created if history else (recipe.base.created if recipe.base is not None else "") or EPOCH
    # what a base image says of its own steps isn't true of this one
    extra = {name: item for name, item in recipe.config.extra.items() if name != INLINE_CACHE}
    if recipe.inline_cache:
        extra[INLINE_CACHE] = recipe.inline_cache
    return replace(recipe.config, created=created, diff_ids=diff_ids, history=(*before, *history), extra=extra)


def _timed(recipe: ImageRecipe, made: tuple[LayerRef, ...]) -> tuple[HistoryEntry, ...]:
    base = recipe.base
    start = ((base.history[-1].created if base.history else "") or base.created) if base is not None else ""
    now = start or next((layer.created for layer in made if layer.created), EPOCH)
    entries, waiting = [], iter(made)
    for entry in recipe.history:
        created_by = entry.created_by
        if not entry.is_empty_layer:
            layer = next(waiting)
            now, created_by = layer.created or now, created_by or layer.created_by
        stated = recipe.epoch if recipe.epoch and (now > recipe.epoch or not entry.is_empty_layer) else now
        entries.append(replace(entry, created=stated, created_by=created_by))
    return tuple(entries)


@value
class Image:
    """A whole image, its documents encoded. `manifest` names blobs; `config_blob` is one of them."""

    config_blob: bytes
    manifest: Manifest

    @property
    def config_digest(self) -> Digest:
        return self.manifest.config.digest


def with_manifest(config: ImageConfig, layers: tuple[Descriptor, ...], *, is_docker: bool, config_blob: bytes = b"") -> Image:
    """The manifest over a configuration and the layers' descriptors, whose media types already are of the right family; `config_blob` are the
    configuration's own bytes where it already has some."""
    blob = config_blob or image_config.encode(config)
    described = Descriptor(DOCKER_CONFIG if is_docker else OCI_CONFIG, sha256(blob), len(blob))
    manifest = build_manifest(config=described, layers=layers, media_type=DOCKER_MANIFEST if is_docker else OCI_MANIFEST)
    return Image(blob, manifest)

"""What lowering takes and gives: options and pins in, the graph and the image's configuration out, or what must be pinned first."""

from chandlery.graph.op import Network
from chandlery.graph.vertex import Graph
from chandlery.oci.digest import Digest
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.platform import Platform
from chandlery.values import value


@value
class NamedContext:
    """What --build-context NAME= means: `kind` "local" (a directory that the engine knows by the name), "image" (`text` is a
    reference, or "scratch") or "oci-layout" (`text` is PATH[:tag][@digest]). An optional image that can't be had is as if it weren't given."""

    kind: str
    text: str = ""
    is_optional: bool = False


@value
class LowerOptions:
    """The request, as far as the Dockerfile's meaning depends on it.

    `build_args` holds all of --build-arg, the proxy variables and BUILDKIT_* and SOURCE_DATE_EPOCH alike. `no_cache` is True for every
    stage, or the names of stages (--no-cache-filter). `contexts` are (name, context); they override stages and images of that name.
    """

    platform: Platform
    build_platform: Platform
    target: str = ""
    build_args: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    network: Network = Network.DEFAULT
    no_cache: "bool | tuple[str, ...]" = False
    hosts: tuple[tuple[str, str], ...] = ()
    contexts: tuple[tuple[str, NamedContext], ...] = ()


@value
class ImageReference:
    """An image to pin. `origin` "registry": `text` is a full reference (docker.io/library/debian:12); "oci-layout": PATH[:tag][@digest]."""

    text: str
    platform: Platform
    origin: str = "registry"


@value
class UrlReference:
    """An ADD source to pin; `checksum` is what its author promised, or ""."""

    url: str
    checksum: str = ""


@value
class PinnedImage:
    reference: str
    manifest_digest: Digest
    config: ImageConfig


@value
class PinnedUrl:
    """`mtime_s` from Last-Modified, 0 unknown."""

    digest: Digest
    mtime_s: int = 0


@value
class Pins:
    """Both mappings must be treated as immutable."""

    images: "dict[ImageReference, PinnedImage]" = {}
    urls: "dict[UrlReference, PinnedUrl]" = {}


@value
class ImagePlace:
    """Where a Dockerfile names an image, for the message that says it can't be had; `hint` is a stage whose name is near, or ""."""

    where: str
    excerpt: str
    hint: str = ""


@value
class NeedsPins:
    """Pin these too, then lower again. `places` are those of `images`, in step."""

    images: tuple[ImageReference, ...] = ()
    urls: tuple[UrlReference, ...] = ()
    places: tuple[ImagePlace, ...] = ()


@value
class HistoryTemplate:
    """An entry of the image's history but for its time; `vertex` made its layer, None where `is_empty_layer`."""

    created_by: str
    comment: str = "buildkit.dockerfile.v0"
    is_empty_layer: bool = False
    vertex: int | None = None


@value
class ContextUse:
    """The paths of a local context that the build may read: "/"-rooted patterns, sorted; ("/",) is all of it."""

    name: str
    patterns: tuple[str, ...]


@value
class Lowered:
    """`graph` holds only what the target needs, the target last. `config` has no diff ids and no history: the engine puts those of `base`
    (None for scratch) and what `history` and the layers add. `unused_build_args` are names that no ARG of the build declared.

    `source_date_epoch` is the text of SOURCE_DATE_EPOCH, from the request or a global ARG, "" without one.
    """

    graph: Graph
    target: int
    config: ImageConfig
    history: tuple[HistoryTemplate, ...]
    base: PinnedImage | None
    contexts: tuple[ContextUse, ...]
    unused_build_args: tuple[str, ...] = ()
    source_date_epoch: str = ""

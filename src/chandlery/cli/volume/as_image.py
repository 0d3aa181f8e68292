"""`chandlery volume push VOLUME --as-image REF`: what one or several scopes' volumes hold as an image, for `COPY --from` or as a base image."""

import sys

from chandlery.cli.amounts import size_text
from chandlery.cli.open_shelf import open_shelf
from chandlery.cli.output_flag import COMPRESSIONS
from chandlery.errors import RequestError, StoreError
from chandlery.events import discard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.engine.shelf import ImageShelf
    from chandlery.exporter.assemble import Image
    from chandlery.volume.key import VolumeKey


def add_image_arguments(parser: "Parser") -> None:
    parser.one("--as-image", help="push what the volume holds as an image", metavar="REF")
    parser.many("--scope", help="whose volume; several: what they hold together, the first one's where they differ", metavar="SCOPE")
    parser.many("--cache-remote", help="where the volume is shared; for an image: what its scopes are brought up to date from first", metavar="ADDRESS")
    parser.one("--path", help="where the files are in the image (default: the volume's name)", metavar="DIR")
    parser.one("--base", help="an image to put them on, which the result then is with them", metavar="REF")
    parser.flag("--load", help="name the image in the store instead of pushing it")
    parser.one("--compression", help="of the layers: gzip, zstd or uncompressed", default="gzip")


def push_image(arguments: "Arguments", settings: "Settings") -> int:
    """Make the image, and push it or name it here."""
    from chandlery.exporter.image_store import ImageNames
    from chandlery.oci import image_config, reference
    from chandlery.registry.push import push

    if arguments.compression not in COMPRESSIONS:
        hint = f"use one of {', '.join(COMPRESSIONS)}"
        raise RequestError(f"--compression {arguments.compression!r} is unknown", code="request.bad-compression", hint=hint)
    name = reference.parse(arguments.as_image)
    if name.digest is not None:
        raise RequestError(f"{arguments.as_image} has a digest: an image's digest follows from what it is", code="reference.malformed", hint="leave it away")
    with open_shelf(arguments, settings) as shelf:
        store, session = shelf.tools.store, shelf.tools.session
        if arguments.cache_remote:
            _fetch(shelf, arguments, settings)
        image = _make(shelf, arguments)
        blobs = (image.manifest.config, *image.manifest.layers)
        if arguments.load:
            store.blobs.put(image.manifest.raw, session=session)
            diff_ids = image_config.decode(image.config_blob).diff_ids
            ImageNames(store, session).put((str(name),), image.config_blob, diff_ids, manifest_digest=image.manifest.digest)
            moved = "kept here"
        else:
            receipt = push(shelf.tools.client(), name, blobs=blobs, open_blob=lambda blob: store.blobs.open(blob.digest), manifest=image.manifest)
            moved = f"Moved: {size_text(receipt.bytes_moved)} ({receipt.blobs_sent} blobs sent, {receipt.blobs_mounted} mounted, {receipt.blobs_skipped} there)"
    print(f"{name.familiar}\nDigest: {image.manifest.digest}\nSize: {size_text(sum(blob.size_bytes for blob in blobs))} in {len(blobs) - 1} layers\n{moved}")
    return 0


def _fetch(shelf: "ImageShelf", arguments: "Arguments", settings: "Settings") -> None:
    """Let each scope's volume have what other machines published. What can't be fetched is told of."""
    from chandlery.cli.settings import apply
    from chandlery.engine.request import BuildRequest
    from chandlery.oci import platform
    from chandlery.volume.key import VolumeKey
    from chandlery.wiring import tools

    if not arguments.scope:
        raise RequestError("which scopes' volumes should be fetched?", code="request.usage", hint="name them with --scope")
    wanted = arguments.platform or str(platform.native())
    for scope in arguments.scope:
        request = BuildRequest(cache_remotes=tuple(arguments.cache_remote), cache_scope=scope)
        made = tools(apply(arguments, settings), shelf.tools.store, shelf.tools.session, discard, request)
        volumes = made.volumes(lambda _code, text, _cause: print(f"WARNING: {text}", file=sys.stderr), tuple)
        volumes.fetch(VolumeKey(scope, arguments.volume, wanted))
        volumes.close(None)


def _make(shelf: "ImageShelf", arguments: "Arguments") -> "Image":
    from chandlery.exporter import volume_image
    from chandlery.layer.compression import Compression
    from chandlery.oci import platform
    from chandlery.volume.union import Union

    store, session = shelf.tools.store, shelf.tools.session
    wanted = platform.parse(arguments.platform) if arguments.platform else platform.native()
    keys = _keys(shelf, arguments, str(wanted))
    path = arguments.path or keys[0].name
    if not path.startswith("/") or ".." in path.split("/") or not path.strip("/"):
        raise RequestError(f"{path!r} is no place in an image", code="request.bad-path", hint="say where the files go: --path /root/.m2")
    base = _packed(shelf, arguments.base) if arguments.base else None
    form = Compression.NONE if arguments.compression == "uncompressed" else Compression(arguments.compression)
    with Union(store, session) as union:
        for key in keys:
            union.add(key)
        return volume_image.make(store, session, union.files(), path=path, platform=wanted, base=base, compression=form)


def _keys(shelf: "ImageShelf", arguments: "Arguments", platform: str) -> "list[VolumeKey]":
    """The volumes that are meant; a scope that has none is told of, unless none has."""
    from chandlery.volume import naming
    from chandlery.volume.volumes import Volumes

    rows = Volumes(shelf.tools.store).rows()
    if not arguments.scope:
        return [naming.find(rows, arguments.volume, platform=platform)]
    found, missing = [], []
    for scope in dict.fromkeys(arguments.scope):
        try:
            found.append(naming.find(rows, arguments.volume, scope=scope, platform=platform))
        except (RequestError, StoreError) as failure:
            if failure.code != "volume.unknown":
                raise
            missing.append((scope, failure))
    if not found:
        raise missing[0][1]
    for scope, _ in missing:
        print(f"chandlery: scope {scope} has no cache volume {arguments.volume} here; the image is made without it", file=sys.stderr)
    return found


def _packed(shelf: "ImageShelf", text: str) -> "Image":
    """The base with blobs for all its layers, pulled unless it is here."""
    from chandlery.errors import NotFound

    try:
        stored = shelf.find(text)
    except NotFound:
        shelf.pull(text, on_progress=lambda _: None)
        stored = shelf.find(text)
    return shelf.packed(stored)

"""Images out of archives and layout directories that other tools wrote: `docker save`, `skopeo copy oci-archive:`, `buildah push docker-archive:`, ours.

An archive is unpacked beneath a scratch directory first, as any tar is: strictly. An OCI layout in it is preferred to Docker's manifest.json, because it has
digests to verify against; layers of the older form have only their diff ids, which are checked when they are extracted.
"""

import json
import os

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.errors import LyingRegistry, RequestError
from chandlery.layer.compression import decompressed, detect
from chandlery.layer.extract import Whiteouts
from chandlery.layer.unpack import unpack
from chandlery.oci import image_config, platform
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.manifest import Manifest
from chandlery.oci.media_type import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from chandlery.source.oci_layout import Layout, names_of, note_blob, open_file, take_in
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

_PIECE_BYTES = 1 << 20
_MEDIA_TYPES = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}
_MAX_DOCUMENT_BYTES = 16 << 20


@value
class LoadedImage:
    """`manifest` is None for the older form of archive, which has none; its layers are blobs of the store all the same."""

    names: tuple[str, ...]
    config_blob: bytes
    manifest: Manifest | None


def read_archive(path: str, store: Store, session: Session) -> list[LoadedImage]:
    """The images in a file or directory, their blobs taken into the store. Raises RequestError (layout.*, archive.*), LyingRegistry."""
    root = path if os.path.isdir(path) else _unpacked(path, session)
    if os.path.isfile(os.path.join(root, "index.json")):
        return _from_layout(Layout(root), _docker_names(root), store, session)
    if os.path.isfile(os.path.join(root, "manifest.json")):
        return [_from_docker(root, entry, store, session) for entry in _document(root, "manifest.json")]
    raise RequestError(f"{path} holds no image", code="archive.unknown", hint="it must be what docker save or an OCI layout's tar is")


def _unpacked(path: str, session: Session) -> str:
    root = session.scratch("l")
    try:
        with open(path, "rb", buffering=0) as file:
            pieces = iter(lambda: file.read(_PIECE_BYTES), b"")
            first = next(pieces, b"")
            unpack(decompressed(_again(first, pieces), detect(first)), root, whiteouts=Whiteouts.LITERAL)
    except OSError as error:
        raise RequestError(f"{path} can't be read: {error.strerror}", code="archive.unreadable", hint="give the path of an archive") from error
    except LyingRegistry as broken:
        raise RequestError(f"{path} is not a whole archive: {broken.message}", code="archive.damaged", hint="write it again") from broken
    return root


def _again(first: bytes, rest: "Iterator[bytes]") -> "Iterator[bytes]":
    yield first
    yield from rest


def _from_layout(layout: Layout, docker_names: "dict[str, tuple[str, ...]]", store: Store, session: Session) -> list[LoadedImage]:
    found: dict[Digest, LoadedImage] = {}
    for entry in layout.index().manifests:
        manifest = layout.select(str(entry.digest), platform.native())
        take_in(layout, manifest, store, session)
        before = found[manifest.digest].names if manifest.digest in found else ()
        names = docker_names.get(manifest.config.digest.hex, ()) or names_of(entry)
        merged = tuple(dict.fromkeys((*before, *names)))
        found[manifest.digest] = LoadedImage(merged, store.blobs.read(manifest.config.digest), manifest)
    return list(found.values())


def _docker_names(root: str) -> "dict[str, tuple[str, ...]]":
    """Names by the hex of the config's digest, from a manifest.json beside the layout."""
    if not os.path.isfile(os.path.join(root, "manifest.json")):
        return {}
    return {os.path.basename(entry["Config"]).removesuffix(".json"): tuple(entry.get("RepoTags") or ()) for entry in _document(root, "manifest.json")}


def _from_docker(root: str, entry: "dict[str, Any]", store: Store, session: Session) -> LoadedImage:
    config_name, layer_names = str(entry["Config"]), [str(item) for item in entry.get("Layers") or ()]
    with _open(root, config_name) as file:
        blob = file.read(_MAX_DOCUMENT_BYTES)
    config = image_config.decode(blob)
    if len(config.diff_ids) != len(layer_names):
        raise LyingRegistry(f"{config_name} has {len(config.diff_ids)} diff ids for {len(layer_names)} layers", code="registry.bad-config")
    store.blobs.put(blob, session=session)
    for diff_id, name in zip(config.diff_ids, layer_names, strict=True):
        _take_layer(root, name, diff_id, store, session)
    return LoadedImage(tuple(entry.get("RepoTags") or ()), blob, None)


def _take_layer(root: str, name: str, diff_id: Digest, store: Store, session: Session) -> None:
    """Keep a layer's file as a blob, under the digest that it turns out to have."""
    with _open(root, name) as file, store.blobs.ingest(session) as ingest:
        first = file.read(_PIECE_BYTES)
        compression = detect(first)
        if str(compression) not in _MEDIA_TYPES:
            raise RequestError(f"{name} in the archive is {compression}, which no layer is", code="archive.damaged", hint="write the archive again")
        piece = first
        while piece:
            ingest.write(piece)
            piece = file.read(_PIECE_BYTES)
        digest = ingest.commit()
        blob = Descriptor(_MEDIA_TYPES[compression], digest, ingest.size_bytes)
    note_blob(store, diff_id, blob)


def _document(root: str, name: str) -> "list[dict[str, Any]]":
    with _open(root, name) as file:
        try:
            found = json.loads(file.read(_MAX_DOCUMENT_BYTES))
        except (ValueError, RecursionError) as broken:
            raise RequestError(f"{name} in the archive is not JSON", code="archive.damaged", hint="write the archive again") from broken
    if not isinstance(found, list) or not all(_is_entry(entry) for entry in found):
        raise RequestError(f"{name} in the archive is not what docker save writes", code="archive.damaged", hint="write the archive again")
    return found


def _is_entry(entry: object) -> bool:
    """Whether it is {"Config": text, "RepoTags": texts or null, "Layers": texts or null}."""
    if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
        return False
    lists = [entry.get(key) or [] for key in ("RepoTags", "Layers")]
    return all(isinstance(items, list) and all(isinstance(item, str) for item in items) for items in lists)


def _open(root: str, name: str) -> "IO[bytes]":
    """A file of the archive; links in it are not followed out of it."""
    try:
        return open_file(root, name)
    except (OSError, ValueError) as error:
        raise RequestError(f"the archive has no readable {name!r}", code="archive.incomplete", hint="write the archive again") from error

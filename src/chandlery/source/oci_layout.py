"""OCI image layouts on disk: `--build-context NAME=oci-layout://PATH[:tag][@digest]`, and what `chandlery load` reads.

A layout is somebody's directory, so nothing in it is believed: every blob is verified while it is copied into the content store, names are opened beneath the
layout's root, and documents are bounded. OCI image spec, image-layout.md.
"""

import errno
import os
import stat

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.errors import Lost, LyingRegistry, RequestError
from chandlery.linux.paths import open_beneath
from chandlery.oci import image_config
from chandlery.oci import manifest as manifests
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.manifest import Index, Manifest
from chandlery.oci.platform import Platform
from chandlery.oci.reference import Reference
from chandlery.source.image import PinnedImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_PIECE_BYTES = 1 << 20
_MAX_DEPTH = 4


class Layout:
    """The layout in the directory `root`."""

    def __init__(self, root: str) -> None:
        self.root = root
        if not os.path.isfile(os.path.join(root, "index.json")):
            raise RequestError(f"{root} is not an OCI layout: it has no index.json", code="layout.missing", hint="give a directory that skopeo or buildx wrote")

    def index(self) -> Index:
        """The layout's own index. Raises LyingRegistry (registry.bad-manifest)."""
        with self._open("index.json") as file:
            found = manifests.decode(file.read(manifests.MAX_BYTES + 1))
        if not isinstance(found, Index):
            raise LyingRegistry(f"{self.root}/index.json is not an index", code="registry.bad-manifest")
        return found

    def select(self, wanted: str, platform: Platform) -> Manifest:
        """The manifest for a platform that `wanted` names: a digest, a tag, or "" for the only image there is."""
        named = [entry for entry in self.index().manifests if _is_meant(entry, wanted)]
        if not named:
            known = ", ".join(sorted({dict(entry.annotations).get(_REF_NAME, str(entry.digest)) for entry in self.index().manifests})) or "nothing"
            raise RequestError(f"{self.root} has no image {wanted or 'at all'}", code="layout.unknown-image", hint=f"it has {known}")
        if not wanted and len({entry.digest for entry in named}) > 1:
            raise RequestError(f"{self.root} has several images", code="layout.ambiguous", hint="name one with oci-layout://PATH:TAG or PATH@DIGEST")
        return self._resolve(named[0], platform)

    def blob(self, digest: Digest) -> "IO[bytes]":
        return self._open(f"blobs/{digest.algorithm}/{digest.hex}")

    def read(self, descriptor: Descriptor) -> bytes:
        """A document, verified. Raises LyingRegistry (registry.wrong-digest)."""
        with self.blob(descriptor.digest) as file:
            data = file.read(manifests.MAX_BYTES + 1)
        if sha256(data) != descriptor.digest:
            raise LyingRegistry(f"{self.root}: blob {descriptor.digest} has other content than its name says", code="registry.wrong-digest")
        return data

    def _resolve(self, entry: Descriptor, platform: Platform, depth: int = 0) -> Manifest:
        found = manifests.decode(self.read(entry), entry.media_type)
        if isinstance(found, Manifest):
            return found
        chosen = manifests.select(found, platform)
        if chosen is None or depth > _MAX_DEPTH:
            raise RequestError(f"{self.root} has no image for {platform}", code="layout.unknown-platform", hint="build for a platform that it has")
        return self._resolve(chosen, platform, depth + 1)

    def _open(self, path: str) -> "IO[bytes]":
        try:
            return open_file(self.root, path)
        except OSError as error:
            raise RequestError(f"{self.root}: {path} can't be read: {error.strerror}", code="layout.incomplete", hint="write the layout again") from error


def open_file(root: str, path: str) -> "IO[bytes]":
    """A regular file beneath `root`. A pipe would be waited for without end, and a device has no business in an image. Raises OSError."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(root_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return open(fd, "rb")


def take_in(layout: Layout, manifest: Manifest, store: Store, session: Session) -> image_config.ImageConfig:
    """Copy an image's blobs into the content store, verified, and note what each layer's blob is a form of; the image's configuration."""
    config_blob = layout.read(manifest.config)
    config = image_config.decode(config_blob)
    if len(config.diff_ids) != len(manifest.layers):
        raise LyingRegistry(f"{layout.root}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diff ids", code="registry.bad-config")
    store.blobs.put(config_blob, session=session)
    store.blobs.put(manifest.raw, session=session)
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        _take_blob(layout, layer, store, session)
        note_blob(store, diff_id, layer)
    return config


def _take_blob(layout: Layout, layer: Descriptor, store: Store, session: Session) -> None:
    try:
        store.blobs.lease(session, layer.digest)
    except Lost:
        with layout.blob(layer.digest) as file, store.blobs.ingest(session, layer.digest.algorithm) as ingest:
            while piece := file.read(_PIECE_BYTES):
                ingest.write(piece)
            ingest.commit(layer.digest, layer.size_bytes)


def note_blob(store: Store, diff_id: Digest, blob: Descriptor) -> None:
    """Remember that a blob is a form of a layer, or a prune would take it for nobody's."""
    kinds = ((types.GZIP_LAYERS, "gzip"), (types.ZSTD_LAYERS, "zstd"), (types.PLAIN_LAYERS, "none"))
    compression = next((name for media_types, name in kinds if blob.media_type in media_types), "")
    if not compression:
        raise LyingRegistry(f"a layer of type {blob.media_type} is not supported", code="registry.bad-manifest", hint="only layers of images can be loaded")
    with store.db.transaction() as tx:
        tx.execute(
            "INSERT OR REPLACE INTO layer_blob (diff_id, compression, media_type, digest, size_bytes, encoder, last_used_at) VALUES (?,?,?,?,?,'',unixepoch())",
            (str(diff_id), compression, blob.media_type, str(blob.digest), blob.size_bytes),
        )


def pin_layout(text: str, platform: Platform, store: Store, session: Session) -> PinnedImage:
    """The image that PATH[:tag][@digest] names, its blobs in the store. Raises RequestError (layout.*), LyingRegistry."""
    path, _, digest = text.partition("@")
    tag = ""
    if not os.path.isdir(path) and ":" in os.path.basename(path):
        path, _, tag = path.rpartition(":")
    layout = Layout(os.path.realpath(path))
    manifest = layout.select(str(Digest(digest)) if digest else tag, platform)
    config = take_in(layout, manifest, store, session)
    name = Reference("oci-layout.local", "image", digest=manifest.digest)
    return PinnedImage(name, manifest.digest, config, manifest.config.digest, manifest.layers, is_local=True)


def names_of(entry: Descriptor) -> tuple[str, ...]:
    """The image names that an index entry carries: containerd's full one, or a reference that the plain annotation happens to be."""
    notes = dict(entry.annotations)
    full = notes.get(_FULL_NAME, "")
    short = notes.get(_REF_NAME, "")
    return (full,) if full else (short,) if "/" in short or ":" in short else ()


def _is_meant(entry: Descriptor, wanted: str) -> bool:
    notes = dict(entry.annotations)
    return not wanted or wanted in (str(entry.digest), notes.get(_REF_NAME), notes.get(_FULL_NAME))

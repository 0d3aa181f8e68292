"""`ImageShelf`: the images of the store by name, and what people do with them: list, tag, remove, pull, push, save, load."""

import json
import time

from chandlery.engine.tools import Tools
from chandlery.errors import InputError, NotFound, RequestError
from chandlery.exporter.assemble import Image, with_manifest
from chandlery.exporter.image_store import ImageNames
from chandlery.oci import image_config, platform, reference
from chandlery.oci import manifest as manifests
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.manifest import Manifest
from chandlery.oci.reference import Reference
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.source.image import PinnedImage, PullReceipt
from chandlery.source.layer_forms import BlobForm, LayerForms, layer_media_type
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from chandlery.registry.push import PushReceipt
    from chandlery.source.layer_fetch import LayerProgress
    from chandlery.source.layer_forms import Send

_SHORTEST_ID = 4


@value
class StoredImage:
    """A row of the image table. `name` is a full reference, or the config digest for an image without one. Sizes in bytes, times in seconds."""

    name: str
    config_digest: Digest
    manifest_digest: Digest | None
    diff_ids: tuple[Digest, ...]
    created_at_s: float
    last_used_at_s: float
    size_bytes: int = 0

    @property
    def familiar(self) -> str:
        return "<none>" if self.name.startswith("sha256:") else reference.parse(self.name).familiar


class ImageShelf:
    """For one session of one store."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._store = tools.store

    def all(self) -> list[StoredImage]:
        """Every name, newest first."""
        rows = self._store.db.read("SELECT name, config_digest, manifest_digest, layers, created_at, last_used_at FROM image ORDER BY created_at DESC, name")
        sizes: dict[str, int] = dict(self._store.db.read("SELECT diff_id, max(size_bytes) FROM snapshot WHERE diff_id IS NOT NULL GROUP BY diff_id"))
        found = []
        for name, config, manifest, layers, created, used in rows:
            diff_ids = tuple(Digest(item) for item in json.loads(layers))
            size = sum(sizes.get(diff_id, 0) for diff_id in diff_ids)
            found.append(StoredImage(name, Digest(config), Digest(manifest) if manifest else None, diff_ids, created, used, size))
        return found

    def find(self, text: str) -> StoredImage:
        """The image that a name, an id or the beginning of an id means. Raises NotFound (image.unknown), RequestError (image.ambiguous)."""
        images = self.all()
        try:
            full = str(reference.parse(text))
        except InputError:
            full = ""
        named = [image for image in images if image.name == full]
        if named:
            return named[0]
        digest = text.removeprefix("sha256:").lower()
        by_id = {image.config_digest: image for image in images if len(digest) >= _SHORTEST_ID and image.config_digest.hex.startswith(digest)}
        if len(by_id) > 1:
            raise RequestError(f"{text} is the beginning of {len(by_id)} image ids", code="image.ambiguous", hint="give more of the id, or a name")
        if not by_id:
            raise NotFound(f"there is no image {text} in the store", code="image.unknown", hint="'chandlery images' lists them; 'chandlery pull' fetches one")
        return next(iter(by_id.values()))

    def config(self, image: StoredImage) -> ImageConfig:
        return image_config.decode(self._store.blobs.read(image.config_digest))

    def manifest(self, image: StoredImage) -> Manifest | None:
        """The manifest that the image was pulled or pushed with, if it was."""
        if image.manifest_digest is None or not self._store.blobs.has(image.manifest_digest):
            return None
        found = manifests.decode(self._store.blobs.read(image.manifest_digest))
        return found if isinstance(found, Manifest) else None

    def tag(self, source: str, target: str) -> str:
        """One more name for an image; the full name. A target that named another image names this one from now on."""
        image = self.find(source)
        name = reference.parse(target)
        if name.digest is not None:
            raise RequestError(f"{target} has a digest: a name is a repository and a tag", code="reference.malformed", hint="leave the digest away")
        self._put((str(name),), image)
        return str(name)

    def remove(self, text: str) -> StoredImage:
        """Take a name away; the layers that nothing else keeps go with the next prune. By id: all its names."""
        image = self.find(text)
        is_name = not image.config_digest.hex.startswith(text.removeprefix("sha256:").lower())
        where, key = ("name", image.name) if is_name else ("config_digest", str(image.config_digest))
        with self._store.db.transaction() as tx:
            tx.execute(f"DELETE FROM image WHERE {where} = ?", (key,))
        return image

    def pull(self, text: str, *, on_progress: "Callable[[LayerProgress], None]") -> PullReceipt:
        """Fetch an image and name it. What is here is not moved. Raises RegistryError."""
        return self.tools.images.pull(reference.parse(text), platform.native(), self.tools.session, on_progress=on_progress)

    def push(self, text: str, *, compression: str = "gzip", on_progress: "Callable[[int, int], None]") -> "tuple[Reference, PushReceipt]":
        """Send an image to the registry that its name says. One that was pulled or pushed before keeps its digest. Raises RegistryError."""
        import threading

        from chandlery.registry.push import push
        from chandlery.registry.streamed import StreamedBlob

        stored = self.find(text)
        if stored.name.startswith("sha256:"):
            raise RequestError(f"{text} has no name to be pushed under", code="request.no-name", hint="give it one with 'chandlery tag'")
        name = reference.parse(stored.name)
        streams: list[StreamedBlob] = []
        counting = threading.Lock()
        sent_bytes = 0

        def on_bytes(count: int) -> None:
            nonlocal sent_bytes
            with counting:
                sent_bytes += count
            on_progress(sent_bytes, 0)

        def send() -> StreamedBlob:
            streams.append(StreamedBlob(self.tools.client(), name, on_bytes=on_bytes))
            return streams[-1]

        image = self.packed(stored, compression=compression, send=send)
        self._store.blobs.put(image.manifest.raw, session=self.tools.session)
        receipt = push(
            self.tools.client(),
            name,
            blobs=(image.manifest.config, *image.manifest.layers),
            open_blob=lambda blob: self._store.blobs.open(blob.digest),
            manifest=image.manifest,
            streams=tuple(streams),
            on_progress=lambda progress: on_progress(progress.done_bytes, progress.total_bytes),
        )
        names = ImageNames(self._store, self.tools.session)
        names.put((stored.name,), image.config_blob, stored.diff_ids, manifest_digest=image.manifest.digest)
        return name, replace(
            receipt,
            bytes_moved=receipt.bytes_moved + sent_bytes,
            blobs_sent=receipt.blobs_sent + sum(stream.finish() for stream in streams),
        )

    def packed(self, stored: StoredImage, *, compression: str = "gzip", send: "Send | None" = None) -> Image:
        """The image with a blob for every layer, as it was pulled or pushed if it was; what has to be packed goes to `send`'s uploads meanwhile."""
        from chandlery.layer.compression import Compression

        blob = self._store.blobs.read(stored.config_digest)
        known = self.manifest(stored)
        if known is not None and all(self._store.blobs.has(layer.digest) for layer in known.layers):
            self._store.blobs.lease(self.tools.session, *(layer.digest for layer in known.layers))
            return Image(blob, known)
        forms = self.forms(stored)
        form = BlobForm(Compression.NONE if compression == "uncompressed" else Compression(compression))
        layers = [forms.blob(LayerRef(diff_id=str(diff_id)), form, send=send)[1] for diff_id in stored.diff_ids]
        described = tuple(Descriptor(layer_media_type(layer.media_type, is_docker=False), layer.digest, layer.size_bytes) for layer in layers)
        return with_manifest(image_config.decode(blob), described, is_docker=False, config_blob=blob)

    def forms(self, stored: StoredImage) -> LayerForms:
        """The forms of an image's layers, taken out of the store's blobs where they aren't directories yet."""
        known = self.manifest(stored)
        name = reference.parse(stored.name) if not stored.name.startswith("sha256:") else Reference("chandlery.local", "image", digest=stored.config_digest)
        pinned = PinnedImage(
            name,
            stored.manifest_digest or stored.config_digest,
            self.config(stored),
            stored.config_digest,
            known.layers if known is not None else (),
            is_local=True,
        )
        found: dict[str, str] = {}

        def fetch(diff_id: str) -> str:
            if not found:
                snapshots = self.tools.images.materialise(pinned, self.tools.session)
                found.update(zip(map(str, pinned.config.diff_ids), snapshots, strict=True))
            return found[diff_id]

        return LayerForms(self._store, self.tools.snapshots, self.tools.session, fetch=fetch)

    def file_system(self, stored: StoredImage) -> FileSystem:
        return FileSystem(tuple(LayerRef(diff_id=str(diff_id)) for diff_id in stored.diff_ids))

    def save(self, names: list[str], out: "IO[bytes]", *, is_oci: bool) -> None:
        """Write images as one archive: Docker's form, which is an OCI layout too, or a plain OCI layout."""
        from chandlery.exporter import archive

        chosen = [self.find(name) for name in names]
        images = [(self.packed(stored), (stored.name,) if not stored.name.startswith("sha256:") else ()) for stored in chosen]
        archive.write(out, images, lambda blob: self._store.blobs.open(blob.digest), is_oci=is_oci)  # type: ignore[arg-type,return-value]

    def load(self, path: str) -> list[str]:
        """Read the images of an archive (docker save, OCI layout, ours) or of an OCI layout directory; their names, or ids."""
        from chandlery.source.archive import read_archive

        loaded = []
        for image in read_archive(path, self._store, self.tools.session):
            names = tuple(str(reference.parse(name)) for name in image.names)
            manifest_digest = image.manifest.digest if image.manifest is not None else None
            names_store = ImageNames(self._store, self.tools.session)
            digest = names_store.put(names, image.config_blob, image_config.decode(image.config_blob).diff_ids, manifest_digest=manifest_digest)
            loaded += [reference.parse(name).familiar for name in names] or [str(digest)]
        return loaded

    def _put(self, names: tuple[str, ...], image: StoredImage) -> None:
        now = time.time()
        with self._store.db.transaction() as tx:
            for name in names:
                tx.execute(
                    "INSERT OR REPLACE INTO image (name, config_digest, manifest_digest, layers, created_at, last_used_at) VALUES (?,?,?,?,?,?)",
                    (
                        name, str(image.config_digest), str(image.manifest_digest) if image.manifest_digest else None,
                        json.dumps([str(diff_id) for diff_id in image.diff_ids]), image.created_at_s, now,
                    ),
                )  # fmt: skip

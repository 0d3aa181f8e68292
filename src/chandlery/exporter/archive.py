"""Image archives: an OCI layout in a tar, and with it Docker's `docker save` form, streamed; no blob is held in memory.

Archives are written with the same entries in the same order and no times, so that the same image gives the same archive. OCI image spec, image-layout.md.
"""

import io
import json
import tarfile

from chandlery.exporter.assemble import Image
from chandlery.oci import descriptor as descriptors
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.media_type import OCI_INDEX, PLAIN_LAYERS
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    OpenBlob = Callable[[Descriptor], IO[bytes]]

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def write(out: "IO[bytes]", images: "Sequence[tuple[Image, tuple[str, ...]]]", open_blob: "OpenBlob", *, is_oci: bool) -> None:
    """One archive of some images with their names: an OCI layout, and beside it, unless `is_oci`, the manifest.json that `docker load` reads.

    Docker before 25 can load plain and gzip layers only: see is_loadable.
    """
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _directory(archive, "blobs")
        _directory(archive, "blobs/sha256")
        written: set[str] = set()
        for image, _ in images:
            _write_blobs(archive, image, open_blob, written)
        _member(archive, "index.json", _encoded(layout_index(images)))
        if not is_oci:
            _member(archive, "manifest.json", _encoded([_docker_entry(image, names) for image, names in images]))
        _member(archive, "oci-layout", LAYOUT)


def layout_index(images: "Sequence[tuple[Image, tuple[str, ...]]]") -> "dict[str, object]":
    """The index.json of a layout: each name is an entry with the annotations that containerd and skopeo read."""
    entries: list[Descriptor] = []
    for image, names in images:
        described = _manifest_descriptor(image)
        entries += [replace(described, annotations=_annotations(name)) for name in names] or [described]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptors.encode(entry) for entry in entries]}


def _docker_entry(image: Image, names: tuple[str, ...]) -> "dict[str, object]":
    tags = [name.removeprefix("docker.io/library/").removeprefix("docker.io/") for name in names]
    return {"Config": _blob_path(image.manifest.config), "RepoTags": tags or None, "Layers": [_blob_path(layer) for layer in image.manifest.layers]}


def _encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _annotations(name: str) -> tuple[tuple[str, str], ...]:
    tag = name.rpartition("/")[2].partition(":")[2]
    return (("io.containerd.image.name", name), ("org.opencontainers.image.ref.name", tag or "latest"))


def _write_blobs(archive: tarfile.TarFile, image: Image, open_blob: "OpenBlob", written: set[str]) -> None:
    documents = ((image.manifest.config, image.config_blob), (_manifest_descriptor(image), image.manifest.raw))
    for blob, data in documents:
        if blob.digest not in written:
            written.add(blob.digest)
            _member(archive, _blob_path(blob), data)
    for layer in image.manifest.layers:
        if layer.digest not in written:
            written.add(layer.digest)
            with open_blob(layer) as file:
                archive.addfile(_info(_blob_path(layer), layer.size_bytes), file)


def _manifest_descriptor(image: Image) -> Descriptor:
    return Descriptor(image.manifest.media_type, image.manifest.digest, len(image.manifest.raw))


def _blob_path(blob: Descriptor) -> str:
    return f"blobs/{blob.digest.algorithm}/{blob.digest.hex}"


def _info(name: str, size_bytes: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o644
    return info


def _member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_info(name, len(data)), io.BytesIO(data))


def _directory(archive: tarfile.TarFile, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(info)


def is_loadable(image: Image) -> bool:
    """Whether every docker can load the image: those before 25 know neither zstd nor other types."""
    return all(layer.media_type in PLAIN_LAYERS or layer.media_type.endswith("gzip") for layer in image.manifest.layers)

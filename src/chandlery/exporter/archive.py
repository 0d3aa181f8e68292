"""Image archives: an OCI layout in a tar, and Docker's `docker save` form, streamed; no blob is held in memory.

Both are written with the same entries in the same order and no times, so that the same image gives the same archive. OCI image spec, image-layout.md.
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
    from collections.abc import Callable
    from typing import IO

    OpenBlob = Callable[[Descriptor], IO[bytes]]

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def write_oci(out: "IO[bytes]", image: Image, names: tuple[str, ...], open_blob: "OpenBlob") -> None:
    """An OCI layout of one image, as a tar; each name becomes an entry of the index with the annotations that containerd and skopeo read."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _directory(archive, "blobs")
        _directory(archive, "blobs/sha256")
        _write_blobs(archive, image, open_blob)
        _member(archive, "index.json", json.dumps(layout_index(image, names), separators=(",", ":")).encode())
        _member(archive, "oci-layout", LAYOUT)


def write_docker(out: "IO[bytes]", image: Image, names: tuple[str, ...], open_blob: "OpenBlob") -> None:
    """What `docker load` reads, from 1.10 on: manifest.json and an OCI layout in one archive. Layers must be plain or gzip."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _directory(archive, "blobs")
        _directory(archive, "blobs/sha256")
        _write_blobs(archive, image, open_blob)
        document = {
            "Config": _blob_path(image.manifest.config),
            "RepoTags": [name.removeprefix("docker.io/library/").removeprefix("docker.io/") for name in names] or None,
            "Layers": [_blob_path(layer) for layer in image.manifest.layers],
        }
        _member(archive, "index.json", json.dumps(layout_index(image, names), separators=(",", ":")).encode())
        _member(archive, "manifest.json", json.dumps([document], separators=(",", ":")).encode())
        _member(archive, "oci-layout", LAYOUT)


def layout_index(image: Image, names: tuple[str, ...]) -> "dict[str, object]":
    """The index.json of a layout that holds one image under some names."""
    described = Descriptor(image.manifest.media_type, image.manifest.digest, len(image.manifest.raw))
    entries = [replace(described, annotations=_annotations(name)) for name in names] or [described]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptors.encode(entry) for entry in entries]}


def _annotations(name: str) -> tuple[tuple[str, str], ...]:
    tag = name.rpartition("/")[2].partition(":")[2]
    return (("io.containerd.image.name", name), ("org.opencontainers.image.ref.name", tag or "latest"))


def _write_blobs(archive: tarfile.TarFile, image: Image, open_blob: "OpenBlob") -> None:
    written: set[str] = set()
    _member(archive, _blob_path(image.manifest.config), image.config_blob)
    for layer in image.manifest.layers:
        if layer.digest not in written:
            written.add(layer.digest)
            with open_blob(layer) as blob:
                archive.addfile(_info(_blob_path(layer), layer.size_bytes), blob)
    manifest = Descriptor(image.manifest.media_type, image.manifest.digest, len(image.manifest.raw))
    _member(archive, _blob_path(manifest), image.manifest.raw)


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

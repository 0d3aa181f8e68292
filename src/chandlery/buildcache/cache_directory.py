"""Writing a cache into a directory, as an OCI layout that buildx's type=local reads.

Blobs first, the index last, each under a temporary name and renamed: a crash leaves the older cache whole, and blobs that nobody names. Caches of other tags
stay. One writer at a time, by a lock on the directory itself, which also removes what a killed one left; blobs that are there are not written again.
"""

import json
import os

from chandlery.errors import MachineError
from chandlery.linux import atomic
from chandlery.oci import descriptor as descriptors
from chandlery.oci.media_type import OCI_INDEX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from chandlery.buildcache.buildkit_artifact import Artifact
    from chandlery.oci.descriptor import Descriptor
    from chandlery.registry.upload import Readable

_REF_NAME = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_PIECE_BYTES = 1 << 20
_MAX_INDEX_BYTES = 4 << 20


def write(directory: str, artifact: "Artifact", open_blob: "Callable[[Descriptor], Readable]", *, tag: str) -> None:
    """Raises MachineError (cache.unwritable), and whatever `open_blob` raises."""
    import fcntl

    try:
        blobs = f"{directory}/blobs/sha256"
        os.makedirs(blobs, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_unfinished(directory, blobs)
            for layer in artifact.layers:
                _put_blob(f"{blobs}/{layer.digest.hex}", layer, open_blob)
            atomic.write_file(f"{blobs}/{artifact.config.digest.hex}", artifact.document)
            atomic.write_file(f"{blobs}/{artifact.manifest.digest.hex}", artifact.manifest.raw)
            atomic.write_file(f"{directory}/oci-layout", _LAYOUT)
            atomic.write_file(f"{directory}/index.json", _index(f"{directory}/index.json", artifact.descriptor, tag))
        finally:
            os.close(lock)
    except OSError as error:
        hint = "name a directory that you may write, on a disk with space"
        raise MachineError(f"the cache can't be written to {directory}: {error.strerror or error}", code="cache.unwritable", hint=hint) from error


def _remove_unfinished(*directories: str) -> None:
    """Files of a writer that was killed: who holds the lock is the only one alive."""
    for directory in directories:
        for name in os.listdir(directory):
            if atomic.TEMP_MARK in name:
                atomic.remove_if_there(f"{directory}/{name}")


def _put_blob(path: str, blob: "Descriptor", open_blob: "Callable[[Descriptor], Readable]") -> None:
    if os.path.isfile(path) and os.path.getsize(path) == blob.size_bytes:
        return
    reader = open_blob(blob)
    try:
        atomic.write_pieces(path, iter(lambda: reader.read(_PIECE_BYTES), b""))
    finally:
        reader.close()


def _index(path: str, described: "Descriptor", tag: str) -> bytes:
    """The index with the tag's entry replaced; one that can't be read is begun anew."""
    others: list[Any] = []
    try:
        with open(path, "rb") as file:
            others = [row for row in json.loads(file.read(_MAX_INDEX_BYTES))["manifests"] if (row.get("annotations") or {}).get(_REF_NAME) != tag]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        others = []
    entry = descriptors.encode(described) | {"annotations": {_REF_NAME: tag}}
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*others, entry]}, separators=(",", ":")).encode()

"""Whether a pushed image holds what its commit says, and how large its own layer is; read from the registry's storage, never over the link."""

import gzip
import io
import json
import tarfile
import zipfile
from typing import IO, Any, NamedTuple

from bench.farm.servers import Blobs

_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"


class Answer(NamedTuple):
    """What the built service would answer with."""

    motto: bool
    """Whether the commit's line is in it."""
    signals: str
    layer_bytes: int
    """Compressed, as pushed."""


class NoResult(Exception):
    """There is no image, or no service in it."""


def read(blobs: Blobs, repository: str, tag: str, motto: str) -> Answer:
    manifest = _manifest(blobs, repository, tag)
    layer = manifest["layers"][-1]
    jar = _service_jar(blobs.path(layer["digest"].removeprefix("sha256:")).read_bytes())
    with zipfile.ZipFile(io.BytesIO(jar)) as archive:
        nested = {name: archive.read(name) for name in archive.namelist() if "/text-" in name or "/signals-" in name}
    text, signals = ({name: data for name, data in nested.items() if part in name} for part in ("/text-", "/signals-"))
    if len(text) != 1 or len(signals) != 1:
        raise NoResult(f"{repository}:{tag} holds {sorted(nested)}")
    return Answer(
        motto.encode() in _member(*text.values(), "harbour/text/Motto.class"), _member(*signals.values(), "company/signals.txt").decode(), int(layer["size"])
    )


def _manifest(blobs: Blobs, repository: str, tag: str) -> dict[str, Any]:
    link = blobs.root / "repositories" / repository / "_manifests" / "tags" / tag / "current" / "link"
    if not link.exists():
        raise NoResult(f"{repository}:{tag} was not pushed")
    document: dict[str, Any] = json.loads(blobs.path(link.read_text().strip().removeprefix("sha256:")).read_bytes())
    if "manifests" in document:
        inner = next(item for item in document["manifests"] if item.get("platform", {}).get("os") == "linux")
        document = json.loads(blobs.path(inner["digest"].removeprefix("sha256:")).read_bytes())
    return document


def _service_jar(layer: bytes) -> bytes:
    with tarfile.open(fileobj=_decompressed(layer), mode="r|") as archive:
        for member in archive:
            if member.name.removeprefix("./") == "app/service.jar":
                file = archive.extractfile(member)
                assert file is not None
                return file.read()
    raise NoResult("the last layer holds no service")


def _decompressed(layer: bytes) -> IO[bytes]:
    if layer.startswith(_GZIP):
        return gzip.open(io.BytesIO(layer))  # type: ignore[return-value]
    if layer.startswith(_ZSTD):
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(layer)
    return io.BytesIO(layer)


def _member(archive: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read(name)

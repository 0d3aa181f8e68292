"""A layer or archive into a directory: decompress and hash in one thread, extract in another.

`unpack` places the members of a plain tar, `apply_layer` those of a blob as it comes from a registry, `unpack_archive` those of a tar that
a user gave as files. Archives are a stranger's: limits
hold before space is taken, names can't leave the root (extract), and every failure is an error of the tree in errors, never a traceback.
A failed extraction leaves a directory in any state below its root; the caller throws it away.
"""

import errno
import hashlib
import os

from chandlery.errors import ContextError, LyingRegistry, MachineError, NoSpace
from chandlery.layer.compression import decompressed, detect
from chandlery.layer.extract import Extractor, Whiteouts
from chandlery.layer.prefetch import Prefetch
from chandlery.layer.tar_reader import TarReader, malformed
from chandlery.linux.id_map import IDENTITY, IdMap
from chandlery.linux.paths import DIRECTORY
from chandlery.oci.digest import Digest, from_hex
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    Buffer = bytes | bytearray | memoryview

    class Readable(Protocol):
        def read(self, size: int, /) -> bytes: ...

    Source = Readable | Iterable[Buffer]

__all__ = ["AppliedLayer", "Limits", "UnpackStats", "Whiteouts", "apply_layer", "unpack", "unpack_archive"]

_READ_SIZE = 1 << 18
_AHEAD = 8
_GIB = 1 << 30


@value
class Limits:
    """What an archive may cost. `max_ratio` (plain to compressed) counts beyond `ratio_from_bytes`: a file of zeros is legitimate."""

    max_bytes: int = 256 * _GIB
    max_entries: int = 10_000_000
    max_ratio: int = 200
    ratio_from_bytes: int = 8 * _GIB


@value
class UnpackStats:
    """`size_bytes` is the files' contents; `xattrs_dropped` counts attributes that don't belong in images or that this disk can't store."""

    entries: int
    size_bytes: int
    xattrs_dropped: int


@value
class AppliedLayer:
    diff_id: Digest
    tar_size: int
    stats: UnpackStats


def unpack(
    source: "Source",
    root: str,
    *,
    whiteouts: Whiteouts = Whiteouts.OVERLAY,
    id_map: IdMap = IDENTITY,
    limits: Limits = Limits(),
) -> UnpackStats:
    """Place the members of a plain tar below the directory `root`.

    Raises LyingRegistry layer.hostile, layer.malformed, layer.truncated,
    layer.unsupported, layer.bomb, layer.missing-link-target; NoSpace; MachineError layer.extract.
    """
    root_fd = os.open(root, DIRECTORY)
    extractor = Extractor(root_fd, whiteouts=whiteouts, id_map=id_map)
    try:
        return _extract(TarReader(_chunks(source)), extractor, limits)
    except OSError as failed:
        raise _translated(failed, root) from failed
    finally:
        extractor.close()
        os.close(root_fd)


def apply_layer(
    source: "Source",
    root: str,
    *,
    expected_diff_id: Digest | None = None,
    whiteouts: Whiteouts = Whiteouts.OVERLAY,
    id_map: IdMap = IDENTITY,
    limits: Limits = Limits(),
) -> AppliedLayer:
    """Extract a layer blob into `root`; what compresses it is seen from its first bytes, not believed from a media type.

    `source` verifies the blob's own digest. Raises what `unpack` does, and LyingRegistry layer.wrong-diff-id.
    """
    plain = _Hashed(_plain(_chunks(source), limits))
    with Prefetch(plain, _AHEAD) as chunks:
        stats = unpack(chunks, root, whiteouts=whiteouts, id_map=id_map, limits=limits)
    diff_id = plain.digest()
    if expected_diff_id is not None and diff_id != expected_diff_id:
        raise LyingRegistry(
            f"a layer's content has the diff id {diff_id}, its image's configuration says {expected_diff_id}",
            code="layer.wrong-diff-id",
            hint="the image was pushed damaged; push it again, or use another digest of it",
        )
    return AppliedLayer(diff_id, plain.size_bytes, stats)


def unpack_archive(source: "Source", root: str, *, limits: Limits = Limits()) -> UnpackStats:
    """Extract a user's tar, compressed or not, into `root`; .wh. names mean nothing in it. Raises ContextError archive.* where `unpack` has layer.*."""
    try:
        with Prefetch(_plain(_chunks(source), limits), _AHEAD) as chunks:
            return unpack(chunks, root, whiteouts=Whiteouts.LITERAL, limits=limits)
    except LyingRegistry as refused:
        raise ContextError(refused.message, code=refused.code.replace("layer.", "archive."), hint=refused.hint) from refused


class _Hashed:
    """Chunks on their way to the extractor, hashed as they pass: in the thread that decompresses, which has time for both."""

    def __init__(self, chunks: "Iterator[Buffer]") -> None:
        self._chunks = chunks
        self._hasher = hashlib.sha256()
        self.size_bytes = 0

    def __iter__(self) -> "Iterator[Buffer]":
        for chunk in self._chunks:
            self.size_bytes += len(chunk)
            self._hasher.update(chunk)
            yield chunk

    def digest(self) -> Digest:
        return from_hex(self._hasher.hexdigest())


def _chunks(source: "Source") -> "Iterator[Buffer]":
    read = getattr(source, "read", None)
    if read is None:
        yield from source  # type: ignore[misc]
        return
    while chunk := read(_READ_SIZE):
        yield chunk


def _plain(chunks: "Iterator[Buffer]", limits: Limits) -> "Iterator[Buffer]":
    """Decompress, and stop at a bomb."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= 6:
            break
    compressed = 0

    def counted() -> "Iterator[Buffer]":
        nonlocal compressed
        compressed += len(first)
        yield first
        for chunk in chunks:
            compressed += len(chunk)
            yield chunk

    plain = 0
    for piece in decompressed(counted(), detect(first)):
        plain += len(piece)
        if plain > limits.ratio_from_bytes and plain > limits.max_ratio * compressed:
            raise _bomb(f"expands more than {limits.max_ratio} times")
        yield piece


def _extract(reader: TarReader, extractor: Extractor, limits: Limits) -> UnpackStats:
    entries = size_bytes = 0
    for entry in reader.entries():
        entries += 1
        size_bytes += entry.size
        if entries > limits.max_entries:
            raise _bomb(f"has more than {limits.max_entries} members")
        if size_bytes > limits.max_bytes:
            raise _bomb(f"holds more than {limits.max_bytes} bytes")
        extractor.place(entry, reader)
    extractor.finish()
    return UnpackStats(entries, size_bytes, extractor.xattrs_dropped)


def _bomb(what: str) -> LyingRegistry:
    return LyingRegistry(f"the archive {what}", code="layer.bomb", hint="an archive like this is made to fill disks; unpack it by hand if it is wanted")


def _translated(failed: OSError, root: str) -> Exception:
    if failed.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"the disk is full: a layer does not fit into {root}", hint="free space with `chandlery prune`, or give --root another disk")
    if failed.errno == errno.ENAMETOOLONG:
        return malformed("a name is too long for this file system")
    if failed.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        return malformed(f"its members contradict each other ({failed})")
    if failed.errno == errno.EPERM and os.geteuid() != 0:
        return MachineError(f"a layer can't be written to {root}: {failed.strerror}", code="machine.no-privilege", hint="run as root: files get other owners")
    return MachineError(f"a layer can't be written to {root}: {failed}", code="layer.extract", hint="check that the store's disk is writable and healthy")

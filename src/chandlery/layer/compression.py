"""How layers are compressed: detection, bounded streaming decompression, and compression of independent blocks.

Blocks of a fixed size are compressed on their own, as gzip members (RFC 1952, 2.2) or zstd frames (RFC 8878, 3.1), so any number of
threads gives the same bytes. The encoder's name says everything that decides them: the same name, the same bytes.

Decompressors return at most PIECE at a time, whatever the input promises, and zstd windows and xz dictionaries are capped.
"""

import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from chandlery.errors import LyingRegistry, RequestError
from chandlery.oci import media_type
from chandlery.values import value

try:
    from isal import ISAL_VERSION, igzip_lib
except ImportError:  # no wheel for this machine: slower, and other bytes, which the encoder's name says
    igzip_lib = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    Buffer = bytes | bytearray | memoryview

    class Decompressor(Protocol):
        """One gzip member, bzip2 or xz stream: the shape of bz2.BZ2Decompressor."""

        @property
        def eof(self) -> bool: ...

        @property
        def needs_input(self) -> bool: ...

        @property
        def unused_data(self) -> bytes: ...

        def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


PIECE = 1 << 20
GZIP_BLOCK = 1 << 20
ZSTD_BLOCK = 4 << 20
DEFAULT_ZSTD_LEVEL = 3
# RFC 8878, 3.1.1.1.2 recommends that decoders support 8 MiB; `zstd --long` writes 128 MiB
MAX_ZSTD_WINDOW = 1 << 27
MAX_XZ_MEMORY = 256 << 20
# igzip level 3 is its highest; above it users expect zlib's ratio
_HIGHEST_ISAL_LEVEL = 3


class Compression(StrEnum):
    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


_MAGIC = (
    (b"\x1f\x8b\x08", Compression.GZIP),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
    (b"BZh", Compression.BZIP2),
    (b"\xfd7zXZ\x00", Compression.XZ),
)
# RFC 8878, 3.1.2: skippable frames, 0x184D2A5? little-endian, may come first (zstd:chunked writes them last)
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"

_MEDIA_TYPES = {Compression.NONE: media_type.OCI_LAYER, Compression.GZIP: media_type.OCI_LAYER_GZIP, Compression.ZSTD: media_type.OCI_LAYER_ZSTD}


@value
class Encoder:
    """`compress` turns at most `block_size` bytes into one self-contained block; it may be called from many threads at once."""

    name: str
    compression: Compression
    block_size: int
    compress: "Callable[[Buffer], Buffer]"


def detect(head: bytes) -> Compression:
    """The compression of a file that starts with `head` (at least 6 bytes, where it has them)."""
    for magic, compression in _MAGIC:
        if head.startswith(magic):
            return compression
    if head[1:4] == _ZSTD_SKIPPABLE and 0x50 <= head[0] <= 0x5F:
        return Compression.ZSTD
    return Compression.NONE


def media_type_of(compression: Compression) -> str:
    """The OCI media type of a layer compressed so."""
    return _MEDIA_TYPES[compression]


def encoder(compression: Compression, level: int | None = None) -> Encoder:
    """The encoder for a layer at a level as users give it: 0-9 for gzip, 1-22 for zstd, None for our choice.

    gzip without a level is igzip 1; 1-3 are igzip's, 0 stores and 4-9 are zlib's. Raises RequestError compression.level.
    """
    match compression:
        case Compression.NONE:
            return Encoder("none", compression, GZIP_BLOCK, _as_it_is)
        case Compression.GZIP:
            return _gzip_encoder(_checked(level, 0, 9, 1, compression))
        case Compression.ZSTD:
            return _zstd_encoder(_checked(level, 1, 22, DEFAULT_ZSTD_LEVEL, compression))
        case Compression.BZIP2 | Compression.XZ:
            raise RequestError(f"layers can't be {compression}", code="compression.unknown", hint="use gzip, zstd or none")


def decompressed(source: "Iterable[Buffer]", compression: Compression) -> "Iterator[Buffer]":
    """The plain bytes of a compressed stream in pieces of at most PIECE.

    Raises LyingRegistry layer.malformed for damage, layer.truncated for a stream that ends early.
    """
    match compression:
        case Compression.NONE:
            return iter(source)
        case Compression.GZIP:
            return _members(source, _gzip_member, compression)
        case Compression.BZIP2:
            return _members(source, _bzip2_stream, compression)
        case Compression.XZ:
            return _members(source, _xz_stream, compression)
        case Compression.ZSTD:
            return _zstd_frames(source)


def _checked(level: int | None, lowest: int, highest: int, default: int, compression: Compression) -> int:
    if level is None or level == -1:
        return default
    if not lowest <= level <= highest:
        raise RequestError(f"{compression} has no level {level}", code="compression.level", hint=f"give a level from {lowest} to {highest}")
    return level


def _as_it_is(block: "Buffer") -> "Buffer":
    return block


def _gzip_encoder(level: int) -> Encoder:
    if igzip_lib is not None and 0 < level <= _HIGHEST_ISAL_LEVEL:

        def igzip(block: "Buffer") -> bytes:
            member: bytes = igzip_lib.compress(block, level, igzip_lib.COMP_GZIP)
            return member

        return Encoder(f"isal-{ISAL_VERSION}/{level}/1MiB", Compression.GZIP, GZIP_BLOCK, igzip)

    def deflate(block: "Buffer") -> bytes:
        stream = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return stream.compress(block) + stream.flush()

    return Encoder(f"zlib-{zlib.ZLIB_RUNTIME_VERSION}/{level}/1MiB", Compression.GZIP, GZIP_BLOCK, deflate)


def _zstd_encoder(level: int) -> Encoder:
    import threading

    import zstandard

    mine = threading.local()

    def frame(block: "Buffer") -> bytes:
        # a ZstdCompressor must not be used by two threads at once
        compressor = getattr(mine, "compressor", None)
        if compressor is None:
            compressor = mine.compressor = zstandard.ZstdCompressor(level=level)
        return bytes(compressor.compress(block))

    version = ".".join(str(part) for part in zstandard.ZSTD_VERSION)
    return Encoder(f"zstd-{version}/{level}/4MiB", Compression.ZSTD, ZSTD_BLOCK, frame)


class _ZlibMember:
    """zlib's decompressor in the shape of bz2's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        plain = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(plain) < max_length
        return plain


def _gzip_member() -> "Decompressor":
    return _ZlibMember() if igzip_lib is None else igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def _bzip2_stream() -> "Decompressor":
    import bz2

    return bz2.BZ2Decompressor()


def _xz_stream() -> "Decompressor":
    import lzma

    return lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY)


def _members(source: "Iterable[Buffer]", start: "Callable[[], Decompressor]", compression: Compression) -> "Iterator[Buffer]":
    """Streams one after another; zero bytes may pad the end (tapes, and `dd conv=sync`), anything else there is damage."""
    current: Decompressor | None = None
    for chunk in source:
        data = bytes(chunk)
        while True:
            if current is None:
                data = data.lstrip(b"\0")
                if not data:
                    break
                current = start()
            try:
                plain = current.decompress(data, PIECE)
            except Exception as damage:  # igzip, zlib, bz2 and lzma share no base class
                raise _damaged(compression, damage) from damage
            if plain:
                yield plain
            data = b""
            if current.eof:
                data = current.unused_data
                current = None
            elif current.needs_input:
                break
    if current is not None:
        raise LyingRegistry(f"a {compression} stream ends too early", code="layer.truncated", hint="fetch or make the archive again")


def _zstd_frames(source: "Iterable[Buffer]") -> "Iterator[Buffer]":
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    raw = io.BufferedReader(_Chunks(source), 1 << 18)
    with decompressor.stream_reader(raw, read_across_frames=True) as reader:
        while True:
            try:
                plain = reader.read(PIECE)
            except zstandard.ZstdError as damage:
                raise _damaged(Compression.ZSTD, damage) from damage
            if not plain:
                return
            yield plain


class _Chunks(io.RawIOBase):
    """An iterable of chunks as a file."""

    def __init__(self, source: "Iterable[Buffer]") -> None:
        self._source = iter(source)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: "Buffer") -> int:  # type: ignore[override]
        while not self._left:
            chunk = next(self._source, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        view = memoryview(target)
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _damaged(compression: Compression, damage: Exception) -> LyingRegistry:
    return LyingRegistry(f"a {compression} stream is damaged: {damage}", code="layer.malformed", hint="fetch or make the archive again")

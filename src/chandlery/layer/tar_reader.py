"""Reading tars made by strangers: old v7, ustar, GNU and pax headers from a stream of chunks.

Everything that a header says is checked here before anybody acts on it: checksums, numbers, lengths, NULs in names. What a name means in a
directory is `extract`'s business. Memory is one chunk and one header record (MAX_RECORD), whatever the archive claims.
"""

import os
import struct
from functools import lru_cache
from zlib import adler32

from chandlery.errors import LyingRegistry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Buffer = bytes | bytearray | memoryview

BLOCK = 512
# the limit that Go's archive/tar has for pax and long name records, so no tool can have made a larger one for images
MAX_RECORD = 1 << 20
_ZERO_BLOCK = bytes(BLOCK)
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_XATTR_KEY = b"SCHILY.xattr."
# entries whose headers may claim a size although nothing follows (archive/tar's isHeaderOnlyType)
_WITHOUT_DATA = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
_FILES = frozenset({b"0", b"\0", b"7"})


class Entry:
    """One member. `kind` is the ustar type; `path` and `link` are raw and not to be trusted."""

    __slots__ = ("device", "gid", "kind", "link", "mode", "mtime_ns", "path", "size", "uid", "xattrs")

    path: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[str, bytes] | None


class TarReader:
    """Members in order; a member's data must be taken by `copy_to` before the next, or is skipped."""

    def __init__(self, chunks: "Iterable[Buffer]") -> None:
        self._chunks = iter(chunks)
        self._view = memoryview(b"")
        self._at = 0
        self._end = 0
        self._left = 0

    def entries(self) -> "Iterator[Entry]":
        """Every member. Raises LyingRegistry layer.truncated, layer.malformed, layer.unsupported."""
        records: dict[bytes, bytes] = {}
        if not self._advance():
            raise _truncated("is empty")
        while True:
            self._skip(self._left)
            self._left = 0
            block = self._take(BLOCK, may_end=True)
            if not block or block == _ZERO_BLOCK:
                self._finish()
                return
            entry = _parse(block)
            kind = entry.kind
            if kind in b"xXLKgV":
                self._side_record(entry, records)
                continue
            if records:
                _override(entry, records)
                records = {}
            _check(entry)
            # contents are padded to whole blocks
            self._left = entry.size + -entry.size % BLOCK
            yield entry

    def copy_to(self, fd: int, size: int) -> None:
        """Write `size` bytes of the current member's data to a file."""
        self._left -= size
        while size:
            if self._at == self._end:
                self._next_chunk()
            piece = self._view[self._at : min(self._at + size, self._end)]
            while piece:
                count = os.write(fd, piece)
                self._at += count
                size -= count
                piece = piece[count:]

    def _side_record(self, entry: Entry, records: dict[bytes, bytes]) -> None:
        """What comes before a member and speaks of it: pax records, GNU's long names. Global ones and volume labels mean nothing here."""
        size = entry.size
        if entry.kind in b"gV":
            self._left = size + -size % BLOCK
            return
        if size > MAX_RECORD:
            raise malformed(f"a header record of {size} bytes")
        data = self._take(size)
        self._skip(-size % BLOCK)
        if entry.kind == b"L":
            records[b"path"] = data.partition(b"\0")[0]
        elif entry.kind == b"K":
            records[b"linkpath"] = data.partition(b"\0")[0]
        else:
            _parse_pax(data, records)

    def _finish(self) -> None:
        """Read on behind the end: the diff id covers every byte of the stream. A lone block of zeros before more members is damage."""
        block = self._take(BLOCK, may_end=True)
        if block and block != _ZERO_BLOCK:
            raise malformed("members after the end")
        for _ in self._chunks:
            pass

    def _next_chunk(self) -> None:
        if not self._advance():
            raise _truncated("ends in the middle of a member")

    def _advance(self) -> bool:
        for chunk in self._chunks:
            if len(chunk):
                self._view = memoryview(chunk)
                self._at = 0
                self._end = len(chunk)
                return True
        return False

    def _take(self, size: int, *, may_end: bool = False) -> bytes:
        at = self._at
        if at + size <= self._end:
            self._at = at + size
            return bytes(self._view[at : self._at])
        if at == self._end and may_end and not self._advance():
            return b""
        pieces = []
        while size:
            if self._at == self._end:
                self._next_chunk()
            piece = bytes(self._view[self._at : self._at + size])
            self._at += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _skip(self, size: int) -> None:
        while size:
            if self._at == self._end:
                self._next_chunk()
            step = min(size, self._end - self._at)
            self._at += step
            size -= step


def malformed(what: str) -> LyingRegistry:
    return LyingRegistry(f"this is not a well-formed tar: {what}", code="layer.malformed", hint="fetch or make the archive again")


def _truncated(what: str) -> LyingRegistry:
    return LyingRegistry(f"the archive {what}", code="layer.truncated", hint="fetch or make the archive again")


def _parse(block: bytes) -> Entry:
    if len(block) != BLOCK:
        raise malformed("a short header")
    _verify_checksum(block)
    name, mode, uid, gid, size, mtime, _, kind, link, magic, major, minor, prefix = _FIELDS.unpack(block)
    entry = Entry()
    entry.path = name.partition(b"\0")[0]
    # only POSIX's magic has a prefix; GNU's ("ustar  ") keeps times there, v7 nothing
    if magic == b"ustar\x0000" and prefix[0]:
        entry.path = prefix.partition(b"\0")[0] + b"/" + entry.path
    entry.kind = kind
    entry.mode = _number(mode) & 0o7777
    entry.uid = _number(uid)
    entry.gid = _number(gid)
    entry.size = _number(size)
    entry.mtime_ns = _number(mtime) * 1_000_000_000
    entry.link = link.partition(b"\0")[0]
    entry.device = (_number(major), _number(minor)) if kind in b"34" else (0, 0)
    entry.xattrs = None
    return entry


def _verify_checksum(block: bytes) -> None:
    stated = _number(block[148:156])
    # the low half of adler32 is 1 + the sum of the bytes, modulo 65521; the checksum counts itself as eight spaces
    total = (adler32(block[156:], adler32(block[:148])) & 0xFFFF) - 1 + 256
    if (stated - total) % 65521 == 0:
        return
    # some old tars summed signed characters
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
    if stated != signed:
        raise malformed("a header's checksum is wrong")


@lru_cache(maxsize=4096)
def _number(field: bytes) -> int:
    """Octal digits, or GNU's base-256 when the first bit is set."""
    if field[0] & 0x80:
        number = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        return number - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else number
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    # int() alone would also take "-7", "+7" and "1_0"
    if not digits.isdigit():
        raise malformed(f"a number field says {digits!r}")
    try:
        return int(digits, 8)
    except ValueError:
        raise malformed(f"a number field says {digits!r}") from None


def _parse_pax(data: bytes, records: dict[bytes, bytes]) -> None:
    """Add pax records: "LENGTH KEY=VALUE\\n", the length counting itself (POSIX.1-2017, pax Extended Header)."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = data[at:space] if space > at else b""
        if not length.isdigit() or int(length) <= len(length) + 2 or at + int(length) > len(data):
            raise malformed("a pax record's length is wrong")
        end = at + int(length)
        key, equals, text = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or data[end - 1] != 0x0A:
            raise malformed("a pax record is damaged")
        records[key] = text
        at = end


def _override(entry: Entry, records: dict[bytes, bytes]) -> None:
    for key, text in records.items():
        if key.startswith(_XATTR_KEY):
            if entry.xattrs is None:
                entry.xattrs = {}
            entry.xattrs[os.fsdecode(key[len(_XATTR_KEY) :])] = text
        elif key.startswith(b"GNU.sparse."):
            raise _unsupported("sparse files")
        elif not text:
            continue  # POSIX: an empty value takes a record back
        elif key == b"path":
            entry.path = text
        elif key == b"linkpath":
            entry.link = text
        elif key == b"size":
            entry.size = _decimal(text)
        elif key == b"uid":
            entry.uid = _decimal(text)
        elif key == b"gid":
            entry.gid = _decimal(text)
        elif key == b"mtime":
            entry.mtime_ns = _nanoseconds(text)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise malformed(f"a pax record says {text[:40]!r} where a number is meant")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    """Decimal seconds with a fraction, exactly: a float has not enough digits."""
    negative = text.startswith(b"-")
    whole, _, fraction = text.lstrip(b"-").partition(b".")
    magnitude = _decimal(whole or b"0") * 1_000_000_000
    if fraction:
        magnitude += _decimal(fraction[:9].ljust(9, b"0"))
    return -magnitude if negative else magnitude


def _check(entry: Entry) -> None:
    """Refuse what no honest archive has, and settle what old ones left open."""
    kind = entry.kind
    if kind in _FILES:
        # v7 had no type for directories
        entry.kind = kind = b"5" if entry.path.endswith(b"/") else b"0"
    elif kind not in _WITHOUT_DATA:
        raise _unsupported("sparse files" if kind == b"S" else f"members of type {kind!r}")
    if min(entry.size, entry.uid, entry.gid) < 0:
        raise malformed("a negative size or owner")
    if max(entry.uid, entry.gid) > 0xFFFFFFFE:
        raise malformed("an owner beyond 32 bits")
    if b"\0" in entry.path or b"\0" in entry.link:
        raise malformed("a name with a NUL")
    if not -(1 << 63) <= entry.mtime_ns < 1 << 63:
        entry.mtime_ns = 0  # beyond what the kernel can store; the content is what counts
    if kind in _WITHOUT_DATA:
        entry.size = 0


def _unsupported(what: str) -> LyingRegistry:
    return LyingRegistry(f"the archive has {what}", code="layer.unsupported", hint="make it again without, for example with GNU tar without --sparse")

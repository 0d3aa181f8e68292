"""The bytes of tar headers that we write: POSIX ustar, with pax records only where ustar can't say it (POSIX.1-2017, pax, "ustar
Interchange Format" and "pax Extended Header").

Headers are written with modification time 0; `mtime_patch` gives what to overwrite for the real time. So one pass over the files
feeds both digests of a diff: with times (the diff id) and without (the content digest).

These bytes are part of diff ids: a change here changes the digest of every layer that is made again.
"""

from functools import lru_cache
from zlib import adler32

BLOCK = 512
MTIME_AT = 136
CHECKSUM_AT = 148

FILE = b"0"
HARD_LINK = b"1"
SYMLINK = b"2"
CHAR_DEVICE = b"3"
BLOCK_DEVICE = b"4"
DIRECTORY = b"5"
FIFO = b"6"
PAX = b"x"

# PATH_MAX (4096) counts the NUL and the leading slash: a longer name could never be opened inside a container
MAX_PATH = 4094
MAX_OCTAL_ID = 0o7777777
MAX_OCTAL_SIZE = 0o77777777777
_ZERO_MTIME = b"00000000000\0"
_ZERO_MTIME_SUM = sum(_ZERO_MTIME)
_NO_LINK = bytes(100)
_MAGIC = b"ustar\x0000" + bytes(64)
_NO_DEVICE = b"0000000\x000000000\0"


def header(
    path: bytes,
    kind: bytes,
    *,
    mode: int,
    uid: int,
    gid: int,
    size: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: dict[str, bytes] | None = None,
) -> tuple[bytes, int]:
    """The header blocks of one entry and the checksum of the last one, whose time `mtime_patch` may overwrite."""
    records: list[bytes] = []
    name, prefix = path, b""
    if len(path) > 100 or not path.isascii():
        name, prefix = _split(path)
        if not name:
            records.append(_record(b"path", path))
            name = _ascii(path)
    if link and (len(link) > 100 or not link.isascii()):
        records.append(_record(b"linkpath", link))
        link = _ascii(link)
    if uid > MAX_OCTAL_ID:
        records.append(_record(b"uid", b"%d" % uid))
        uid = 0
    if gid > MAX_OCTAL_ID:
        records.append(_record(b"gid", b"%d" % gid))
        gid = 0
    stated_size = size
    if size > MAX_OCTAL_SIZE:
        records.append(_record(b"size", b"%d" % size))
        stated_size = 0
    if xattrs:
        # a pax keyword ends at "=", so an attribute whose name has one can't be told
        records.extend(_record(b"SCHILY.xattr." + key.encode("utf-8", "surrogateescape"), xattrs[key]) for key in xattrs if "=" not in key)
    tail = _NO_DEVICE if device == (0, 0) else b"%07o\0%07o\0" % device
    block, checksum = _block(name, kind, mode, uid, gid, stated_size, link, tail, prefix)
    if not records:
        return block, checksum
    body = b"".join(records)
    pax_block, _ = _block(b"PaxHeaders/" + _ascii(path)[:80], PAX, 0o644, 0, 0, len(body), b"", _NO_DEVICE, b"")
    return b"".join((pax_block, body, bytes(-len(body) % BLOCK), block)), checksum


@lru_cache(maxsize=4096)
def mtime_patch(seconds: int) -> tuple[bytes, int]:
    """The twelve bytes of a time, and how much they add to a header's checksum."""
    if 0 <= seconds <= MAX_OCTAL_SIZE:
        field = b"%011o\0" % seconds
    else:
        # GNU's base-256 (star's too): two's complement, the first bit set. Every reader since 1999 knows it, and the entry keeps its length
        field = bytes([0x80 if seconds >= 0 else 0xFF]) + (seconds & (1 << 88) - 1).to_bytes(11, "big")
    return field, sum(field) - _ZERO_MTIME_SUM


def checksum_field(checksum: int) -> bytes:
    return b"%06o\0 " % checksum


def _block(name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, link: bytes, device: bytes, prefix: bytes) -> tuple[bytes, int]:
    head = b"%b%07o\0%07o\0%07o\0%011o\x0000000000000\0" % (name.ljust(100, b"\0"), mode, uid, gid, size)
    tail = b"".join((kind, link.ljust(100, b"\0") if link else _NO_LINK, _MAGIC, device, prefix.ljust(167, b"\0")))
    # adler32's low half is 1 + the sum of the bytes, modulo 65521; an ASCII block sums to 512 * 127 at most, so it is exact
    # (a checksum counts its own field as eight spaces: 256)
    checksum = (adler32(tail, adler32(head)) & 0xFFFF) - 1 + 256
    return b"".join((head, b"%06o\0 " % checksum, tail)), checksum


def _split(path: bytes) -> tuple[bytes, bytes]:
    """ustar's name and prefix, or two empty ones where the path needs a pax record."""
    if not path.isascii() or len(path) > 256:
        return b"", b""
    cut = path.find(b"/", len(path) - 101)
    if cut <= 0 or cut > 155 or cut + 1 == len(path):
        return b"", b""
    return path[cut + 1 :], path[:cut]


def _ascii(path: bytes) -> bytes:
    """What the old fields say of a path that its pax record tells in full."""
    return bytes(byte if byte < 128 else 0x5F for byte in path[:100])


def _record(key: bytes, text: bytes) -> bytes:
    """A pax record, which starts with its own length in decimal."""
    rest = len(key) + len(text) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, text)

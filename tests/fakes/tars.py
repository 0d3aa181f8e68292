"""Tars written by hand, so that they can say what no library would write."""

import io


def number(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def header(
    path: bytes,
    kind: bytes = b"0",
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One 512-byte header; fields given as bytes are written as they are."""
    fields = [
        path.ljust(100, b"\0"),
        number(mode, 8),
        number(uid, 8),
        number(gid, 8),
        size if isinstance(size, bytes) else number(size, 12),
        mtime if isinstance(mtime, bytes) else number(mtime, 12),
        b" " * 8,
        kind,
        link.ljust(100, b"\0"),
        magic,
        bytes(64),
        number(device[0], 8),
        number(device[1], 8),
        prefix.ljust(155, b"\0"),
        bytes(12),
    ]
    block = b"".join(fields)
    assert len(block) == 512
    return block[:148] + (checksum or b"%06o\0 " % sum(block)) + block[156:]


def file(path: bytes, data: bytes = b"", **fields: object) -> bytes:
    return header(path, size=len(data), **fields) + padded(data)  # type: ignore[arg-type]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b"".join(record(key, text) for key, text in records.items())
    return header(b"PaxHeaders/x", kind, size=len(body)) + padded(body)


def record(key: bytes, text: bytes) -> bytes:
    length = len(key) + len(text) + 3
    while len(b"%d" % length) + len(key) + len(text) + 3 != length:
        length += 1
    return b"%d %b=%b\n" % (length, key, text)


def archive(*members: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join(members) + bytes(1024))

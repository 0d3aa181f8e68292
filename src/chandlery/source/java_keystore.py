"""A Java keystore of trusted certificates (JKS) with its times set: the one file of a Debian root that is new on every install.

The package ca-certificates-java writes the moment of installation into each entry. The layout is the JDK's own
(sun.security.provider.JavaKeyStore): magic, version, count, entries, then a SHA-1 over a keyed prefix and everything before it. Only
trusted certificates are understood: a store that holds a private key, or anything else, is left as it is.
"""

import hashlib
import struct

_MAGIC = 0xFEEDFEED
_TRUSTED_CERTIFICATE = 2
_SALT = b"Mighty Aphrodite"
PASSWORD = "changeit"
"""Not a secret: the default of every JDK, which guards the store against accidents only."""


def with_times(data: bytes, time_s: int) -> bytes | None:
    """The same store with every entry made at `time_s` (Unix seconds), or None where it isn't a store of certificates we can rewrite."""
    if len(data) < 32 or data[-20:] != _seal(data[:-20]):
        return None
    magic, version, count = struct.unpack_from(">III", data)
    if magic != _MAGIC or version != 2:
        return None
    body = bytearray(data[:-20])
    at = 12
    try:
        for _ in range(count):
            at = _set_time(body, at, time_s * 1000)
    except (struct.error, ValueError):
        return None
    return bytes(body) + _seal(bytes(body)) if at == len(body) else None


def _set_time(body: bytearray, at: int, time_ms: int) -> int:
    """Set one entry's time; the offset of the next entry."""
    tag, alias_size = struct.unpack_from(">IH", body, at)
    if tag != _TRUSTED_CERTIFICATE:
        raise ValueError("not a trusted certificate")
    at += 6 + alias_size
    struct.pack_into(">Q", body, at, time_ms)
    at += 8
    (kind_size,) = struct.unpack_from(">H", body, at)
    at += 2 + kind_size
    (certificate_size,) = struct.unpack_from(">I", body, at)
    return at + 4 + int(certificate_size)


def _seal(body: bytes) -> bytes:
    return hashlib.sha1(PASSWORD.encode("utf-16-be") + _SALT + body, usedforsecurity=False).digest()

"""`Digest`: the name of some bytes, "sha256:<64 hex>" (OCI image spec, descriptor.md, "Digests")."""

from chandlery.errors import InputError

try:
    # the interpreter's own, for the few kilobytes that a cached build hashes: loading OpenSSL takes longer than everything that is done with it
    from _sha256 import sha256 as _small  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha256 as _small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash

_SMALL_BYTES = 16 << 10
# how much a process hashes with the slower of the two before it loads the faster one
_left_bytes = 256 << 10
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


class Digest(str):
    """A string that is known to be a well-formed digest. Construct with `Digest(text)`; raises InputError otherwise."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Digest":
        algorithm, colon, hex_part = text.partition(":")
        if not colon or len(hex_part) != _HEX_LENGTHS.get(algorithm, -1) or not _HEX.issuperset(hex_part):
            raise InputError(f"{text!r} is not a digest", code="digest.malformed", hint="digests look like sha256:<64 hex digits>")
        return str.__new__(cls, text)

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]


def sha256(data: bytes) -> Digest:
    """The sha256 digest of some bytes in memory."""
    return from_hex(hasher(data).hexdigest())


def hasher(data: "bytes | memoryview" = b"", *, expected_bytes: int = 0) -> "_Hash":
    """A sha256 begun with `data`, as hashlib's; `expected_bytes` are to follow."""
    global _left_bytes
    size_bytes = len(data) + expected_bytes
    if size_bytes <= _SMALL_BYTES and _left_bytes > 0:
        _left_bytes -= size_bytes
        small: _Hash = _small(data)
        return small
    from hashlib import sha256

    return sha256(data)


def hasher_for(digest: Digest, expected_bytes: int) -> "_Hash":
    """A hash of the digest's algorithm for that many bytes."""
    if digest.algorithm == "sha256":
        return hasher(expected_bytes=expected_bytes)
    import hashlib

    return hashlib.new(digest.algorithm)


def from_hex(sha256_hex: str) -> Digest:
    """A digest from hashlib's own `hexdigest()`, which needs no checking."""
    return str.__new__(Digest, "sha256:" + sha256_hex)

"""`Digest`: the name of some bytes, "sha256:<64 hex>" (OCI image spec, descriptor.md, "Digests")."""

import hashlib

from chandlery.errors import InputError

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
    return from_hex(hashlib.sha256(data).hexdigest())


def from_hex(sha256_hex: str) -> Digest:
    """A digest from hashlib's own `hexdigest()`, which needs no checking."""
    return str.__new__(Digest, "sha256:" + sha256_hex)

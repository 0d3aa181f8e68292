"""`HeadRoom`: what the heads that one look reads may take of memory together. Whoever may write to a scope may fill it with heads of any size.

A document is weighed before it is parsed: each value becomes an object or two of some 150 bytes altogether, text stays text, four times as large where any
of it is beyond ASCII. What has no room is refused, code volume.heads-too-large; a head that is too large alone is written by nobody.
"""

from chandlery.errors import StoreError

# of one document: thirty vectors of 10,000 writers
MAX_PLAIN_BYTES, MAX_VALUES = 16 << 20, 300_000
# of all; a small one always has room, of which there are as many as a look reads
_MOST_BYTES, _SMALL_BYTES = 80 << 20, 512 << 10
_VALUE_BYTES = 150


def weigh_head(values: int, text_bytes: int) -> int:
    return values * _VALUE_BYTES + text_bytes


def weigh(plain: bytes) -> int:
    """About how many bytes a head takes. Raises StoreError volume.heads-too-large."""
    values = plain.count(b",") + plain.count(b"[") + plain.count(b"{")
    text_bytes = len(plain) if plain.isascii() else 4 * len(plain)
    if values > MAX_VALUES or text_bytes > MAX_PLAIN_BYTES:
        raise too_large()
    return weigh_head(values, text_bytes)


def too_large() -> StoreError:
    return StoreError("the heads of a cache volume are too large", code="volume.heads-too-large", hint="delete the volume there; builds make it anew")


class HeadRoom:
    """For one look; `taken` is what is kept from an earlier one."""

    def __init__(self, taken: int = 0) -> None:
        self.taken = taken

    def take(self, size_bytes: int) -> None:
        if size_bytes > _SMALL_BYTES and self.taken + size_bytes > _MOST_BYTES:
            raise too_large()
        self.taken += size_bytes

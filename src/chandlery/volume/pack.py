"""A delta as one blob, in the zstd:chunked manner: a valid tar.zst of frames that can be read alone, and a table of contents behind them.

Small files share a frame of up to FRAME_BYTES; a larger one has frames of its own of up to CHUNK_BYTES. The table is the payload of a skippable
frame (RFC 8878, 3.1.2) at the end; where it is and its sha256 are in the head's document, so a table is verified before it is
parsed. The tar around the contents is for people and other tools: nothing is ever read from it.
"""

import hashlib

from chandlery.errors import StoreError
from chandlery.oci.digest import Digest
from chandlery.values import value
from chandlery.volume import table_check
from chandlery.volume.table_check import bad_table
from chandlery.volume.tree import Entry, EntryType, VersionVector, ancestors, check_format, decode_entry, decode_vector, encode_vector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

FRAME_BYTES = 256 << 10
CHUNK_BYTES = 4 << 20
MAX_TABLE_BYTES, MAX_PLAIN_TABLE_BYTES = 64 << 20, 96 << 20
MAX_REPLACED = 256
_MAX_FRAME = CHUNK_BYTES + FRAME_BYTES + (64 << 10)


@value
class PackRef:
    """A pack as a head names it. `by` says which deltas it is needed for; `replaces` names packs that it was made of, by the start of their digests."""

    digest: Digest
    size_bytes: int
    table_at: int
    table_bytes: int
    table_sha256: str
    by: VersionVector
    replaces: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        return self.digest.hex[:16]


@value
class Piece:
    """Part of a file: `size_bytes` at `at` of the plain bytes of a frame."""

    frame: int
    at: int
    size_bytes: int


@value
class Frame:
    start: int
    size_bytes: int
    plain_bytes: int


@value
class Table:
    entries: tuple[Entry, ...]
    frames: tuple[Frame, ...]
    pieces: "dict[str, tuple[Piece, ...]]"


def read_table(data: bytes, pack: PackRef) -> Table:
    """The table of a pack from its bytes, which a mirror may have chosen. Raises StoreError volume.bad-table, volume.format."""
    if len(data) != pack.table_bytes or hashlib.sha256(data).hexdigest() != pack.table_sha256:
        raise bad_table("is not the one that the head names")
    document = check_format(table_check.parse(expand(data, MAX_PLAIN_TABLE_BYTES)))
    try:
        return _decode_table(document, pack)
    except (KeyError, TypeError, ValueError, AttributeError) as broken:
        raise bad_table(f"can't be read ({type(broken).__name__})") from broken


def _decode_table(document: "dict[str, Any]", pack: PackRef) -> Table:
    frames = tuple([Frame(*item) for item in document["frames"]])
    table_check.check_frames(frames, end=pack.table_at, most_plain_bytes=_MAX_FRAME)
    if len(document["entries"]) > table_check.MAX_ENTRIES:
        raise bad_table("has too many entries")
    entries, pieces = [], {}
    for item in document["entries"]:
        entry = decode_entry(item)
        table_check.check_entry(entry)
        entries.append(entry)
        if entry.type is EntryType.FILE:
            pieces[entry.path] = found = tuple([Piece(*piece) for piece in item["pieces"]])
            table_check.check_pieces(found, frames, entry.size)
    table_check.check_tree(entries)
    table_check.check_overlaps(piece for found in pieces.values() for piece in found)
    return Table(tuple(entries), frames, pieces)


def expand(data: bytes, limit: int) -> bytes:
    """One zstd frame's plain bytes, which must be `limit` at most: the frame's header is asked before memory is taken."""
    import zstandard

    try:
        stated = zstandard.frame_content_size(data)
        if not 0 <= stated <= limit:
            raise bad_table("has a frame that is too large")
        return zstandard.ZstdDecompressor(max_window_size=1 << 23).decompress(data, max_output_size=stated or 1)
    except (zstandard.ZstdError, MemoryError) as broken:
        raise StoreError(f"a frame of a cache volume's pack is damaged: {broken}", code="volume.bad-frame") from broken


def encode_ref(pack: PackRef) -> "dict[str, Any]":
    table = {"offset": pack.table_at, "size": pack.table_bytes, "sha256": pack.table_sha256}
    document = {"digest": str(pack.digest), "size": pack.size_bytes, "table": table, "by": encode_vector(pack.by)}
    return {**document, "replaces": list(pack.replaces)} if pack.replaces else document


def decode_ref(document: "dict[str, Any]") -> PackRef:
    table = document["table"]
    pack = PackRef(
        Digest(document["digest"]),
        document["size"],
        table["offset"],
        table["size"],
        table["sha256"],
        decode_vector(document["by"]),
        tuple(document.get("replaces", ())),
    )
    if not all(map(table_check.is_count, (pack.size_bytes, pack.table_at, pack.table_bytes))) or not table_check.is_vector(pack.by):
        raise bad_table("is at a place that can't be")
    if len(pack.replaces) > MAX_REPLACED or not all(isinstance(mark, str) for mark in pack.replaces):
        raise bad_table("replaces more packs than there can be")
    if pack.table_bytes > MAX_TABLE_BYTES or pack.table_at + pack.table_bytes > pack.size_bytes:
        raise bad_table("is not inside its pack, or too large")
    return pack


def parents_first(entries: "Iterable[Entry]") -> list[Entry]:
    """Directories before what is in them."""
    return sorted(entries, key=lambda entry: (len(ancestors(entry.path)), entry.path))

"""A delta as one blob, in the zstd:chunked manner: a valid tar.zst of frames that can be read alone, and a table of contents behind them.

Small files share a frame of up to FRAME_BYTES; a larger one has frames of its own of up to CHUNK_BYTES. The table is the payload of a skippable
frame (RFC 8878, 3.1.2) at the end; where it is and its sha256 are in the head's document, so a table is verified before it is
parsed. The tar around the contents is for people and other tools: nothing is ever read from it.
"""

import hashlib

from chandlery.errors import StoreError
from chandlery.oci.digest import Digest
from chandlery.values import compact, value
from chandlery.volume import table_check
from chandlery.volume.json_rows import JsonRows
from chandlery.volume.pieces import Pieces
from chandlery.volume.table_check import bad_table
from chandlery.volume.tree import Entry, EntryDecoder, EntryType, VersionVector, check_format, decode_vector, encode_vector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

FRAME_BYTES = 256 << 10
CHUNK_BYTES = 4 << 20
MAX_TABLE_BYTES, MAX_PLAIN_TABLE_BYTES = 64 << 20, 96 << 20
MAX_REPLACED = 256
_MAX_WINDOW, _PIECE_BYTES = 1 << 23, 64 << 10
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


@compact
class Frame:
    start: int
    size_bytes: int
    plain_bytes: int


@value
class Table:
    """`pieces` are those of the files among `entries`, by their number there."""

    entries: tuple[Entry, ...]
    frames: tuple[Frame, ...]
    pieces: Pieces


def read_table(data: bytes, pack: PackRef) -> Table:
    """The table of a pack from its bytes, which a mirror may have chosen. Raises StoreError volume.bad-table, volume.format."""
    if len(data) != pack.table_bytes or hashlib.sha256(data).hexdigest() != pack.table_sha256:
        raise bad_table("is not the one that the head names")
    rows = JsonRows(expand_in_pieces(data, MAX_PLAIN_TABLE_BYTES), ("entries", "frames"))
    table = _TableInParts()
    problem: Exception | None = None
    try:
        for number, (key, row) in enumerate(rows):
            if number > table_check.MAX_ENTRIES + table_check.MAX_FRAMES:
                raise bad_table("has too many rows")
            # what is wrong in a table of another format isn't known
            if problem is None:
                try:
                    table.add(key, row)
                except (KeyError, TypeError, ValueError, AttributeError, OverflowError, StoreError) as broken:
                    problem = broken
        check_format(rows.rest)
        if problem is not None:
            raise problem
        if not {"entries", "frames"} <= rows.rest.keys():
            raise bad_table("lacks what a table has")
        return table.checked(pack)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as broken:
        raise bad_table(f"can't be read ({type(broken).__name__})") from broken


class _TableInParts:
    """A table whose rows come one after the other, and the frames, which pieces name, perhaps last."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._frames: list[Frame] = []
        self._pieces = Pieces()
        self._decoder = EntryDecoder()

    def add(self, key: str, row: "Any") -> None:
        if key == "frames":
            self._frames.append(Frame(*row))
            if len(self._frames) > table_check.MAX_FRAMES:
                raise bad_table("has too many frames")
            return
        entry = self._decoder.decode(row)
        table_check.check_entry(entry)
        self._entries.append(entry)
        if len(self._entries) > table_check.MAX_ENTRIES:
            raise bad_table("has too many entries")
        if entry.type is EntryType.FILE:
            table_check.check_pieces(row["pieces"], entry.size)
            for piece in row["pieces"]:
                self._pieces.add(*piece)
            if len(self._pieces) > table_check.MAX_PIECES:
                raise bad_table("has too many pieces")
        self._pieces.end_row()

    def checked(self, pack: PackRef) -> Table:
        table_check.check_frames(self._frames, end=pack.table_at, most_plain_bytes=_MAX_FRAME)
        table_check.check_places(self._pieces, self._frames)
        table_check.check_tree(self._entries)
        return Table(tuple(self._entries), tuple(self._frames), self._pieces)


def expand(data: bytes, limit: int) -> bytes:
    """One zstd frame's plain bytes, which must be `limit` at most: the frame's header is asked before memory is taken."""
    import zstandard

    try:
        stated = _stated_size(data, limit)
        return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompress(data, max_output_size=stated or 1)
    except (zstandard.ZstdError, MemoryError) as broken:
        raise _bad_frame(broken) from broken


def expand_in_pieces(data: bytes, limit: int) -> "Iterator[bytes]":
    """The same a piece at a time."""
    import zstandard

    try:
        left = _stated_size(data, limit)
        with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(data) as reader:
            while piece := reader.read(_PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    raise bad_table("has a frame that is larger than it says")
                yield piece
    except (zstandard.ZstdError, MemoryError) as broken:
        raise _bad_frame(broken) from broken
    if left:
        raise bad_table("has a frame that is smaller than it says")


def _stated_size(data: bytes, limit: int) -> int:
    import zstandard

    stated = zstandard.frame_content_size(data)
    if not 0 <= stated <= limit:
        raise bad_table("has a frame that is too large")
    return stated


def _bad_frame(broken: Exception) -> StoreError:
    return StoreError(f"a frame of a cache volume's pack is damaged: {broken}", code="volume.bad-frame")


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
    return sorted(sorted(entries, key=lambda entry: entry.path), key=_depth)


def _depth(entry: Entry) -> int:
    return entry.path.count("/") + 1 if entry.path else 0

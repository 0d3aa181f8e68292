"""A delta as one blob, in the zstd:chunked manner: a valid tar.zst of frames that can be read alone, and a table of contents behind them.

Small files share a frame of up to FRAME_BYTES; a larger one has frames of its own of up to CHUNK_BYTES. The table is the payload of a skippable
frame (RFC 8878, 3.1.2) at the end; where it is and its sha256 are in the head's document, so a table is verified before it is
parsed. The tar around the contents is for people and other tools: nothing is ever read from it.
"""

import hashlib
import struct

from chandlery.errors import StoreError
from chandlery.oci import canonical
from chandlery.oci.digest import Digest, from_hex
from chandlery.values import value
from chandlery.volume import table_check
from chandlery.volume.table_check import bad_table
from chandlery.volume.tree import (
    Entry,
    EntryType,
    VersionVector,
    ancestors,
    check_format,
    decode_entry,
    decode_path,
    decode_vector,
    encode_entry,
    encode_vector,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, BinaryIO

FRAME_BYTES = 256 << 10
CHUNK_BYTES = 4 << 20
MAX_TABLE_BYTES, MAX_PLAIN_TABLE_BYTES = 64 << 20, 96 << 20
_MAX_FRAME = CHUNK_BYTES + FRAME_BYTES + (64 << 10)
_LEVEL = 3
_SKIPPABLE = 0x184D2A50


@value
class PackRef:
    """A pack as a head names it. `by` says which deltas it is needed for."""

    digest: Digest
    size_bytes: int
    table_at: int
    table_bytes: int
    table_sha256: str
    by: VersionVector


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


class Writer:
    """Writes one pack to a file. `add` each entry with what opens its content; then `finish`."""

    def __init__(self, path: str, forbidden: tuple[bytes, ...] = ()) -> None:
        import zstandard

        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 (closed by finish or close)
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._hasher = hashlib.sha256()
        self._forbidden = forbidden
        self._at = 0
        self._plain = bytearray()
        self._frames: list[list[int]] = []
        self._entries: list[dict[str, Any]] = []
        self.left_out: list[str] = []

    def add(self, entry: Entry, open_content: "Callable[[], BinaryIO] | None") -> None:
        """One entry; a file whose content holds something forbidden is left out, whole."""
        document = encode_entry(entry)
        if open_content is None:
            self._plain += _tar_header(entry, 0)
            self._entries.append(document)
            return
        if self._forbidden and _holds(open_content, self._forbidden):
            self.left_out.append(entry.path)
            return
        if len(self._plain) + entry.size > FRAME_BYTES:
            self._flush()
        self._plain += _tar_header(entry, entry.size)
        hasher, pieces, left = hashlib.sha256(), [], entry.size
        with open_content() as content:
            while left:
                if len(self._plain) >= CHUNK_BYTES:
                    self._flush()
                data = content.read(min(left, CHUNK_BYTES - len(self._plain)))
                if not data:
                    raise StoreError(f"{entry.path} became shorter while it was packed", code="volume.changed")
                pieces.append([len(self._frames), len(self._plain), len(data)])
                self._plain += data
                hasher.update(data)
                left -= len(data)
        if entry.sha256 and hasher.hexdigest() != entry.sha256:
            raise StoreError(f"{entry.path} is damaged in this store", code="volume.damaged", hint="chandlery volume verify shows what is")
        self._plain += b"\0" * (-entry.size % 512)
        self._entries.append({**document, "sha256": hasher.hexdigest(), "pieces": pieces})
        if entry.size >= FRAME_BYTES:
            self._flush()

    def leave_out(self, is_unwanted: "Callable[[str], bool]") -> None:
        """Take entries that were added out of the table; nobody then finds their bytes."""
        gone = {entry["path"]: decode_path(entry["path"]) for entry in self._entries if is_unwanted(decode_path(entry["path"]))}
        self._entries = [entry for entry in self._entries if entry["path"] not in gone]
        self.left_out.extend(gone.values())

    def finish(self, by: VersionVector) -> PackRef:
        """Write the table and close the file; how a head names the pack."""
        self._plain += b"\0" * 1024
        self._flush()
        if len(self._entries) > table_check.MAX_ENTRIES:
            raise StoreError(f"{len(self._entries)} files are too many for one pack", code="volume.too-many-entries")
        plain = canonical.encode({"format": 1, "frames": self._frames, "entries": self._entries})
        table = self._compressor.compress(plain)
        self._write(struct.pack("<II", _SKIPPABLE, len(table)))
        at = self._at
        self._write(table)
        self._file.flush()
        self._file.close()
        return PackRef(from_hex(self._hasher.hexdigest()), self._at, at, len(table), hashlib.sha256(table).hexdigest(), by)

    def close(self) -> None:
        self._file.close()

    def _flush(self) -> None:
        if self._plain:
            frame = self._compressor.compress(bytes(self._plain))
            self._frames.append([self._at, len(frame), len(self._plain)])
            self._write(frame)
            self._plain = bytearray()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hasher.update(data)
        self._at += len(data)


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
    return {"digest": str(pack.digest), "size": pack.size_bytes, "table": table, "by": encode_vector(pack.by)}


def decode_ref(document: "dict[str, Any]") -> PackRef:
    table = document["table"]
    pack = PackRef(Digest(document["digest"]), document["size"], table["offset"], table["size"], table["sha256"], decode_vector(document["by"]))
    if not all(map(table_check.is_count, (pack.size_bytes, pack.table_at, pack.table_bytes))) or not table_check.is_vector(pack.by):
        raise bad_table("is at a place that can't be")
    if pack.table_bytes > MAX_TABLE_BYTES or pack.table_at + pack.table_bytes > pack.size_bytes:
        raise bad_table("is not inside its pack, or too large")
    return pack


def _holds(open_content: "Callable[[], BinaryIO]", forbidden: tuple[bytes, ...]) -> bool:
    overlap = max(map(len, forbidden)) - 1
    tail = b""
    with open_content() as content:
        while data := content.read(1 << 20):
            window = tail + data
            if any(text in window for text in forbidden):
                return True
            tail = window[-overlap:] if overlap else b""
    return False


def _tar_header(entry: Entry, size: int) -> bytes:
    import tarfile

    info = tarfile.TarInfo(entry.path or ".")
    info.mode, info.uid, info.gid, info.mtime, info.size = entry.mode, entry.uid, entry.gid, entry.mtime_ns // 10**9, size
    info.type = _TAR_TYPES[entry.type]
    info.linkname = entry.target
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


_TAR_TYPES = {EntryType.FILE: b"0", EntryType.DIRECTORY: b"5", EntryType.SYMLINK: b"2", EntryType.HARD_LINK: b"1"}


def parents_first(entries: "Iterable[Entry]") -> list[Entry]:
    """Directories before what is in them."""
    return sorted(entries, key=lambda entry: (len(ancestors(entry.path)), entry.path))

"""What a pack's table of contents must satisfy before anything is made of it. Pure.

A table's sha256 comes from a head, and whoever may write heads is trusted with what files contain; a table may still be made to write elsewhere, to fill the
disk or the memory, or to stop a build. So everything is bounded, and what no volume can hold is refused with its whole table, code volume.bad-table.
"""

import itertools
import json
import os

from chandlery.errors import StoreError
from chandlery.volume import nodes
from chandlery.volume.tree import MAX_COUNT, Entry, EntryType, Version, VersionVector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from chandlery.volume.pack import Frame
    from chandlery.volume.pieces import Pieces

MAX_ENTRIES = 400_000
# a terabyte in the largest frames there are
MAX_FRAMES, MAX_PIECES = 300_000, 1_000_000
MAX_PATH_BYTES = 3500
MAX_TARGET_BYTES = 4095
# what the packs of one head may hold, expanded
MAX_PLAIN_BYTES = 1 << 40
_MAX_SLOT = 100
_MAX_SCOPE = 1000
_MAX_ID = (1 << 32) - 2
_MAX_ATTRIBUTES, _MAX_ATTRIBUTE_BYTES = 64, 64 << 10
_HEX = frozenset("0123456789abcdef")


def bad_table(why: str) -> StoreError:
    return StoreError(f"the table of contents of a cache volume's pack {why}", code="volume.bad-table", hint="it is ignored; publishing again replaces it")


def parse(plain: bytes) -> "Any":
    """JSON from outside."""
    try:
        return json.loads(plain)
    except (ValueError, RecursionError) as broken:
        raise bad_table(f"can't be read ({type(broken).__name__})") from broken


def is_count(number: object) -> bool:
    """Whether a number can count deltas, bytes or steps; True and False are none."""
    return type(number) is int and 0 <= number <= MAX_COUNT


def is_vector(vector: VersionVector) -> bool:
    return all(is_slot(slot) and is_count(count) for slot, count in vector.seen)


def is_slot(slot: object) -> bool:
    return isinstance(slot, str) and 0 < len(slot) <= _MAX_SLOT and slot.isascii() and slot.isprintable()


def is_path(path: str) -> bool:
    """Whether a volume can hold something of that name; "" is its root."""
    raw = os.fsencode(path)
    parts = raw.split(b"/") if raw else []
    return len(raw) <= MAX_PATH_BYTES and b"\0" not in raw and not any(part in (b"", b".", b"..") or len(part) > 255 for part in parts)


def check_entry(entry: Entry) -> None:
    """Refuse an entry that couldn't come from a volume, whatever else is in the table."""
    if not is_path(entry.path):
        raise bad_table("names a path that can't be")
    _check_metadata(entry)
    match entry.type:
        case EntryType.FILE:
            is_possible = len(entry.sha256) == 64 and _HEX.issuperset(entry.sha256) and is_path(entry.target)
        case EntryType.SYMLINK:
            is_possible = _is_target(entry.target) and not entry.size and not entry.xattrs
        case EntryType.DIRECTORY:
            is_possible = not entry.size and not entry.target
        case EntryType.HARD_LINK:
            # each name is published as a file of its own
            is_possible = False
    if not is_possible:
        raise bad_table("has an entry that no volume holds")


def check_tree(entries: "Sequence[Entry]") -> None:
    """Each path once, and each in a directory of the same table, so below no file and no symlink."""
    kinds = {entry.path: entry.type for entry in entries}
    if len(kinds) != len(entries):
        raise bad_table("has a path twice")
    for path, kind in kinds.items():
        if (kind if not path else kinds.get(path.rpartition("/")[0])) is not EntryType.DIRECTORY:
            raise bad_table("has a path that is in no directory")


def check_frames(frames: "Sequence[Frame]", *, end: int, most_plain_bytes: int) -> None:
    """Frames lie before `end` one behind the other, and none is larger than is read at once."""
    for frame in frames:
        numbers = (frame.start, frame.size_bytes, frame.plain_bytes)
        if not all(map(is_count, numbers)) or not frame.size_bytes or frame.start + frame.size_bytes > end:
            raise bad_table("names a frame outside its pack")
        if not 0 < frame.plain_bytes <= most_plain_bytes:
            raise bad_table("names a frame that is too large")
    ordered = sorted(frames, key=lambda frame: frame.start)
    if any(one.start + one.size_bytes > other.start for one, other in itertools.pairwise(ordered)):
        raise bad_table("names frames that overlap")
    if sum(frame.plain_bytes for frame in frames) > MAX_PLAIN_BYTES:
        raise bad_table("names frames that are too large together")


def check_pieces(pieces: "Sequence[Sequence[int]]", size_bytes: int) -> None:
    """A file's pieces, each [frame, at, size], are numbers that can be, and as long as the file."""
    total = 0
    for frame, at, size in pieces:
        if not (is_count(frame) and is_count(at) and is_count(size) and size):
            raise bad_table("names a piece outside its frame")
        total += size
    if total != size_bytes:
        raise bad_table("has a file of another size than its pieces")


def check_places(pieces: "Pieces", frames: "Sequence[Frame]") -> None:
    """Pieces lie in frames, and no two files are made of the same bytes: a pack never becomes more than its frames hold."""
    last = (-1, 0)
    is_ordered = True
    for frame, at, size in pieces.all():
        if frame >= len(frames) or at + size > frames[frame].plain_bytes:
            raise bad_table("names a piece outside its frame")
        is_ordered = is_ordered and (frame, at) >= last
        last = (frame, at + size)
    # as every writer has them
    if is_ordered:
        return
    if any(one[0] == other[0] and one[1] + one[2] > other[1] for one, other in itertools.pairwise(sorted(pieces.all()))):
        raise bad_table("names pieces that overlap")


def _check_metadata(entry: Entry) -> None:
    if not (is_count(entry.size) and _is_version(entry.version) and type(entry.mtime_ns) is int and -(1 << 63) <= entry.mtime_ns < 1 << 63):
        raise bad_table("has metadata that can't be")
    if not all(type(owner) is int and 0 <= owner <= _MAX_ID for owner in (entry.uid, entry.gid)):
        raise bad_table("has metadata that can't be")
    if type(entry.mode) is not int or not 0 <= entry.mode <= nodes.DIRECTORY_MODE or (not entry.is_directory and entry.mode > nodes.FILE_MODE):
        raise bad_table("has metadata that can't be")
    if not isinstance(entry.only_in, str) or len(entry.only_in) > _MAX_SCOPE:
        raise bad_table("has metadata that can't be")
    if len(entry.xattrs) > _MAX_ATTRIBUTES or not all(_is_attribute(name, content) for name, content in entry.xattrs):
        raise bad_table("has an attribute that a volume doesn't keep")


def _is_version(version: Version) -> bool:
    return is_slot(version.slot) and is_count(version.lamport) and is_count(version.sequence)


def _is_target(target: str) -> bool:
    return 0 < len(os.fsencode(target)) <= MAX_TARGET_BYTES and "\0" not in target


def _is_attribute(name: str, content: bytes) -> bool:
    return nodes.is_kept_attribute(name) and len(name.encode()) <= 255 and "\0" not in name and len(content) <= _MAX_ATTRIBUTE_BYTES

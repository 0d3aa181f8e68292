"""Few packs instead of many, so that a fresh machine needs few requests.

Small packs become one with what is published next; large ones when there are too many for a manifest. Frames of large files are taken over as they are;
what was superseded or removed is left out, and so is what may not leave a machine: whoever published it may not have known. Nothing of this needs the
volume: a pack is made of packs.
"""

from chandlery.errors import ChandleryError
from chandlery.volume import pack
from chandlery.volume.merge import precedence
from chandlery.volume.pack import FRAME_BYTES, MAX_REPLACED, PackRef
from chandlery.volume.pack_reader import PackReader
from chandlery.volume.sharing_rules import may_share
from chandlery.volume.tombstones import is_removed
from chandlery.volume.tree import Entry, EntryType, VersionVector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from chandlery.volume.pack_writer import Writer

# so many packs are left alone: what is published then costs its own bytes
FEW_PACKS = 3
# this much is moved again without a second thought: some tenths of a second, beside the build
CHEAP_BYTES = 8 << 20
# beyond this only what must be: a manifest holds 64
_DEAR_BYTES = 256 << 20
_MANY_PACKS = 48


def to_merge(packs: "Sequence[PackRef]", added_bytes: int) -> list[PackRef]:
    """Which packs become one with a new one of about that size.

    As in a log-structured tree: a pack is taken while it isn't larger than twice what it joins, so each byte is moved again a logarithmic number of times.
    """
    if len(packs) < FEW_PACKS:
        return []
    chosen: list[PackRef] = []
    moved = 0
    for item in sorted(packs, key=lambda item: (item.size_bytes, item.digest)):
        is_worth_it = item.size_bytes <= 2 * (added_bytes + moved)
        if len(packs) < _MANY_PACKS:
            goes_on = (is_worth_it or moved + item.size_bytes <= CHEAP_BYTES) and moved + item.size_bytes <= _DEAR_BYTES
        else:
            goes_on = is_worth_it or len(packs) - len(chosen) >= FEW_PACKS
        if not goes_on:
            break
        chosen.append(item)
        moved += item.size_bytes
    return chosen if added_bytes or len(chosen) > 1 else []


def fetched(readers: "Iterable[PackReader]") -> list[PackReader]:
    """Those that could be had whole."""
    result = []
    for reader in readers:
        try:
            reader.fetch_whole()
            reader.read_table()
        except (ChandleryError, OSError, ValueError):
            continue
        result.append(reader)
    return result


def replaced(readers: "Sequence[PackReader]") -> tuple[str, ...]:
    """What a pack made of these stands for: heads of slow writers may name those for a while. Not for ever, so the last ones alone."""
    marks = {mark: None for reader in readers for mark in (*reader.ref.replaces, reader.ref.mark)}
    return tuple(sorted(tuple(marks)[-MAX_REPLACED:]))


def winners(readers: "Sequence[PackReader]", tombstones: "Mapping[str, VersionVector]") -> "dict[str, tuple[Entry, PackReader]]":
    """What packs show together."""
    best: dict[str, tuple[Entry, PackReader]] = {}
    for reader in readers:
        for entry in reader.read_table().entries:
            known = best.get(entry.path)
            if may_share(entry) and not is_removed(entry, tombstones) and (known is None or precedence(known[0].version) < precedence(entry.version)):
                best[entry.path] = (entry, reader)
    return best


def copy(writer: "Writer", reader: PackReader, is_wanted: "Callable[[Entry], bool]") -> None:
    """Write what is wanted of one pack, which is here, to another, without its directories; large files' frames as they are."""
    table = reader.read_table()
    rows = [row for row, entry in enumerate(table.entries) if not entry.is_directory and is_wanted(entry)]
    for row in rows:
        if table.entries[row].type is not EntryType.FILE:
            writer.add(table.entries[row], None)
    plain: tuple[int, bytes] = (-1, b"")
    for row in sorted([row for row in rows if table.entries[row].type is EntryType.FILE], key=table.pieces.first_frame):
        entry, pieces = table.entries[row], list(table.pieces.of(row))
        if entry.size >= FRAME_BYTES:
            if not writer.refuses(entry, (_expanded(reader, piece.frame)[piece.at : piece.at + piece.size_bytes] for piece in pieces)):
                writer.add_frames(entry, _raw(reader, [piece.frame for piece in pieces]), [(piece.at, piece.size_bytes) for piece in pieces])
            continue
        content = b""
        for piece in pieces:
            if plain[0] != piece.frame:
                plain = (piece.frame, _expanded(reader, piece.frame))
            content += plain[1][piece.at : piece.at + piece.size_bytes]
        if not writer.refuses(entry, (content,)):
            writer.add_content(entry, content)


def _raw(reader: PackReader, numbers: list[int]) -> "Iterator[tuple[bytes, int]]":
    for number, data in reader.frames(numbers):
        yield data, reader.read_table().frames[number].plain_bytes


def _expanded(reader: PackReader, number: int) -> bytes:
    ((_, data),) = reader.frames([number])
    return pack.expand(data, reader.read_table().frames[number].plain_bytes)

"""Gradle's indexes of what it downloaded, caches/modules-2/metadata-*/*.bin: which module, file or address is what. Pure.

A file of blocks: a type, the room for its payload, the payload, how many bytes that were up to here, and what room is left. The first is a list of free
space, the second leads to a B-tree by the keys' hashes, whose nodes have room for 512 entries. Two files merge to one with the entries of both, written in
order, so that any order of merging gives the same bytes. A form that isn't known is not merged.
"""

import re
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PLACE = re.compile(r"(?:^|/)modules-\d+/metadata-[^/]+/[^/]+\.bin$")
_FREE, _HEADER, _NODE, _DATA = 0x44, 0x55, 0x77, 0x33
_MOST = 512
_NOWHERE = -1
_BLOCK, _ROOT, _ENTRY = struct.Struct(">Bi"), struct.Struct(">qh"), struct.Struct(">qqq")
_FREE_BYTES, _NODE_BYTES = 16 + 12 * _MOST, 12 + _ENTRY.size * _MOST
_AROUND = _BLOCK.size + 4
_HEADER_AT = _AROUND + _FREE_BYTES
_TREE_AT = _HEADER_AT + _AROUND + _ROOT.size


def is_index(path: str) -> bool:
    return _PLACE.search(path) is not None


def is_sound(content: bytes) -> bool:
    return _read(content) is not None


def merged(ours: bytes, theirs: bytes) -> bytes | None:
    """The entries of both; of two for one key the larger. None where one can't be read."""
    mine, other = _read(ours), _read(theirs)
    if mine is None or other is None:
        return None
    return _written({key: max(mine.get(key, b""), other.get(key, b"")) for key in mine.keys() | other.keys()})


def _read(content: bytes) -> dict[int, bytes] | None:
    """The values by their keys' hashes; None for what isn't such a file, or is damaged."""
    found: dict[int, bytes] = {}
    try:
        root, most = _ROOT.unpack(_payload(content, _HEADER_AT, _HEADER, lambda _: _ROOT.size))
        if most != _MOST:
            return None
        pending, seen = [root], set()
        while pending:
            place = pending.pop()
            if place in seen:
                return None
            seen.add(place)
            entries, tail = _entries(_payload(content, place, _NODE, lambda start: 12 + _ENTRY.size * _int_at(content, start)))
            for key, data, _ in entries:
                found[key] = _payload(content, data, _DATA, lambda start: 8 + _int_at(content, start + 4))[8:]
            pending += [child for child in (*[child for _, _, child in entries], tail) if child != _NOWHERE]
    except (struct.error, ValueError):
        return None
    return found


def _payload(content: bytes, place: int, kind: int, used: "Callable[[int], int]") -> bytes:
    """What a block holds; `used` says how much, by where it begins. Raises ValueError or struct.error if there is none of its kind."""
    if place < 0:
        raise ValueError(place)
    found, room = _BLOCK.unpack_from(content, place)
    start = place + _BLOCK.size
    size = used(start)
    if found != kind or not 0 <= size <= room or _int_at(content, start + size) != size + _BLOCK.size:
        raise ValueError(place)
    return content[start : start + size]


def _int_at(content: bytes, place: int) -> int:
    found: int = struct.unpack_from(">i", content, place)[0]
    return found


def _entries(node: bytes) -> "tuple[list[tuple[int, int, int]], int]":
    """Each entry's key, where its value is, and the node with what is less; and the node with what is more."""
    return list(_ENTRY.iter_unpack(node[4:-8])), struct.unpack(">q", node[-8:])[0]


def _written(values: dict[int, bytes]) -> bytes | None:
    """One node, or nodes of about one size below one. None for more than that can hold."""
    keys = sorted(values)
    leaves = (len(keys) + _MOST + 1) // (_MOST + 1) or 1
    if leaves > _MOST + 1:
        return None
    # the nodes come first, then the values in order
    data_at = _TREE_AT + (leaves + (leaves > 1)) * (_AROUND + _NODE_BYTES)
    places: dict[int, int] = {}
    data = bytearray()
    for key in keys:
        places[key] = data_at + len(data)
        data += _block(_DATA, struct.pack(">ii", len(values[key]), len(values[key])) + values[key], 8 + len(values[key]))
    nodes = bytearray()
    between: list[tuple[int, int]] = []
    bounds = [(len(keys) + 1) * number // leaves for number in range(leaves + 1)]
    for number in range(leaves):
        first, last = bounds[number], bounds[number + 1] - 1
        child = _TREE_AT + len(nodes)
        nodes += _node([(key, places[key], _NOWHERE) for key in keys[first:last]], _NOWHERE)
        between.append((child, last))
    root = _TREE_AT
    if leaves > 1:
        root += len(nodes)
        nodes += _node([(keys[last], places[keys[last]], child) for child, last in between[:-1]], between[-1][0])
    free = _block(_FREE, struct.pack(">qii", _NOWHERE, 0, 0), _FREE_BYTES)
    return free + _block(_HEADER, _ROOT.pack(root, _MOST), _ROOT.size) + bytes(nodes) + bytes(data)


def _node(entries: "Sequence[tuple[int, int, int]]", tail: int) -> bytes:
    content = struct.pack(">i", len(entries)) + b"".join([_ENTRY.pack(*entry) for entry in entries]) + struct.pack(">q", tail)
    return _block(_NODE, content, _NODE_BYTES)


def _block(kind: int, payload: bytes, room: int) -> bytes:
    used = _BLOCK.pack(kind, room) + payload + struct.pack(">i", _BLOCK.size + len(payload))
    return used.ljust(room + _AROUND, b"\0")

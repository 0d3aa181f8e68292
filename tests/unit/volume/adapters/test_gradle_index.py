"""Gradle's indexes of modules: recorded, merged, and too large for one node."""

import base64
import itertools
import struct
import zlib

import pytest
from tests.unit.volume.adapters.test_known import Tree

from chandlery.volume.adapters import gradle_index, known

PATH = "caches/modules-2/metadata-2.36/module-metadata.bin"
# what Gradle 4.4.1 wrote about six modules
RECORDED = zlib.decompress(
    base64.b85decode(
        "c-"
        "rmRu`7gO9KiACu8unDwa69QS(HJYvQm`ABxO~XSs5;ox`EkZkm*>(CS_7KlWe9_Qm*^~rt@6)yea+x>GP@I^FGh_8K3c8452d8O~SX)00000008_uYjMi`ZDqRH`(%v}W`^Tt;BfzH_h"
        "_(q-@jgd$^Rdm&n?yV8qc$-FXa8<>FslK`}!vJX5Jr9S6^3lhU%$r<h?Z2sh>=?+o|8>z1%!_zg?d{PQBIrA;y-M0{{R3000000001h-"
        ")eEj;$*!k#HDbSRmU$cK0;|Lo+keK{TIyOc;E"
    )
)
TREE_AT, NODE_BYTES = 6188, 12309


def made(values):
    """A file of one node, as Gradle lays it out, with room to spare behind each value."""
    data, entries = b"", b""
    for key in sorted(values):
        entries += struct.pack(">qqq", key, TREE_AT + NODE_BYTES + len(data), -1)
        content = struct.pack(">ii", len(values[key]) + 3, len(values[key])) + values[key]
        data += struct.pack(">Bi", 0x33, len(content) + 3) + content + struct.pack(">i", len(content) + 5) + b"old"
    node = struct.pack(">i", len(values)) + entries + struct.pack(">q", -1)
    whole = struct.pack(">Bi", 0x77, 12300) + node + struct.pack(">i", len(node) + 5)
    return RECORDED[: TREE_AT - 19] + struct.pack(">BiqhI", 0x55, 10, TREE_AT, 512, 15) + whole.ljust(NODE_BYTES, b"\0") + data


def found(content, key):
    """A value as Gradle looks it up, node by node; b"" for none."""
    place = struct.unpack_from(">q", content, TREE_AT - 14)[0]
    while place != -1:
        (count,) = struct.unpack_from(">i", content, place + 5)
        entries = [struct.unpack_from(">qqq", content, place + 9 + 24 * number) for number in range(count)]
        tail = struct.unpack_from(">q", content, place + 9 + 24 * count)[0]
        here = next((data for this, data, _ in entries if this == key), None)
        if here is not None:
            return content[here + 13 : here + 13 + struct.unpack_from(">i", content, here + 9)[0]]
        place = next((child for this, _, child in entries if key < this), tail)
    return b""


def test_a_recorded_one_is_read_and_merged_with_another():
    merged = known.merge_index(PATH, RECORDED, made({7: b"seven"}))
    assert found(merged, 7) == b"seven"
    assert struct.unpack_from(">i", merged, TREE_AT + 5) == (7,)
    assert known.merge_index(PATH, merged, RECORDED) == merged
    assert known.may_share(PATH, Tree({PATH: RECORDED}))
    assert known.unit_of(PATH) == ""


def test_any_order_gives_the_same_bytes():
    files = [made({1: b"a", number + 2: b"own", -5: bytes([number])}) for number in range(3)]
    results = {known.merge_index(PATH, known.merge_index(PATH, one, two), three) for one, two, three in itertools.permutations(files)}
    (result,) = results
    assert [found(result, key) for key in (-5, 1, 2, 3, 4, 9)] == [b"\2", b"a", b"own", b"own", b"own", b""]


@pytest.mark.parametrize("count", [512, 513, 1026, 5000])
def test_more_than_a_node_holds_goes_into_several(count):
    content = made({})
    for start in range(0, count, 400):
        content = gradle_index.merged(content, made({key * 2**40: b"%d" % key for key in range(start, min(count, start + 400))}))
    assert [key for key in range(count) if found(content, key * 2**40) != b"%d" % key] == []
    assert found(content, 1) == b""


@pytest.mark.parametrize("damage", [slice(0, 9000), slice(TREE_AT, TREE_AT + 1), slice(TREE_AT + 8, TREE_AT + 9), slice(18490, 18520)])
def test_a_damaged_one_is_neither_merged_nor_vouched_for(damage):
    content = bytearray(RECORDED)
    content[damage] = b"\xff" * len(content[damage])
    assert known.merge_index(PATH, bytes(content), RECORDED) is None
    assert not known.may_share(PATH, Tree({PATH: bytes(content)}))


@pytest.mark.parametrize("content", [b"", b"x" * 20000, RECORDED[:-9]])
def test_other_content_is_left_to_one_side(content):
    assert known.merge_index(PATH, RECORDED, content) is None

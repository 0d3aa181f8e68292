"""BuildKit's cache document: read as BuildKit writes it, written so that it reads the same, and refused where it can't be one."""

import json

import pytest

from chandlery.buildcache.buildkit_config import CacheConfig, CacheLayer, CacheRecord, CacheResult, Link, decode, decode_inline, encode, encode_records
from chandlery.errors import LyingRegistry
from chandlery.oci.digest import sha256

A, B, C = (sha256(letter) for letter in (b"a", b"b", b"c"))
TIME = "2024-01-02T03:04:05.678901234Z"
CONFIG = CacheConfig(
    (CacheLayer(A), CacheLayer(B, 0, TIME), CacheLayer(B, 1)),
    (CacheRecord(A), CacheRecord(B, ((Link(0, C), Link(0)),), (CacheResult(1, created=TIME),)), CacheRecord(C, ((Link(0),), (Link(1),)), (CacheResult(2),))),
)


def test_a_document_comes_back_as_it_was_written():
    assert decode(encode(CONFIG)) == CONFIG
    assert encode(decode(encode(CONFIG))) == encode(CONFIG)


def test_records_alone_come_back_with_the_image_s_layers():
    assert decode_inline(encode_records(CONFIG), CONFIG.layers) == CONFIG


def test_what_go_leaves_away_is_zero():
    document = {"layers": [{"blob": A, "parent": -1}, {"blob": B}], "records": [{"digest": A}, {"digest": B, "inputs": [[{}]], "layers": [{"layer": 1}]}]}
    found = decode(json.dumps(document).encode())
    assert found.layers[1].parent == 0
    assert found.records[1].inputs == ((Link(0),),)
    assert [layer.blob for layer in found.chain(found.records[1].results[0])] == [A, B]


def test_a_chain_of_its_own_order_is_read():
    document = {"layers": [{"blob": A, "parent": -1}, {"blob": B, "parent": -1}], "records": [{"digest": A, "chains": [{"layers": [1, 0], "createdAt": TIME}]}]}
    found = decode(json.dumps(document).encode())
    assert [layer.blob for layer in found.chain(found.records[0].results[0])] == [B, A]


def test_an_empty_document_is_one():
    assert decode(b"{}") == CacheConfig()
    assert decode_inline(b"null", ()) == CacheConfig()


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": [{"blob": A, "parent": 1}, {"blob": B, "parent": 0}]},
        {"layers": [{"blob": A, "parent": 0}]},
        {"layers": [{"blob": A, "parent": -2}]},
        {"layers": [{"blob": "x", "parent": -1}]},
        {"layers": [{"blob": A, "parent": at - 1} for at in range(600)]},
        {"records": [{"digest": A, "inputs": [[{"link": 1}]]}, {"digest": B, "inputs": [[{"link": 0}]]}]},
        {"records": [{"digest": A, "inputs": [[{"link": 0}]]}]},
        {"records": [{"digest": A, "inputs": [[{"link": 1}]]}]},
        {"records": [{"digest": A, "inputs": [[]]}]},
        {"records": [{"digest": A, "layers": [{"layer": 0}]}]},
        {"records": [{"digest": "md5:1"}]},
        {"records": 7},
    ],
)
def test_what_no_document_can_say_is_refused(changes):
    with pytest.raises(LyingRegistry) as raised:
        decode(json.dumps(changes).encode())
    assert raised.value.code == "cache.bad-config"


@pytest.mark.parametrize("raw", [b"", b"no", b"[]", b"7", b"[" * 100_000, b"\xff", b" " * (9 << 20)])
def test_what_is_no_document_is_refused(raw):
    with pytest.raises(LyingRegistry) as raised:
        decode(raw)
    assert raised.value.code == "cache.bad-config"


def test_a_large_document_takes_no_long():
    rows = [{"blob": A, "parent": at % 500 - 1 if at % 500 else -1} for at in range(20_000)]
    records = [{"digest": A, "layers": [{"layer": 499}], "inputs": [[{"link": at - 1}]] if at else []} for at in range(20_000)]
    assert len(decode(json.dumps({"layers": rows, "records": records}).encode()).records) == 20_000

"""The head's document, and which layers a fold takes."""

import json

import pytest

from chandlery.errors import StoreError
from chandlery.volume.folding import first_to_fold
from chandlery.volume.head import Head, Layer, decode_head, encode_head, fresh_slot
from chandlery.volume.tree import VersionVector

VECTOR = VersionVector((("w2026-48-abc", 3),))


def layers(*sizes):
    return tuple(Layer(f"l{number}", size, size * 10, VECTOR) for number, size in enumerate(sizes))


def test_a_head_survives_its_document():
    layer = Layer("abc", 3, 4096, VECTOR, boot_id="boot", is_hashed=True, failed=(("w2026-48-abc", 2),))
    head = Head(7, "w2026-48-abc", VECTOR, 9, (layer,), (("a/b%", VECTOR),))
    assert decode_head(7, encode_head(head)) == head


def test_what_was_removed_together_is_written_once():
    vector = VersionVector(tuple((f"w2026-48-{number:08}", 1) for number in range(200)))
    head = Head(1, "", vector, 1, (), tuple((f"org/{number:04}", vector) for number in range(1000)))
    assert len(encode_head(head)) < 30_000
    assert decode_head(1, encode_head(head)) == head


def test_removals_of_an_older_form_are_read():
    document = json.loads(encode_head(Head(1)))
    assert decode_head(1, json.dumps({**document, "tombstones": {"a%25": {"s": 2}}})).tombstones == (("a%", VersionVector((("s", 2),))),)


def test_a_volume_without_a_generation_has_an_empty_head():
    assert decode_head(0, None) == Head()


def test_a_head_of_another_format_is_refused():
    document = json.loads(encode_head(Head(1)))
    with pytest.raises(StoreError) as refused:
        decode_head(1, json.dumps({**document, "format": 2}))
    assert refused.value.code == "volume.format"


def test_few_layers_are_left_alone():
    assert first_to_fold(layers(*[10] * 8)) == 8


def test_small_layers_are_folded_without_the_large_one_below():
    assert first_to_fold(layers(20_000, *[10] * 8)) == 1


def test_the_large_one_is_folded_when_half_its_size_lies_on_it():
    assert first_to_fold(layers(20_000, 9_990, *[10] * 8)) == 0


def test_two_slots_are_never_the_same():
    assert fresh_slot() != fresh_slot()

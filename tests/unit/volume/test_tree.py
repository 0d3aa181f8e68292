"""The encoding of a volume's documents: one-to-one, and refused where it isn't understood."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chandlery.errors import StoreError
from chandlery.volume.tree import (
    Entry,
    EntryType,
    Version,
    VersionVector,
    ancestors,
    decode_path,
    decode_table,
    encode_path,
    encode_table,
    is_beneath,
)

names = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name).map(os.fsdecode)
entries = st.builds(
    Entry,
    path=names,
    type=st.sampled_from(list(EntryType)),
    mode=st.integers(0, 0o1777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime_ns=st.integers(-(2**60), 2**60),
    version=st.builds(Version, st.integers(0, 99), st.text("w0-", max_size=5), st.integers(1, 99)),
    size=st.integers(0, 2**50),
    sha256=st.sampled_from(["", "ab" * 32]),
    target=st.one_of(st.just(""), names),
    xattrs=st.dictionaries(st.text("user.x", min_size=1), st.binary()).map(lambda found: tuple(sorted(found.items()))),
)


@given(st.lists(entries, unique_by=lambda entry: entry.path))
def test_a_table_survives_its_encoding(table):
    assert tuple(decode_table(encode_table(table))) == tuple(sorted(table, key=lambda entry: entry.path))


@given(names, names)
def test_paths_are_encoded_one_to_one_as_plain_text(one, other):
    encoded = encode_path(one)
    encoded.encode("utf-8")
    assert decode_path(encoded) == one
    assert (encoded == encode_path(other)) == (one == other)


@pytest.mark.parametrize(("raw", "encoded"), [(b"caf\xc3\xa9", "café"), (b"caf\xe9", "caf%E9"), (b"100%", "100%25"), (b"a/b", "a/b")])
def test_only_percent_and_what_is_not_utf_8_is_escaped(raw, encoded):
    assert encode_path(os.fsdecode(raw)) == encoded


@pytest.mark.parametrize("change", [{"format": 2}, {"requires": ["chunks"]}, {"format": None}])
def test_a_table_of_another_format_or_with_an_unknown_requirement_is_refused(change):
    with pytest.raises(StoreError) as refused:
        list(decode_table([json.dumps({"format": 1, "entries": [], **change}).encode()]))
    assert refused.value.code == "volume.format"


def test_a_vector_covers_what_its_writers_had_written():
    vector = VersionVector((("a", 2), ("b", 1)))
    assert vector.covers(Version(9, "a", 2))
    assert not vector.covers(Version(1, "a", 3))
    assert not vector.covers(Version(1, "c", 1))
    assert VersionVector((("a", 1),)) <= vector
    assert not vector <= VersionVector((("a", 5),))
    assert vector.joined(VersionVector((("a", 1), ("c", 4)))) == VersionVector((("a", 2), ("b", 1), ("c", 4)))


def test_a_sibling_with_the_same_beginning_is_not_beneath():
    assert is_beneath("a/b", "a")
    assert is_beneath("a", "")
    assert not is_beneath("a-evil/b", "a")
    assert ancestors("a/b/c") == ["", "a", "a/b"]
    assert ancestors("") == []

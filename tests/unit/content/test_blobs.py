"""Blobs: whole or absent, verified while read, never two of one."""

import os

import pytest

from chandlery.errors import InternalError, Lost, LyingRegistry, StoreError
from chandlery.oci.digest import sha256

HELLO = sha256(b"hello")


def listing(store):
    return sorted(os.listdir(store.layout.blobs + "/sha256"))


def test_put_and_read_back(store):
    assert store.blobs.put(b"hello") == HELLO
    assert store.blobs.put(b"hello") == HELLO
    assert store.blobs.has(HELLO)
    assert store.blobs.size(HELLO) == 5
    assert store.blobs.read(HELLO) == b"hello"
    assert list(store.blobs.walk()) == [(HELLO, 5)]
    assert os.listdir(store.layout.new_blobs) == []


def test_an_empty_blob_is_a_blob(store):
    assert store.blobs.read(store.blobs.put(b"")) == b""


def test_ingest_in_pieces(store, session):
    with store.blobs.ingest(session) as ingest:
        ingest.write(b"he")
        ingest.write(memoryview(bytearray(b"llo")))
        assert ingest.size_bytes == 5
        assert ingest.commit(HELLO, 5) == HELLO
    assert store.blobs.read(HELLO) == b"hello"
    assert sorted(os.listdir(session.directory)) == ["leases", "lock"]


def test_an_ingest_left_without_commit_leaves_nothing(store, session):
    with store.blobs.ingest(session) as ingest:
        ingest.write(b"hello")
    assert listing(store) == []
    assert os.listdir(session.directory) == ["lock"]


def test_an_ingest_can_be_of_another_algorithm(store, session):
    with store.blobs.ingest(session, "sha512") as ingest:
        ingest.write(b"hello")
        digest = ingest.commit()
    assert digest.startswith("sha512:")
    assert store.blobs.read(digest) == b"hello"


@pytest.mark.parametrize(
    ("expected", "size", "code"),
    [(sha256(b"other"), None, "registry.wrong-digest"), (HELLO, 6, "registry.short-body"), (HELLO, 4, "registry.wrong-digest")],
)
def test_bytes_that_were_not_promised_are_refused(store, session, expected, size, code):
    with store.blobs.ingest(session) as ingest:
        ingest.write(b"hello")
        with pytest.raises(LyingRegistry) as caught:
            ingest.commit(expected, size)
    assert caught.value.code == code
    assert listing(store) == []


def test_committing_twice_is_a_bug(store, session):
    with store.blobs.ingest(session) as ingest:
        ingest.commit()
        with pytest.raises(InternalError):
            ingest.commit()


def test_what_is_not_there_is_lost(store, session):
    for attempt in (store.blobs.read, store.blobs.open, store.blobs.path, store.blobs.size, lambda digest: store.blobs.lease(session, digest)):
        with pytest.raises(Lost) as caught:
            attempt(HELLO)
        assert caught.value.what == HELLO


@pytest.mark.parametrize("damage", [b"hellO", b"hell", b""])
def test_a_damaged_blob_is_found_by_the_reader_and_lost_from_then_on(store, damage):
    store.blobs.put(b"hello")
    with open(store.blobs.path(HELLO), "wb") as file:
        file.write(damage)
    with store.blobs.open(HELLO) as reader, pytest.raises(Lost) as caught:
        assert [reader.read(2), reader.read(2), reader.read(2)] == []
    assert caught.value.code == "store.damaged-blob"
    assert not store.blobs.has(HELLO)
    assert store.blobs.put(b"hello") == HELLO
    assert store.blobs.read(HELLO) == b"hello"


def test_putting_a_blob_again_heals_it(store, session):
    store.blobs.put(b"hello")
    with open(store.blobs.path(HELLO), "wb") as file:
        file.write(b"damage")
    store.blobs.put(b"hello", session=session)
    assert store.blobs.read(HELLO) == b"hello"


def test_a_reader_gives_what_is_asked_for_and_then_nothing(store):
    store.blobs.put(b"hello")
    with store.blobs.open(HELLO) as reader:
        assert [reader.read(2), reader.read(2), reader.read(2), reader.read(2), reader.read()] == [b"he", b"ll", b"o", b"", b""]


def test_a_blob_too_large_for_memory_is_not_read_into_it(store):
    store.blobs.put(b"hello")
    with pytest.raises(StoreError) as caught:
        store.blobs.read(HELLO, max_bytes=4)
    assert caught.value.code == "store.blob-too-large"


def test_deleting_is_idempotent(store):
    store.blobs.put(b"hello")
    store.blobs.delete(HELLO)
    store.blobs.delete(HELLO)
    assert not store.blobs.has(HELLO)

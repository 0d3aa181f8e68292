"""verify finds each kind of damage it is meant to find."""

import os

from chandlery.content.verify import verify
from chandlery.oci.digest import sha256

NOWHERE = sha256(b"nowhere")


def insert(store, *statements):
    with store.db.transaction() as tx:
        for statement in statements:
            tx.execute(statement)


def test_a_good_store_has_no_problems(store):
    store.blobs.put(b"x")
    os.makedirs(store.layout.snapshot("a"))
    insert(store, "INSERT INTO snapshot (id, size_bytes, created_at, last_used_at) VALUES ('a', 0, 0, 0)")
    insert(store, "INSERT INTO step_record (key, kind, op_digest, document, layers, created_at, last_used_at) VALUES ('k', 'chain', '', '', '[\"a\"]', 0, 0)")
    assert verify(store) == []


def test_a_damaged_blob(store):
    with open(store.blobs.path(store.blobs.put(b"x")), "w") as file:
        file.write("y")
    assert len(verify(store)) == 1


def test_a_snapshot_without_directory(store):
    insert(store, "INSERT INTO snapshot (id, size_bytes, created_at, last_used_at) VALUES ('a', 0, 0, 0)")
    assert len(verify(store)) == 1


def test_a_record_without_snapshot(store):
    insert(store, "INSERT INTO step_record (key, kind, op_digest, document, layers, created_at, last_used_at) VALUES ('k', 'chain', '', '', '[\"a\"]', 0, 0)")
    assert len(verify(store)) == 1


def test_a_layer_without_blob(store):
    insert(store, f"INSERT INTO layer_blob VALUES ('{NOWHERE}', 'gzip', '', '{NOWHERE}', 0, '', 0)")
    assert len(verify(store)) == 1


def test_an_image_without_config_and_layer(store):
    insert(store, f"INSERT INTO image VALUES ('n', '{NOWHERE}', NULL, '[\"{NOWHERE}\"]', 0, 0)")
    assert len(verify(store)) == 2

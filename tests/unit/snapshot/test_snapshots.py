"""Snapshots: prepared, committed, found again, lost."""

import os

import pytest

from chandlery.content.session import live_leases
from chandlery.content.verify import garbage, verify
from chandlery.errors import InternalError, Lost
from chandlery.oci.digest import sha256
from chandlery.snapshot.snapshots import USE_RESOLUTION_S, SnapshotStore

DIFF_ID = sha256(b"tar")


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def snapshots(store, now):
    yield SnapshotStore(store, clock=lambda: now[0])
    assert verify(store) == []


def make(snapshots, session, text="x", **known):
    active = snapshots.prepare(session)
    with open(active.upper + "/file", "w") as file:
        file.write(text)
    return snapshots.commit(active, **known)


def record(store, key, *layers):
    with store.db.transaction() as tx:
        tx.execute(
            "INSERT INTO step_record (key, kind, op_digest, document, layers, created_at, last_used_at) VALUES (?, 'chain', '', '', ?, 0, 0)",
            (key, str(list(layers)).replace("'", '"')),
        )


def test_a_committed_layer_is_a_short_path_with_the_same_files(store, session, snapshots):
    active = snapshots.prepare(session)
    os.mkdir(active.upper + "/dir", 0o751)
    inode = os.stat(active.upper).st_ino
    snapshot = snapshots.commit(active)
    assert os.stat(snapshots.path(snapshot)).st_ino == inode
    assert os.listdir(snapshots.path(snapshot)) == ["dir"]
    assert len(os.path.relpath(snapshots.path(snapshot), store.layout.snapshots)) <= 11
    assert not os.path.exists(active.directory)
    row = snapshots.row(snapshot)
    assert (row.created_at, row.diff_id, row.is_synced) == (1000.0, None, False)
    assert row.size_bytes >= 4096


def test_a_commit_leases(store, session, snapshots):
    snapshot = make(snapshots, session)
    assert live_leases(store.layout)["snapshot"] == {snapshot}


def test_discarding_is_idempotent(session, snapshots):
    active = snapshots.prepare(session)
    snapshots.discard(active)
    snapshots.discard(active)
    assert not os.path.exists(active.directory)


def test_a_commit_that_fails_gives_the_files_back(store, session, snapshots):
    active = snapshots.prepare(session)
    with open(active.upper + "/file", "w"):
        pass
    with pytest.raises(InternalError) as caught:
        snapshots.commit(active, size_bytes="no number")
    assert caught.value.code == "internal.sql"
    assert garbage(store) == []
    assert os.listdir(active.upper) == ["file"]
    snapshots.commit(active)


def test_finding_by_diff_id_leases(store, session, snapshots):
    snapshot = make(snapshots, session, diff_id=DIFF_ID)
    with store.begin() as other:
        assert snapshots.by_diff_id(DIFF_ID, other) == snapshot
        session.close()
        assert live_leases(store.layout)["snapshot"] == {snapshot}
        assert snapshots.by_diff_id(sha256(b"else"), other) is None
        assert snapshots.by_diff_ids((DIFF_ID, sha256(b"else"), DIFF_ID), other) == [snapshot, None, snapshot]


def test_a_snapshot_whose_directory_is_gone_is_forgotten_with_its_records(store, session, snapshots):
    snapshot, other = make(snapshots, session, diff_id=DIFF_ID), make(snapshots, session)
    record(store, "k1", other, snapshot)
    record(store, "k2", other)
    os.rename(f"{store.layout.snapshots}/{snapshot}", f"{store.layout.trash}/x")
    assert snapshots.by_diff_id(DIFF_ID, session) is None
    assert store.db.read("SELECT key FROM step_record") == [("k2",)]


def test_leasing_is_all_or_nothing(store, session, snapshots):
    kept, gone = make(snapshots, session), make(snapshots, session)
    os.rename(f"{store.layout.snapshots}/{gone}", f"{store.layout.trash}/x")
    session.close()
    with store.begin() as other:
        with pytest.raises(Lost) as caught:
            snapshots.lease(other, [kept, gone])
        assert caught.value.what == gone
        assert live_leases(store.layout)["snapshot"] == set()
        snapshots.lease(other, [kept])
        assert live_leases(store.layout)["snapshot"] == {kept}


@pytest.mark.parametrize("what", ["path", "row"])
def test_what_is_gone_is_lost(snapshots, what):
    with pytest.raises(Lost):
        getattr(snapshots, what)("nosuchid")


def test_digests_are_added_as_they_become_known(session, snapshots):
    snapshot = make(snapshots, session, content_digest="c")
    snapshots.set_digests(snapshot, diff_id=DIFF_ID, tar_size=5)
    row = snapshots.row(snapshot)
    assert (row.diff_id, row.tar_size, row.content_digest) == (DIFF_ID, 5, "c")
    with pytest.raises(Lost):
        snapshots.set_digests("nosuchid", tar_size=1)


def test_use_is_noted_but_not_every_time(session, snapshots, now):
    snapshot = make(snapshots, session)
    now[0] += USE_RESOLUTION_S / 2
    snapshots.lease(session, [snapshot])
    assert snapshots.row(snapshot).last_used_at == 1000.0
    now[0] += USE_RESOLUTION_S
    snapshots.lease(session, [snapshot])
    assert snapshots.row(snapshot).last_used_at == now[0]


def test_sync_makes_durable_what_was_committed_before(session, snapshots):
    first = make(snapshots, session)
    assert snapshots.sync() == 1
    assert snapshots.row(first).is_synced
    assert snapshots.sync() == 0

"""Durability off the path of builds: what the kernel has had time to write is made durable, once, and survives a reboot."""

import pytest

from chandlery.content.recovery import drop_unsynced
from chandlery.snapshot.snapshots import SnapshotStore


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def snapshots(store, clock):
    return SnapshotStore(store, clock=lambda: clock[0])


def test_only_what_is_old_enough_is_waited_for(snapshots, session, clock):
    snapshots.commit(snapshots.prepare(session), size_bytes=1)
    assert snapshots.sync(older_than_s=60) == 0
    clock[0] += 61
    assert snapshots.sync(older_than_s=60) == 1
    assert snapshots.sync(older_than_s=60) == 0


def test_it_is_told_for_how_long_the_oldest_has_waited(snapshots, session, clock):
    assert snapshots.unsynced_for_s() == 0
    snapshots.commit(snapshots.prepare(session), size_bytes=1)
    clock[0] += 30
    snapshots.commit(snapshots.prepare(session), size_bytes=1)
    assert snapshots.unsynced_for_s() == 30
    snapshots.sync()
    assert snapshots.unsynced_for_s() == 0


def test_a_reboot_takes_what_was_not_synced_and_nothing_else(store, snapshots, session, clock):
    old = snapshots.commit(snapshots.prepare(session), size_bytes=1)
    clock[0] += 61
    snapshots.sync(older_than_s=60)
    young = snapshots.commit(snapshots.prepare(session), size_bytes=1)
    assert drop_unsynced(store.db, "another boot") == [young]
    assert snapshots.row(old).is_synced

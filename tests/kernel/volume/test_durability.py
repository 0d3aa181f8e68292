"""What of a volume is on the disk when a build ends: the step's own additions always, what a remote has when it costs little."""

import os
import time

import pytest

from chandlery.content.store import Store
from chandlery.linux import filesystem
from chandlery.values import replace
from chandlery.volume import durability
from chandlery.volume.head import FIND_ALL, advance, volume_row
from chandlery.volume.key import VolumeKey
from chandlery.volume.volumes import Volumes

KEY = VolumeKey("local", "/root/.m2", "linux/amd64")


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def whole_syncs(monkeypatch):
    """The paths whose file system was synced as a whole; the rest is as it is."""
    asked = []
    monkeypatch.setattr(filesystem, "sync", asked.append)
    return asked


def add(store, files):
    with store.begin() as session:
        volumes = Volumes(store)
        attachment = volumes.attach(KEY, session)
        for number in range(files):
            with open(f"{attachment.upper}/{number}", "w") as file:
                file.write("1")
        assert not volumes.commit(attachment, succeeded=True).warning


def fetched(store):
    """As if all that the volume has now had come from a remote."""
    row = volume_row(store.db.read(FIND_ALL)[0])
    with store.db.transaction() as tx:
        layers = tuple(replace(layer, is_fetched=True) for layer in row.head.layers)
        assert advance(tx, row.id, row.head, replace(row.head, number=row.head.number + 1, layers=layers))


def unsynced(store):
    return [layer.is_fetched for layer in volume_row(store.db.read(FIND_ALL)[0]).head.layers if layer.boot_id]


def test_a_few_files_of_a_step_are_synced_by_themselves(store, whole_syncs):
    add(store, 2)
    assert unsynced(store) == [False]
    durability.settle(store)
    assert (unsynced(store), whole_syncs) == ([], [])


def test_many_files_of_a_step_are_synced_with_everything(store, whole_syncs):
    add(store, 100)
    fetched(store)
    add(store, 101)
    durability.settle(store)
    assert (unsynced(store), whole_syncs) == ([], [store.root])


def test_what_a_remote_has_waits_for_a_cheap_moment(store, whole_syncs, monkeypatch):
    add(store, 100)
    fetched(store)
    durability.settle(store)
    assert (unsynced(store), whole_syncs) == ([True], [])
    directory = Volumes(store).list()[0].directories[0]
    made_at = os.stat(directory).st_ctime
    monkeypatch.setattr(time, "time", lambda: made_at + 1000)
    durability.settle(store)
    assert (unsynced(store), whole_syncs) == ([], [store.root])

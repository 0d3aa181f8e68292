"""Opening a store: what is made, what is refused."""

import os
import stat

import pytest

from chandlery.content.recovery import drop_unsynced
from chandlery.content.store import Store
from chandlery.content.suitability import check_file_system, refuse_type
from chandlery.errors import StoreError
from chandlery.linux import filesystem


def test_a_new_store_is_its_owners_alone(tmp_path):
    root = tmp_path / "deep" / "store"
    with Store.open(str(root)) as store:
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o700
        assert store.root == str(root)
    with Store.open(str(root)):
        pass


def test_a_store_that_others_could_read_is_closed_to_them(tmp_path):
    os.mkdir(tmp_path / "R", 0o755)
    Store.open(str(tmp_path / "R")).close()
    assert stat.S_IMODE(os.stat(tmp_path / "R").st_mode) == 0o700


def test_a_link_to_a_store_is_that_store(tmp_path):
    Store.open(str(tmp_path / "R")).close()
    os.symlink("R", tmp_path / "link")
    with Store.open(str(tmp_path / "link")) as store:
        assert store.root == str(tmp_path / "R")


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "R").write_text("")
    with pytest.raises(StoreError) as caught:
        Store.open(str(tmp_path / "R"))
    assert caught.value.code == "store.not-a-directory"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_somebody_elses_store_is_refused(tmp_path):
    os.mkdir(tmp_path / "R")
    os.chown(tmp_path / "R", 12345, 12345)
    with pytest.raises(StoreError) as caught:
        Store.open(str(tmp_path / "R"))
    assert caught.value.code == "store.foreign-owner"
    assert os.listdir(tmp_path / "R") == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (filesystem.NFS, "store.on-nfs"),
        (filesystem.CIFS, "store.on-nfs"),
        (filesystem.SMB2, "store.on-nfs"),
        (filesystem.CEPH, "store.on-nfs"),
        (filesystem.OVERLAY, "store.on-overlay"),
    ],
)
def test_file_systems_that_cannot_hold_layers_are_refused(kind, code):
    with pytest.raises(StoreError) as caught:
        refuse_type(kind, "/somewhere")
    assert caught.value.code == code
    assert "--root" in caught.value.hint


@pytest.mark.parametrize("kind", [filesystem.TMPFS, filesystem.FUSE, 0xEF53, 0x58465342, 0x9123683E])
def test_others_are_not(kind):
    refuse_type(kind, "/somewhere")


def test_this_file_system_is_probed_without_a_trace(tmp_path):
    check_file_system(str(tmp_path))
    assert not [name for name in os.listxattr(tmp_path) if "chandlery" in name]


def test_a_file_system_without_attributes_is_unsuitable():
    with pytest.raises(StoreError) as caught:
        check_file_system("/proc/self")
    assert caught.value.code == "store.unsuitable"


def test_rows_left_unsynced_by_another_boot_go_with_the_records_on_them(store):
    with store.db.transaction() as tx:
        for name, boot in (("old", "another-boot"), ("new", store.boot_id), ("synced", None)):
            tx.execute("INSERT INTO snapshot (id, size_bytes, created_at, last_used_at, boot_id) VALUES (?, 0, 0, 0, ?)", (name, boot))
            tx.execute(
                "INSERT INTO step_record (key, kind, op_digest, document, layers, created_at, last_used_at) VALUES (?, 'chain', '', '', ?, 0, 0)",
                (name, f'[{{"snapshot": "synced"}}, {{"snapshot": "{name}"}}]'),
            )
    assert drop_unsynced(store.db, store.boot_id) == ["old"]
    assert drop_unsynced(store.db, store.boot_id) == []
    assert store.db.read("SELECT key FROM step_record ORDER BY key") == [("new",), ("synced",)]
    assert store.db.read("SELECT id FROM snapshot ORDER BY id") == [("new",), ("synced",)]

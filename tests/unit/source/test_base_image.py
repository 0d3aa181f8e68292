from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fakes import commands

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.oci import image_config
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.source.base_image import BaseImage, create_image

ROOT = """
for word; do directory=$last; last=$word; done
mkdir -p $directory/var/lib/dpkg $directory/bin
printf 'Package: bash\\nStatus: install ok installed\\nVersion: 5\\n' > $directory/var/lib/dpkg/status
echo '#!' > $directory/bin/sh
"""


@contextmanager
def opened(root: Path) -> Iterator[tuple[Store, SnapshotStore, Session]]:
    with Store.open(str(root)) as store, store.begin() as session:
        yield store, SnapshotStore(store), session


def create(root: Path, name: str = "demo-jdk") -> BaseImage:
    with opened(root) as (store, snapshots, session):
        return create_image(store, snapshots, session, name, suite="stone", include=("bash",))


def test_the_image_is_known_by_name_with_one_mountable_layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands.install(monkeypatch, tmp_path / "bin", "mmdebstrap", ROOT)

    made = create(tmp_path / "store")

    assert made.name == "docker.io/library/demo-jdk:latest"
    with opened(tmp_path / "store") as (store, snapshots, session):
        (row,) = store.db.read("SELECT name, config_digest, layers FROM image")
        assert row == (made.name, made.config_digest, f'["{made.diff_id}"]')
        assert snapshots.by_diff_id(made.diff_id, session) == made.snapshot
        assert Path(snapshots.path(made.snapshot), "bin/sh").read_text() == "#!\n"
        config = image_config.decode(store.blobs.read(made.config_digest))
    assert config.diff_ids == (made.diff_id,)
    assert config.runtime["Cmd"] == ["/bin/bash"]
    assert config.runtime["Labels"] == {"chandlery.base.suite": "stone", "chandlery.base.packages": "bash=5"}


def test_the_same_packages_give_the_same_image_in_any_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands.install(monkeypatch, tmp_path / "bin", "mmdebstrap", ROOT)

    first, second = create(tmp_path / "one"), create(tmp_path / "two")

    assert (first.diff_id, first.config_digest) == (second.diff_id, second.config_digest)


def test_made_again_it_is_the_layer_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands.install(monkeypatch, tmp_path / "bin", "mmdebstrap", ROOT)

    first, second = create(tmp_path / "store"), create(tmp_path / "store")

    assert first.snapshot == second.snapshot
    assert len(list((tmp_path / "store/snapshots").iterdir())) == 1


def test_a_failed_installation_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands.install(monkeypatch, tmp_path / "bin", "mmdebstrap", f"{ROOT}\necho 'E: broken'\nexit 1")

    with pytest.raises(Exception, match="broken"):
        create(tmp_path / "store")

    with opened(tmp_path / "store") as (store, _, session):
        assert store.db.read("SELECT 1 FROM image UNION ALL SELECT 1 FROM snapshot") == []
        assert [path.name for path in (tmp_path / "store/builds").iterdir()] == [session.id]

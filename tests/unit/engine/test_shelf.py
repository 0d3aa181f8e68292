"""Images by name and id: found, named, taken away; what they need outlives a prune."""

from types import SimpleNamespace

import pytest

from chandlery.content import gc
from chandlery.engine.shelf import ImageShelf
from chandlery.errors import NotFound, RequestError
from chandlery.exporter.image_store import ImageNames
from chandlery.oci import image_config
from chandlery.oci.image_config import ImageConfig
from chandlery.snapshot.snapshots import SnapshotStore


@pytest.fixture
def shelf(store, session):
    return ImageShelf(SimpleNamespace(store=store, session=session, snapshots=SnapshotStore(store)))


@pytest.fixture
def put(store, session):
    def image(*names: str, author: str = "", diff_ids=()) -> str:
        config = image_config.encode(ImageConfig("amd64", "linux", author=author, diff_ids=tuple(diff_ids)))
        return ImageNames(store, session).put(names, config, tuple(diff_ids))

    return image


def test_an_image_is_found_by_any_form_of_its_name_and_by_its_id(shelf, put):
    digest = put("docker.io/library/app:latest")
    for text in ("app", "app:latest", "docker.io/library/app", digest, digest.removeprefix("sha256:"), digest.removeprefix("sha256:")[:6].upper()):
        assert shelf.find(text).config_digest == digest


@pytest.mark.parametrize("text", ["other", "app:2", "abc", "", "A B", "sha256:" + "0" * 64])
def test_what_is_not_there_is_not_found(shelf, put, text):
    put("docker.io/library/app:latest")
    with pytest.raises(NotFound) as raised:
        shelf.find(text)
    assert raised.value.code == "image.unknown"


def test_the_beginning_of_two_ids_is_ambiguous(shelf, store, put):
    digest = put("docker.io/library/app:latest")
    twin = digest[:20] + "0" * 51
    store.db.read("SELECT 1")
    with store.db.transaction() as tx:
        tx.execute("INSERT INTO image (name, config_digest, layers, created_at, last_used_at) VALUES ('docker.io/library/b:1', ?, '[]', 0, 0)", (twin,))
    with pytest.raises(RequestError) as raised:
        shelf.find(digest.removeprefix("sha256:")[:8])
    assert raised.value.code == "image.ambiguous"


def test_a_second_name_means_the_same_image_and_the_first_stays(shelf, put):
    digest = put("docker.io/library/app:latest")
    assert shelf.tag("app", "registry.lan/team/app:2") == "registry.lan/team/app:2"
    assert {image.name for image in shelf.all() if image.config_digest == digest} == {"docker.io/library/app:latest", "registry.lan/team/app:2"}


def test_a_name_is_no_digest(shelf, put):
    digest = put("docker.io/library/app:latest")
    with pytest.raises(RequestError):
        shelf.tag("app", f"app@{digest}")


def test_a_name_goes_alone_and_an_id_with_all_its_names(shelf, put):
    digest = put("docker.io/library/a:1", "docker.io/library/b:1")
    shelf.remove("a:1")
    assert [image.familiar for image in shelf.all()] == ["b:1"]
    shelf.remove(digest)
    assert shelf.all() == []


def test_a_named_image_keeps_its_layers_from_a_prune_and_a_nameless_one_does_not(store, put, shelf):
    snapshots = SnapshotStore(store)
    with store.begin() as building:
        kept, gone = (snapshots.commit(snapshots.prepare(building), diff_id="sha256:" + digit * 64, size_bytes=1) for digit in "12")
    put("docker.io/library/app:latest", diff_ids=("sha256:" + "1" * 64,))
    put(author="nobody", diff_ids=("sha256:" + "2" * 64,))
    gc.prune(store, gc.PrunePolicy())
    assert snapshots.path(kept)
    assert gone not in {row[0] for row in store.db.read("SELECT id FROM snapshot")}
    assert [image.familiar for image in shelf.all()] == ["app:latest"]

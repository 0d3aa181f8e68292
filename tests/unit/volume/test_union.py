"""What several scopes' volumes hold together, and what of them others get to see."""

import os

import pytest

from chandlery.content.store import Store
from chandlery.errors import StoreError
from chandlery.volume.key import VolumeKey
from chandlery.volume.union import Union
from chandlery.volume.volumes import Volumes


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "store")) as made:
        yield made


def key(scope):
    return VolumeKey(scope, "/root/.m2", "linux/amd64")


def add(store, scope, files, *, succeeded=True):
    """Do what a step does that writes `files`."""
    volumes = Volumes(store)
    with store.begin() as session:
        attachment = volumes.attach(key(scope), session)
        for path, content in files.items():
            target = f"{attachment.upper}/{path}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w") as file:
                file.write(content)
        assert volumes.commit(attachment, succeeded=succeeded).warning == ""


def union(store, *scopes):
    """path -> content of files."""
    with store.begin() as session, Union(store, session) as made:
        for scope in scopes:
            made.add(key(scope))
        found = {}
        for entry, file in made.files():
            if not entry.is_directory:
                with open(file) as opened:
                    found[entry.path] = opened.read()
        return found


def paths(store, *scopes):
    with store.begin() as session, Union(store, session) as made:
        for scope in scopes:
            made.add(key(scope))
        return [entry.path for entry, _ in made.files()]


def test_files_of_all_and_the_first_ones_where_they_differ(store):
    add(store, "a", {"r/one": "a1", "r/both": "a"})
    add(store, "b", {"r/two": "b2", "r/both": "b"})
    assert union(store, "a", "b") == {"r/one": "a1", "r/both": "a", "r/two": "b2"}
    assert union(store, "b", "a")["r/both"] == "b"
    assert paths(store, "a", "b") == ["", "r", "r/both", "r/one", "r/two"]


def test_an_index_serves_all(store):
    place = "repository/org/x/1/_remote.repositories"
    add(store, "a", {place: "x-1.jar>central=\n", "repository/org/x/1/x-1.jar": "jar"})
    add(store, "b", {place: "x-1.pom>central=\n", "repository/org/x/1/x-1.pom": "pom"})
    assert set(union(store, "a", "b")[place].split()) == {"x-1.jar>central=", "x-1.pom>central="}


def test_a_unit_is_one_volumes_whole(store):
    unit = "wrapper/dists/apache-maven-3.9.6-bin/abc123"
    add(store, "a", {f"{unit}/maven/bin/mvn": "a", f"{unit}/maven/a-only": "a", f"{unit}/apache-maven-3.9.6-bin.zip.ok": ""})
    add(store, "b", {f"{unit}/maven/bin/mvn": "b", f"{unit}/maven/b-only": "b", f"{unit}/apache-maven-3.9.6-bin.zip.ok": ""})
    for first, other in ("ab", "ba"):
        found = union(store, first, other)
        assert f"{unit}/maven/{other}-only" not in found
        assert found.get(f"{unit}/maven/bin/mvn", first) == first


def test_credentials_and_what_the_project_installed_and_what_failed_steps_left_stay(store):
    own = "repository/org/own/1"
    add(store, "a", {"good": "1", "settings.xml": "password", f"{own}/own-1.jar": "jar", f"{own}/_remote.repositories": "own-1.jar>=\n"})
    add(store, "a", {"half/made": "?"}, succeeded=False)
    assert union(store, "a") == {"good": "1"}
    assert paths(store, "a") == ["", "good"]


def test_a_file_where_another_has_a_directory_gives_way(store):
    add(store, "a", {"x": "file"})
    add(store, "b", {"x/y": "below"})
    assert union(store, "a", "b") == {"x": "file"}
    assert union(store, "b", "a") == {"x/y": "below"}


def test_a_volume_that_is_not_there_is_named(store):
    with pytest.raises(StoreError) as raised:
        union(store, "nobody")
    assert raised.value.code == "volume.unknown"

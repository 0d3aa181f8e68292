"""The local output: files merged into a directory, their modes and times kept, nothing half written."""

import os

import pytest

from chandlery.errors import RequestError
from chandlery.exporter import files


@pytest.fixture
def view(tmp_path):
    root = tmp_path / "view"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "app").write_bytes(b"program")
    os.chmod(root / "bin" / "app", 0o755)
    os.utime(root / "bin" / "app", (1000, 1000))
    (root / "link").symlink_to("bin/app")
    os.chmod(root / "bin", 0o750)
    return str(root)


def test_files_are_merged_into_what_is_there(tmp_path, view):
    out = tmp_path / "out"
    (out / "bin").mkdir(parents=True)
    (out / "bin" / "mine").write_bytes(b"stays")
    assert files.write_directory(str(out), view) == 2
    assert sorted(os.listdir(out / "bin")) == ["app", "mine"]
    assert os.readlink(out / "link") == "bin/app"


def test_modes_and_times_are_the_images(tmp_path, view):
    out = tmp_path / "out"
    files.write_directory(str(out), view)
    found = os.stat(out / "bin" / "app")
    assert (found.st_mode & 0o7777, found.st_mtime) == (0o755, 1000)
    assert os.stat(out / "bin").st_mode & 0o7777 == 0o750


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path, view):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "bin").symlink_to(elsewhere)
    files.write_directory(str(out), view)
    assert os.listdir(elsewhere) == []
    assert (out / "bin" / "app").read_bytes() == b"program"


def test_the_longest_names_fit(tmp_path, view):
    with open(os.path.join(view, "n" * 255), "wb") as file:
        file.write(b"x")
    files.write_directory(str(tmp_path / "out"), view)
    assert os.path.isfile(tmp_path / "out" / ("n" * 255))


def test_what_can_not_be_written_is_refused_and_leaves_no_temporary_file(tmp_path, view):
    (tmp_path / "out" / "link" / "full").mkdir(parents=True)
    with pytest.raises(RequestError) as raised:
        files.write_directory(str(tmp_path / "out"), view)
    assert raised.value.code == "request.unwritable"
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".chandlery")]

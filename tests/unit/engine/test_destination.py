"""Files that the user named: whole or untouched, and never in place of something that isn't a file."""

import os
import stat
import threading

import pytest

from chandlery.engine.destination import Destination
from chandlery.errors import RequestError


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "out"
    with Destination(str(path)) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    assert os.listdir(path.parent) == ["out"]


def test_two_files_of_one_directory_can_be_written_at_once(tmp_path):
    with Destination(str(tmp_path / "a")) as one, Destination(str(tmp_path / "b")) as other:
        one.write(b"1")
        other.write(b"2")
    assert [(tmp_path / name).read_bytes() for name in ("a", "b")] == [b"1", b"2"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    destination = Destination(str(path))
    destination.__enter__().write(b"half")
    destination.__exit__(ValueError)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with Destination(str(path)) as file:
        file.write(b"through")
    reader.join(5)
    assert read == [b"through"]
    assert stat.S_ISFIFO(os.lstat(path).st_mode)


def test_a_device_stays_a_device():
    with Destination("/dev/null") as file:
        file.write(b"gone")
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with Destination(str(tmp_path / "link")) as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(RequestError) as raised, Destination(str(tmp_path)):
        pass
    assert raised.value.code == "request.unwritable"


def test_a_place_that_can_not_be_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RequestError) as raised, Destination(str(tmp_path / "file" / "out")):
        pass
    assert raised.value.code == "request.unwritable"

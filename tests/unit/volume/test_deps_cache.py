"""What --deps-cache may say, and the tar that it names on a share."""

import io
import os
import shutil
import subprocess
import tarfile

import pytest
import zstandard

from chandlery.errors import ChandleryError, InternalError, RequestError, StoreError
from chandlery.volume import deps_tar
from chandlery.volume.deps_cache import DepsCache, DepsKind, parse, parse_all
from chandlery.volume.tree import Entry, EntryType, Version

BY = Version(1, "w", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tar:/mnt/share", DepsCache(DepsKind.TAR, "/mnt/share", "/root/.m2")),
        ("dir:/mnt/share/,target=/root/.npm/", DepsCache(DepsKind.DIRECTORY, "/mnt/share", "/root/.npm")),
        ("tar:/a,target=//root//.m2/./repository", DepsCache(DepsKind.TAR, "/a", "/root/.m2/repository")),
    ],
)
def test_a_cache_is_a_kind_a_directory_and_a_target(text, expected):
    assert parse(text) == expected
    assert parse(str(expected)) == expected


def test_a_relative_directory_counts_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("tar:share").directory == str(tmp_path / "share")


@pytest.mark.parametrize(
    "text", ["", "/mnt", "zip:/mnt", "tar:", "tar:/a,target=", "tar:/a,target=m2", "dir:/a,target=/", "tar:/a,target=/a/../b", "tar:/a,mode=ro"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(RequestError) as raised:
        parse(text)
    assert raised.value.code == "request.bad-deps-cache"


@pytest.mark.parametrize("other", ["dir:/b", "tar:/b,target=/root", "tar:/b,target=/root/.m2/repository"])
def test_two_caches_at_one_place_are_refused(other):
    with pytest.raises(RequestError) as raised:
        parse_all(("tar:/a", other))
    assert raised.value.code == "request.bad-deps-cache"
    assert len(parse_all(("tar:/a", "tar:/a,target=/root/.m2x"))) == 2


def test_names_differ_where_scope_target_or_platform_do():
    names = {
        deps_tar.file_name(*what)
        for what in (
            ("git.example/app@main", "/root/.m2", "linux/amd64"),
            ("git.example/app@mäin", "/root/.m2", "linux/amd64"),
            ("git.example/app@m-in", "/root/.m2", "linux/amd64"),
            ("git.example/app@main", "/root/.m3", "linux/amd64"),
            ("git.example/app@main", "/root/.m2", "linux/arm64"),
            ("x" * 300, "/root/.m2", "linux/arm64"),
        )
    }
    assert len(names) == 6
    assert all(len(name) < 200 and "/" not in name and not name.startswith(".") for name in names)


@pytest.fixture
def files(tmp_path):
    """Entries with the files that hold their content."""
    (tmp_path / "content").write_bytes(b"jar" * 1000)
    size = 3000
    return [
        (Entry("", EntryType.DIRECTORY, 0o755, 0, 0, 0, BY), ""),
        (Entry("d", EntryType.DIRECTORY, 0o750, 0, 0, 5 * 10**9, BY), ""),
        (Entry("d/a.jar", EntryType.FILE, 0o640, 0, 0, 7 * 10**9 + 1, BY, size), str(tmp_path / "content")),
        (Entry("d/hard", EntryType.HARD_LINK, 0o640, 0, 0, 7 * 10**9, BY, size, target="d/a.jar"), str(tmp_path / "content")),
        (Entry("d/\udcff", EntryType.SYMLINK, 0o777, 0, 0, 0, BY, target="a.jar"), ""),
    ]


def test_what_was_written_is_unpacked_again(tmp_path, files):
    path = str(tmp_path / "x.tar.zst")
    written = deps_tar.write(path, files)
    assert deps_tar.read_header(path) == written
    out = tmp_path / "out"
    out.mkdir()
    assert deps_tar.unpack(path, str(out)) == written
    assert (out / "d/a.jar").read_bytes() == b"jar" * 1000
    assert (out / "d/a.jar").stat().st_mtime_ns == 7 * 10**9
    assert (out / "d/a.jar").stat().st_nlink == 1
    assert os.readlink(os.fsencode(out / "d") + b"/\xff") == b"a.jar"
    assert (out / "d").stat().st_mode & 0o777 == 0o750
    assert [name for name in os.listdir(tmp_path) if ".tmp-" in name] == []


def test_the_same_files_give_the_same_bytes_and_other_tools_read_them(tmp_path, files):
    one, other = tmp_path / "1", tmp_path / "2"
    deps_tar.write(str(one), files)
    deps_tar.write(str(other), files)
    assert one.read_bytes() == other.read_bytes()
    plain = zstandard.ZstdDecompressor().stream_reader(one.read_bytes(), read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert archive.getnames()[:2] == ["d", "d/a.jar"]
    if shutil.which("zstd"):
        listed = subprocess.run(["tar", "--zstd", "-tf", str(one)], capture_output=True, check=True, text=True)
        assert "d/a.jar" in listed.stdout.splitlines()


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: data[:-1], lambda data: data + b"x", lambda data: b"x" + data[1:], lambda data: b""])
def test_damage_that_a_look_shows_is_seen_before_anything_is_unpacked(tmp_path, files, damage):
    path = tmp_path / "x"
    deps_tar.write(str(path), files)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError) as raised:
        deps_tar.read_header(str(path))
    assert raised.value.code == "deps-cache.damaged"


def test_a_flipped_bit_anywhere_is_damage(tmp_path, files):
    path = tmp_path / "x"
    deps_tar.write(str(path), files)
    sound = path.read_bytes()
    for at in range(deps_tar.HEADER_BYTES, len(sound), 7):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        out = tmp_path / f"out{at}"
        out.mkdir()
        with pytest.raises(ChandleryError):
            deps_tar.unpack(str(path), str(out))


def test_a_tar_that_is_not_there_is_none_and_one_that_can_not_be_written_leaves_the_old_one(tmp_path, files):
    path = tmp_path / "x"
    assert deps_tar.read_header(str(path)) is None
    first = deps_tar.write(str(path), files)
    (tmp_path / "content").write_bytes(b"short")
    with pytest.raises(InternalError) as raised:
        deps_tar.write(str(path), files)
    assert raised.value.code == "volume.changed"
    assert deps_tar.read_header(str(path)) == first
    assert sorted(os.listdir(tmp_path)) == ["content", "x"]


def test_what_a_killed_writer_left_goes_after_a_day(tmp_path, files):
    path = tmp_path / "x"
    for name, age_s in (("x.tmp-old", 2 * 86400), ("x.tmp-new", 60), ("y.tmp-old", 2 * 86400)):
        (tmp_path / name).touch()
        then = os.stat(tmp_path).st_mtime - age_s
        os.utime(tmp_path / name, (then, then))
    deps_tar.write(str(path), files)
    assert sorted(os.listdir(tmp_path)) == ["content", "x", "x.tmp-new", "y.tmp-old"]

"""Containment: the same rules by openat2 and by the walk that replaces it."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chandlery.linux import paths


@pytest.fixture(params=["openat2", "walk"])
def root_fd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    if request.param == "walk":
        monkeypatch.setattr(paths, "_openat2_works", False)
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/libc").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    for name, target in {
        "lib": "usr/lib",
        "abs": "/usr/lib",
        "up": "../secret",
        "far": f"{tmp_path}/secret",
        "loop": "loop",
        "usr/back": "../lib",
        "dangling": "nowhere",
    }.items():
        (root / name).symlink_to(target)
    fd = os.open(root, paths.DIRECTORY)
    yield fd
    os.close(fd)


def read(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


@pytest.mark.parametrize("path", ["usr/lib/libc", "/usr/lib/libc", "lib/libc", "usr/back/libc", "usr/../lib/./libc", b"lib//libc"])
def test_beneath_opens_what_stays_inside(root_fd: int, path: str | bytes) -> None:
    assert read(paths.open_beneath(root_fd, path)) == b"inside"


@pytest.mark.parametrize("path", ["../secret", "up", "far", "abs/libc", "usr/../../secret", "usr/lib/../../../secret"])
def test_beneath_refuses_what_leads_out(root_fd: int, path: str) -> None:
    with pytest.raises(OSError) as refused:
        paths.open_beneath(root_fd, path)
    assert refused.value.errno == errno.EXDEV


@pytest.mark.parametrize("path", ["abs/libc", "/abs/libc", "../../lib/libc", "usr/../../usr/lib/libc"])
def test_in_root_starts_absolute_links_at_the_root(root_fd: int, path: str) -> None:
    assert read(paths.open_in_root(root_fd, path)) == b"inside"


@pytest.mark.parametrize("path", ["up", "far", "../secret", "nothing", "dangling"])
def test_in_root_does_not_see_the_outside(root_fd: int, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        paths.open_in_root(root_fd, path)


def test_a_loop_of_links_ends(root_fd: int) -> None:
    with pytest.raises(OSError) as refused:
        paths.open_in_root(root_fd, "loop")
    assert refused.value.errno == errno.ELOOP


def test_the_root_itself_opens_by_its_names(root_fd: int) -> None:
    expected = os.fstat(root_fd).st_ino
    for name in ("", ".", "/"):
        fd = paths.open_in_root(root_fd, name, paths.DIRECTORY)
        assert os.fstat(fd).st_ino == expected
        os.close(fd)


def test_files_are_created_beneath(root_fd: int) -> None:
    fd = paths.open_beneath(root_fd, "lib/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    os.write(fd, b"x")
    os.close(fd)
    assert read(os.open("usr/lib/new", os.O_RDONLY, dir_fd=root_fd)) == b"x"


def test_nofollow_refuses_a_last_link_only(root_fd: int) -> None:
    assert read(paths.open_beneath(root_fd, "lib/libc", os.O_RDONLY | os.O_NOFOLLOW)) == b"inside"
    with pytest.raises(OSError) as refused:
        paths.open_beneath(root_fd, "lib", os.O_RDONLY | os.O_NOFOLLOW)
    assert refused.value.errno == errno.ELOOP


def test_directories_are_made_with_their_mode_whatever_the_umask(root_fd: int) -> None:
    before = os.umask(0o077)
    try:
        os.close(paths.make_dirs_beneath(root_fd, "a/b/c", 0o775))
    finally:
        os.umask(before)
    assert os.stat("a/b/c", dir_fd=root_fd).st_mode & 0o7777 == 0o775


@pytest.mark.parametrize(("path", "number"), [("lib/x", errno.ENOTDIR), ("usr/lib/libc/x", errno.ENOTDIR), ("a/../../x", errno.EXDEV)])
def test_directories_are_not_made_through_links_or_dots(root_fd: int, path: str, number: int) -> None:
    with pytest.raises(OSError) as refused:
        paths.make_dirs_beneath(root_fd, path)
    assert refused.value.errno in (number, errno.ELOOP)


def test_directories_in_root_follow_links_inside(root_fd: int) -> None:
    os.close(paths.make_dirs_in_root(root_fd, "abs/x/y"))
    assert os.stat("usr/lib/x/y", dir_fd=root_fd, follow_symlinks=False)


def test_no_descriptor_is_left_open(root_fd: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("usr/lib/libc/x", "../secret", "loop", "dangling/x"):
        for opener in (paths.open_beneath, paths.open_in_root):
            with pytest.raises(OSError):
                opener(root_fd, path)
        with pytest.raises(OSError):
            paths.make_dirs_beneath(root_fd, path + "/../..")
    assert len(os.listdir("/proc/self/fd")) == before

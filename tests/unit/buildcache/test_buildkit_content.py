"""BuildKit's digests of files. The expected ones were made by hand from its description, piece by piece; tests/conformance asks BuildKit itself."""

import os
from hashlib import sha256

import pytest

from chandlery.buildcache.buildkit_content import ContentDigests
from chandlery.source.context import LocalContext
from chandlery.source.ignore import parse


def digest(*parts: bytes | str) -> str:
    return "sha256:" + sha256(b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)).hexdigest()


def header(kind: str, mode: int, size: int = 0, link: str = "") -> str:
    return f"namemode{mode}uid0gid0size{size}typeflag{kind}linkname{link}unamegnamedevmajor0devminor0"


FILE = digest(header("0", 0o640, 4), "one\n")
LINK = digest(header("2", 0o777, link="a"))
INNER = digest(header("0", 0o644, 4), "two\n")
DIRECTORY = digest(b"\0", digest(header("5", 0o755)), b"\0b", INNER, b"\0l", LINK)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "a").write_text("one\n")
    (tmp_path / "a").chmod(0o640)
    (tmp_path / "dir").mkdir(mode=0o755)
    (tmp_path / "dir/b").write_text("two\n")
    (tmp_path / "dir/b").chmod(0o644)
    (tmp_path / "dir/l").symlink_to("a")
    (tmp_path / "to-a").symlink_to("a")
    return tmp_path


def of(root, *paths: str, is_copy: bool = True) -> str:
    return ContentDigests(LocalContext(str(root))).of(paths, is_copy=is_copy)


def test_a_file_is_its_header_and_its_content(root):
    assert of(root, "/a") == digest(FILE)


def test_times_and_owners_say_nothing(root):
    before = of(root, "/dir")
    os.utime(root / "dir/b", (1, 1))
    if os.geteuid() == 0:
        os.chown(root / "dir/b", 5, 6)
    assert of(root, "/dir") == before


def test_a_directory_is_its_header_and_its_names(root):
    assert of(root, "/dir") == digest(DIRECTORY)


def test_the_root_has_no_header(root):
    expected = digest(b"\0", digest(b""), b"\0a", FILE, b"\0dir", DIRECTORY, b"\0to-a", LINK)
    assert of(root, "/") == digest(expected)
    assert of(root, "/", is_copy=False) == digest(expected)


def test_a_link_that_is_named_stands_for_what_it_leads_to(root):
    assert of(root, "/to-a") == digest(FILE)


def test_several_paths_are_in_order_and_without_those_inside_others(root):
    assert of(root, "/dir", "/a") == of(root, "/a", "/dir", "/dir/b") == digest(FILE, b"\0", DIRECTORY)


def test_a_pattern_lists_what_it_matches(root):
    assert of(root, "/d*") == digest(digest(b"\0dir", digest(header("5", 0o755)), b"\0dir\0b", INNER, b"\0dir\0l", LINK))
    assert of(root, "/dir/b*") == digest(digest(b"\0b", INNER))
    assert of(root, "/no*") == digest(digest(b""))


def test_what_is_excluded_is_not_there(root):
    found = ContentDigests(LocalContext(str(root), parse("dir/l\nto-a\n"))).of(("/",), is_copy=True)
    directory = digest(b"\0", digest(header("5", 0o755)), b"\0b", INNER)
    assert found == digest(digest(b"\0", digest(b""), b"\0a", FILE, b"\0dir", directory))


def test_what_isn_t_there_has_no_digest(root):
    assert of(root, "/none") == ""

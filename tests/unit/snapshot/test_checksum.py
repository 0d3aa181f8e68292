"""The content digest, written out by hand from its documentation."""

import hashlib
import os
from pathlib import Path

import pytest

from chandlery.errors import InputError
from chandlery.snapshot.checksum import digest_view
from chandlery.source.context import LocalContext


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_the_bytes_are_those_that_the_documentation_says(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o755)
    (tmp_path / "d" / "f").write_bytes(b"content")
    (tmp_path / "d" / "f").chmod(0o4640)
    os.symlink("../x", tmp_path / "d" / "l")
    (tmp_path / "d" / "e").mkdir()
    (tmp_path / "d" / "e").chmod(0o700)
    uid, gid = os.geteuid(), os.getegid()
    ids = b"%d %d\n" % (uid, gid)
    plain = b"f\0f4640 " + ids + sha(b"content") + b"0\n" + b"l\0l777 " + ids + b"4\n../x0\n"
    inner = sha(sha(plain) + b"e\0d700 " + ids + sha(sha(b"")) + b"0\n")
    expected = hashlib.sha256(b"chandlery content v1\n1\nd\0d755 " + ids + inner + b"0\n").hexdigest()
    (tmp_path / "d").chmod(0o755)
    assert digest_view(str(tmp_path), ("/d",)) == f"sha256:{expected}"


def test_devices_and_pipes_count_by_their_numbers(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make devices")
    seen = set()
    for numbers in ((1, 3), (1, 5)):
        os.mknod(tmp_path / "n", 0o20666, os.makedev(*numbers))
        seen.add(digest_view(str(tmp_path), ("/n",)))
        os.unlink(tmp_path / "n")
    os.mkfifo(tmp_path / "n", 0o666)
    seen.add(digest_view(str(tmp_path), ("/n",)))
    assert len(seen) == 3


def test_the_order_and_number_of_sources_count(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    found = {digest_view(str(tmp_path), sources) for sources in (("/a", "/b"), ("/b", "/a"), ("/a",), ("/*",), ("/a", "/*x"))}
    assert len(found) == 5


def test_the_root_s_own_mode_does_not_count(tmp_path: Path) -> None:
    before = digest_view(str(tmp_path), ("/",))
    tmp_path.chmod(0o711)
    assert digest_view(str(tmp_path), ("/",)) == before


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        digest_view(str(tmp_path), ("/none",))
    assert caught.value.code == "copy.missing-source"


def test_a_bottomless_tree_is_refused_at_once(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    for look in (lambda: digest_view(str(tmp_path), ("/",)), lambda: LocalContext(str(tmp_path)).digest(("/",))):
        with pytest.raises(InputError) as caught:
            look()
        assert caught.value.code == "copy.too-deep"

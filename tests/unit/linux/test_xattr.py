"""Attributes: what enters a layer, and links that aren't followed."""

from pathlib import Path

import pytest

from chandlery.linux import xattr


@pytest.mark.parametrize(
    ("name", "enters"),
    [
        ("security.capability", True),
        ("user.note", True),
        ("user.overlay.opaque", False),
        ("trusted.overlay.redirect", False),
        ("trusted.note", False),
        ("security.selinux", False),
        ("system.posix_acl_access", False),
    ],
)
def test_what_enters_a_layer(name: str, enters: bool) -> None:
    assert xattr.may_enter_layer(name) is enters


def test_attributes_are_set_read_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    try:
        xattr.set_value(str(path), "user.b", b"2")
    except OSError:
        pytest.skip("this file system has no user attributes")
    xattr.set_value(str(path), "user.a", b"\x00\xff")
    assert xattr.layer_attributes(str(path)) == {"user.a": b"\x00\xff", "user.b": b"2"}
    xattr.remove(str(path), "user.a")
    xattr.remove(str(path), "user.a")
    assert xattr.get(str(path), "user.a") is None


def test_a_link_has_no_attributes_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    try:
        xattr.set_value(str(tmp_path / "file"), "user.a", b"1")
    except OSError:
        pytest.skip("this file system has no user attributes")
    (tmp_path / "link").symlink_to("file")
    assert xattr.layer_attributes(str(tmp_path / "link")) == {}

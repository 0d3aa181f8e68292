"""What is made of an overlay upper: the base decides what its marks mean. Marks for files elsewhere count only in the form that needs privileges."""

import os
import stat

import pytest

from chandlery.volume.capture import capture, changes_nothing
from chandlery.volume.tree import EntryType, Version

VERSION = Version(1, "s", 1)


@pytest.fixture
def trees(tmp_path):
    for name in ("base", "upper", "trash"):
        (tmp_path / name).mkdir()
    try:
        os.setxattr(tmp_path / "upper", "user.overlay.impure", b"y")
    except OSError:
        pytest.skip("no user attributes on this file system")
    return tmp_path / "base", tmp_path / "upper"


def captured(trees, **options):
    base, upper = trees
    return capture(str(upper), (str(base),), VERSION, shared=(str(base),), trash=str(upper.parent / "trash"), **options)


def whiteout(path):
    try:
        os.mknod(path, stat.S_IFCHR, 0)
    except PermissionError:
        pytest.skip("may not make a whiteout")


def mark(path, name, value):
    """As the kernel writes it, for uppers of mounts that follow it."""
    try:
        os.setxattr(path, f"trusted.overlay.{name}", value)
    except OSError:
        pytest.skip("may not write the attributes of an overlay")


def test_additions_are_described_in_order_of_path(trees):
    _, upper = trees
    (upper / "d").mkdir()
    (upper / "d/x").write_text("123")
    os.symlink("x", upper / "d/link")
    found = captured(trees)
    assert [(entry.path, entry.type, entry.size, entry.target) for entry in found.entries] == [
        ("", EntryType.DIRECTORY, 0, ""),
        ("d", EntryType.DIRECTORY, 0, ""),
        ("d/link", EntryType.SYMLINK, 0, "x"),
        ("d/x", EntryType.FILE, 3, ""),
    ]
    assert found.size_bytes == 3
    assert os.listxattr(upper) == []


def test_whiteouts_go_and_are_told(trees):
    base, upper = trees
    (base / "a").write_text("1")
    whiteout(upper / "a")
    before = os.stat(upper).st_mtime_ns
    found = captured(trees)
    assert found.deleted == ("a",)
    assert os.listdir(upper) == []
    assert os.stat(upper).st_mtime_ns == before


def test_an_opaque_directory_deletes_what_the_base_has_and_it_has_not(trees):
    base, upper = trees
    (base / "d").mkdir()
    for name in ("old", "both"):
        (base / "d" / name).write_text("1")
    (upper / "d").mkdir()
    (upper / "d/both").write_text("2")
    os.setxattr(upper / "d", "user.overlay.opaque", b"y")
    found = captured(trees)
    assert found.deleted == ("d/old",)
    assert os.listxattr(upper / "d") == []


def test_a_metadata_only_file_gets_the_content_of_the_base_and_keeps_its_own_metadata(trees):
    base, upper = trees
    (base / "a").write_text("content")
    with open(upper / "a", "w") as file:
        file.truncate(7)
    os.chmod(upper / "a", 0o600)
    os.utime(upper / "a", ns=(5, 5))
    mark(upper / "a", "metacopy", b"")
    os.setxattr(upper / "a", "user.mine", b"kept")
    found = captured(trees)
    assert (upper / "a").read_text() == "content"
    entry = found.entries[1]
    assert (entry.mode, entry.mtime_ns, entry.xattrs) == (0o600, 5, (("user.mine", b"kept"),))
    assert os.listxattr(upper / "a") == ["user.mine"]
    assert os.stat(base / "a").st_ino != os.stat(upper / "a").st_ino


def test_a_renamed_directory_brings_what_it_still_shows(trees):
    base, upper = trees
    (base / "old/sub").mkdir(parents=True)
    for name in ("gone", "kept", "sub/deep"):
        (base / "old" / name).write_text(name)
    (upper / "new").mkdir()
    whiteout(upper / "new/gone")
    mark(upper / "new", "redirect", b"/old")
    whiteout(upper / "old")
    found = captured(trees)
    assert [entry.path for entry in found.entries] == ["", "new", "new/kept", "new/sub", "new/sub/deep"]
    assert (upper / "new/sub/deep").read_text() == "sub/deep"


def test_a_relative_redirect_inside_a_redirected_directory_is_resolved_where_the_base_has_it(trees):
    base, upper = trees
    (base / "old/one").mkdir(parents=True)
    (base / "old/one/x").write_text("x")
    (upper / "new/two").mkdir(parents=True)
    mark(upper / "new", "redirect", b"/old")
    mark(upper / "new/two", "redirect", b"one")
    whiteout(upper / "new/one")
    captured(trees)
    assert (upper / "new/two/x").read_text() == "x"


@pytest.fixture
def secret(trees):
    """A file of the machine's beside the volume."""
    (trees[0].parent / "secret").mkdir()
    (trees[0].parent / "secret/key").write_text("private")
    return trees[0].parent / "secret"


LEADING_OUT = [b"/../secret", b"../secret", b"/./../secret", b"/..", b"..", b"/"]


@pytest.mark.parametrize("redirect", [b"/old", *LEADING_OUT])
def test_a_redirect_that_a_step_wrote_itself_brings_nothing(trees, secret, redirect):
    base, upper = trees
    (base / "old").mkdir()
    (base / "old/x").write_text("x")
    (upper / "d").mkdir()
    os.setxattr(upper / "d", "user.overlay.redirect", redirect)
    assert [entry.path for entry in captured(trees).entries] == ["", "d"]
    assert os.listdir(upper / "d") == []
    assert os.listxattr(upper / "d") == []


@pytest.mark.parametrize("redirect", LEADING_OUT)
def test_a_redirect_never_leads_out_of_the_base(trees, secret, redirect):
    _, upper = trees
    (upper / "d").mkdir()
    mark(upper / "d", "redirect", redirect)
    assert [entry.path for entry in captured(trees).entries] == ["", "d"]


def test_a_metadata_only_file_that_a_step_made_itself_is_the_file_that_it_is(trees, secret):
    _, upper = trees
    (upper / "f").write_text("mine")
    os.setxattr(upper / "f", "user.overlay.metacopy", b"")
    os.setxattr(upper / "f", "user.overlay.redirect", b"/../secret/key")
    assert [entry.path for entry in captured(trees).entries] == ["", "f"]
    assert (upper / "f").read_text() == "mine"
    assert os.listxattr(upper / "f") == []


def test_names_of_one_inode_are_a_file_and_hard_links_to_it(trees):
    _, upper = trees
    (upper / "b").write_text("1")
    os.link(upper / "b", upper / "a")
    found = captured(trees).entries
    assert [(entry.path, entry.type, entry.target) for entry in found[1:]] == [("a", EntryType.FILE, ""), ("b", EntryType.HARD_LINK, "a")]


def test_what_a_volume_cannot_hold_is_dropped_and_counted(trees):
    _, upper = trees
    os.mkfifo(upper / "pipe")
    (upper / "tool").write_text("1")
    os.chmod(upper / "tool", 0o4755)
    found = captured(trees)
    assert found.dropped == 1
    assert [(entry.path, entry.mode) for entry in found.entries[1:]] == [("tool", 0o755)]
    assert stat.S_IMODE(os.stat(upper / "tool").st_mode) == 0o755


def test_a_tree_too_deep_to_name_is_dropped(trees):
    _, upper = trees
    here = os.open(upper, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    found = captured(trees)
    assert found.dropped == 1
    assert max(len(entry.path) for entry in found.entries) <= 3500


def test_stubs_and_the_empty_directories_made_for_them_are_no_part_of_it(trees):
    base, upper = trees
    (base / "had").write_text("")
    for name in ("new/deep/stub", "filled", "had"):
        path = upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("written" if name == "filled" else "")
    found = captured(trees, stubs=("new/deep/stub", "filled", "had"))
    assert [entry.path for entry in found.entries] == ["", "filled", "had"]


def test_passing_through_directories_changes_nothing(trees):
    base, upper = trees
    (base / "d").mkdir()
    (upper / "d").mkdir()
    os.chmod(upper, stat.S_IMODE(os.stat(base).st_mode))
    assert changes_nothing(captured(trees).entries, (str(base),))
    (upper / "d").chmod(0o700)
    assert not changes_nothing(captured(trees).entries, (str(base),))

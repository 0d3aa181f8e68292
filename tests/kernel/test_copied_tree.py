"""Copying does what overlayfs does: the same operations on both give the same tree and an equal upper."""

import os
import shutil
import stat

import pytest

from chandlery.linux import mount
from chandlery.linux.copied_tree import CopiedTree


def layers(root):
    """Two layers: files, links, a whiteout, an opaque directory, a file where a directory was."""
    one, two = root / "one", root / "two"
    for directory in (one / "etc/deep", one / "gone", one / "hidden/below", one / "became-file", two / "etc", two / "hidden", one / "same"):
        directory.mkdir(parents=True)
    for path in ("etc/a", "etc/deep/b", "gone/x", "hidden/below/y", "hidden/z", "became-file/w", "same/s", "linked"):
        (one / path).write_text(path)
    os.link(one / "linked", one / "linked-too")
    os.symlink("/etc/a", one / "link")
    os.chmod(one / "etc/deep/b", 0o4755)
    os.chown(one / "same/s", 7, 8)
    os.setxattr(one / "same/s", "user.mark", b"1")
    os.mknod(two / "gone", stat.S_IFCHR, 0)
    os.setxattr(two / "hidden", "trusted.overlay.opaque", b"y")
    (two / "hidden/new").write_text("new")
    (two / "became-file").write_text("file")
    (two / "etc/a").write_text("newer")
    for path in [one, two, *one.rglob("*"), *two.rglob("*")]:
        os.utime(path, ns=(10**18, 10**18 + 1), follow_symlinks=False)
    return [str(one), str(two)]


def change_nothing(root):
    pass


def write_and_delete(root):
    (root / "etc/deep/b").write_text("changed")
    (root / "etc/new").write_text("new")
    (root / "same/s").unlink()
    shutil.rmtree(root / "hidden")
    os.symlink("elsewhere", root / "newlink")


def replace_directories(root):
    shutil.rmtree(root / "etc")
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/deep/only").write_text("only")
    shutil.rmtree(root / "same")
    (root / "same").write_text("a file now")
    (root / "became-file").unlink()
    (root / "became-file").mkdir()


def change_metadata(root):
    os.chmod(root / "etc", 0o700)
    os.chown(root / "same/s", 1, 2)
    os.setxattr(root / "etc/deep", "user.mark", b"2")
    os.utime(root / "etc/a", ns=(5, 5))
    os.chmod(root, 0o711)


def keep_size_and_mtime(root):
    path = root / "etc/deep/b"
    before = os.stat(path)
    path.write_text("x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove_one_of_two_names(root):
    (root / "linked-too").unlink()


def described(root):
    """Every entry, comparable between an overlay and a copy: of times only those that nobody changed."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        seen = os.lstat(path)
        content = path.read_bytes() if stat.S_ISREG(seen.st_mode) else os.readlink(path) if stat.S_ISLNK(seen.st_mode) else b""
        names = sorted(name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.m") or name == "trusted.overlay.opaque")
        attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
        times = seen.st_mtime_ns if seen.st_mtime_ns < 1.1 * 10**18 else 0
        mode = 0 if stat.S_ISCHR(seen.st_mode) else seen.st_mode
        found[str(path.relative_to(root))] = (mode, seen.st_uid, seen.st_gid, content, attributes, times)
    return found


SIMPLE_CHANGES = [change_nothing, write_and_delete, change_metadata, keep_size_and_mtime, remove_one_of_two_names]


@pytest.fixture
def uppers(tmp_path):
    """Makes a change on an overlay and on a copy; the lowers and both uppers."""

    def make(change):
        lowers = layers(tmp_path)
        for name in ("upper", "work", "merged", "copied", "copied-upper"):
            (tmp_path / name).mkdir()
        for name in ("upper", "copied-upper"):
            os.utime(tmp_path / name, ns=(10**18, 10**18))
        mount.mount_overlay(str(tmp_path / "merged"), lowers, upper=str(tmp_path / "upper"), work=str(tmp_path / "work"))
        try:
            tree = CopiedTree(str(tmp_path / "copied"), lowers, upper=str(tmp_path / "copied-upper"))
            assert described(tmp_path / "copied") == described(tmp_path / "merged")
            change(tmp_path / "merged")
            change(tmp_path / "copied")
            tree.capture()
        finally:
            mount.unmount(str(tmp_path / "merged"))
        return lowers, tmp_path / "upper", tmp_path / "copied-upper"

    return make


@pytest.mark.parametrize("change", SIMPLE_CHANGES)
def test_the_same_changes_give_the_same_upper(uppers, change):
    _, upper, copied_upper = uppers(change)
    assert described(copied_upper) == described(upper)


@pytest.mark.parametrize("change", [*SIMPLE_CHANGES, replace_directories])
def test_the_same_changes_give_the_same_file_system(uppers, tmp_path, change):
    """A directory made anew may get the inode of the one that it replaces: then whiteouts say what an opaque mark would have."""
    lowers, upper, copied_upper = uppers(change)
    views = []
    for number, top in enumerate((upper, copied_upper)):
        view = tmp_path / f"view{number}"
        view.mkdir()
        mount.mount_overlay(str(view), [*lowers, str(top)])
        views.append(described(view))
        mount.unmount(str(view))
    assert views[0] == views[1]


def test_names_of_one_inode_stay_one(tmp_path):
    lowers = layers(tmp_path)
    (tmp_path / "copied").mkdir()
    CopiedTree(str(tmp_path / "copied"), lowers)
    assert os.stat(tmp_path / "copied/linked").st_ino == os.stat(tmp_path / "copied/linked-too").st_ino


def test_a_link_in_a_deeper_layer_leads_nowhere(tmp_path):
    for name in ("one", "two/a", "outside", "copied"):
        (tmp_path / name).mkdir(parents=True)
    os.symlink(tmp_path / "outside", tmp_path / "one/a")
    (tmp_path / "two/a/file").write_text("x")
    CopiedTree(str(tmp_path / "copied"), [str(tmp_path / "one"), str(tmp_path / "two")])
    assert os.listdir(tmp_path / "outside") == []
    assert (tmp_path / "copied/a/file").exists()

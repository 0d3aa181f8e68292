"""Layers of real overlays: what a step deleted and replaced in one overlay is deleted and replaced in another."""

import io
import os
import shutil
import stat
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fakes.tars import archive, file, header

from chandlery.errors import ChandleryError, InternalError, NoSpace
from chandlery.layer.pack import digest_diff, pack_layer, tar_chunks
from chandlery.layer.unpack import apply_layer, unpack
from chandlery.linux import mount
from chandlery.linux.id_map import IdMap
from chandlery.linux.removal import remove_tree


@contextmanager
def overlay(target: Path, lowers: list[Path], *, upper: Path | None = None):
    target.mkdir(exist_ok=True)
    writable = {}
    if upper is not None:
        work = upper.with_name(upper.name + ".work")
        upper.mkdir(exist_ok=True)
        work.mkdir(exist_ok=True)
        writable = {"upper": str(upper), "work": str(work)}
    mount.mount_overlay(str(target), [str(lower) for lower in lowers], **writable)
    try:
        yield target
    finally:
        mount.unmount(str(target))


def view(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else os.fsencode(os.readlink(path)) if path.is_symlink() else b""
            found[str(path.relative_to(root))] = (status.st_mode, status.st_uid, status.st_rdev, content)
    return found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = tmp_path / "base"
    for path in ("etc/keep", "etc/gone", "old/a", "old/sub/b", "renewed/a", "renewed/b", "tofile/x", "mode/x", "link/x"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    (root / "todir").write_text("a file")
    return root


def step(root: Path) -> None:
    """What a step may do to a tree, every kind of change that an overlay writes down differently."""
    (root / "etc/gone").unlink()
    shutil.rmtree(root / "old")
    shutil.rmtree(root / "renewed")
    (root / "renewed").mkdir(mode=0o750)
    (root / "renewed/b").write_text("new b")
    shutil.rmtree(root / "tofile")
    (root / "tofile").write_text("now a file")
    (root / "todir").unlink()
    (root / "todir").mkdir()
    (root / "todir/new").write_text("below")
    (root / "mode").chmod(0o1770)
    shutil.rmtree(root / "link")
    (root / "link").symlink_to("etc")
    (root / "hard").hardlink_to(root / "todir/new")
    os.mknod(root / "device", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.chown(root / "todir/new", 1234, 5678)
    (root / "etc/suid").write_text("x")
    os.chown(root / "etc/suid", 7, 7)
    (root / "etc/suid").chmod(0o6755)


def test_a_step_is_the_same_step_after_pack_and_unpack(base: Path, tmp_path: Path) -> None:
    with overlay(tmp_path / "merged", [base], upper=tmp_path / "upper") as merged:
        step(merged)
        expected = view(merged)
    blob = io.BytesIO()
    packed = pack_layer(str(tmp_path / "upper"), blob.write)
    (tmp_path / "snapshot").mkdir()
    blob.seek(0)
    apply_layer(blob, str(tmp_path / "snapshot"), expected_diff_id=packed.diff_id)
    with overlay(tmp_path / "again", [base, tmp_path / "snapshot"]) as again:
        assert view(again) == expected
    assert digest_diff(str(tmp_path / "snapshot")) == digest_diff(str(tmp_path / "upper"))


def test_deletions_have_the_names_of_the_specification(base: Path, tmp_path: Path) -> None:
    with overlay(tmp_path / "merged", [base], upper=tmp_path / "upper") as merged:
        step(merged)
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_chunks(str(tmp_path / "upper"))))) as tar:
        marks = {member.name for member in tar if ".wh." in member.name}
    # a file in a directory's place hides it without a mark; a directory in a file's place is opaque
    assert marks == {"etc/.wh.gone", ".wh.old", "renewed/.wh..wh..opq", "todir/.wh..wh..opq"}


def test_plain_tar_and_overlay_agree_on_a_layer(base: Path, tmp_path: Path) -> None:
    """umoci is the independent reader: it applies layers without an overlay."""
    if shutil.which("umoci") is None:
        pytest.skip("needs umoci")
    with overlay(tmp_path / "merged", [base], upper=tmp_path / "upper") as merged:
        step(merged)
        (merged / "device").unlink()
        expected = view(merged)
    layout = tmp_path / "layout"
    subprocess.run(["umoci", "init", "--layout", layout], check=True)
    subprocess.run(["umoci", "new", "--image", f"{layout}:t"], check=True)
    for number, directory in enumerate((base, tmp_path / "upper")):
        tar = tmp_path / f"{number}.tar"
        tar.write_bytes(b"".join(tar_chunks(str(directory))))
        subprocess.run(["umoci", "raw", "add-layer", "--image", f"{layout}:t", tar], check=True)
    subprocess.run(["umoci", "raw", "unpack", "--image", f"{layout}:t", tmp_path / "out"], check=True)
    assert view(tmp_path / "out") == expected


def test_opaque_and_whiteout_in_any_order_hide_what_is_below(base: Path, tmp_path: Path) -> None:
    orders = {
        "mark first": [file(b"renewed/.wh..wh..opq"), file(b"renewed/b", b"new"), file(b".wh.old"), header(b"old/", b"5"), file(b"old/c")],
        "mark last": [file(b"renewed/b", b"new"), file(b"renewed/.wh..wh..opq"), header(b"old/", b"5"), file(b"old/c"), file(b".wh.old")],
        "implied parents": [file(b"renewed/.wh..wh..opq"), file(b"renewed/b", b"new"), file(b".wh.old"), file(b"old/c")],
    }
    for name, members in orders.items():
        snapshot = tmp_path / name.replace(" ", "-")
        snapshot.mkdir()
        unpack(archive(*members), str(snapshot))
        with overlay(tmp_path / "merged", [base, snapshot]) as merged:
            assert os.listdir(merged / "renewed") == ["b"], name
            assert os.listdir(merged / "old") == ["c"], name


def test_a_file_whiteout_followed_by_the_file_is_the_file(base: Path, tmp_path: Path) -> None:
    for number, members in enumerate(([file(b"etc/.wh.gone"), file(b"etc/gone", b"new")], [file(b"etc/gone", b"new"), file(b"etc/.wh.gone")])):
        snapshot = tmp_path / f"s{number}"
        snapshot.mkdir()
        unpack(archive(*members), str(snapshot))
        with overlay(tmp_path / "merged", [base, snapshot]) as merged:
            assert (merged / "etc/gone").read_bytes() == b"new"


def test_file_capabilities_survive(tmp_path: Path) -> None:
    # struct vfs_cap_data, version 2: cap_net_bind_service, effective (capabilities(7))
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    (tmp_path / "tree").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "tree/ping").write_bytes(b"")
    os.chown(tmp_path / "tree/ping", 5, 5)
    os.setxattr(tmp_path / "tree/ping", "security.capability", capability)
    unpack(tar_chunks(str(tmp_path / "tree")), str(tmp_path / "copy"))
    assert os.getxattr(tmp_path / "copy/ping", "security.capability") == capability
    assert (tmp_path / "copy/ping").stat().st_uid == 5


def test_large_owners_and_attributes_survive(tmp_path: Path) -> None:
    (tmp_path / "tree/d").mkdir(parents=True)
    (tmp_path / "copy").mkdir()
    (tmp_path / "tree/d/file").write_bytes(b"x")
    os.chown(tmp_path / "tree/d/file", 3_000_000_000, 2_097_152)
    os.setxattr(tmp_path / "tree/d/file", "user.note", b"\x00=\n")
    os.setxattr(tmp_path / "tree/d", "user.on-a-directory", b"1")
    os.setxattr(tmp_path / "tree/d", "trusted.machine", b"1")
    unpack(tar_chunks(str(tmp_path / "tree")), str(tmp_path / "copy"))
    status = (tmp_path / "copy/d/file").stat()
    assert (status.st_uid, status.st_gid) == (3_000_000_000, 2_097_152)
    assert os.getxattr(tmp_path / "copy/d/file", "user.note") == b"\x00=\n"
    assert os.listxattr(tmp_path / "copy/d") == ["user.on-a-directory"]


def test_one_id_map_takes_owners_in_and_out(tmp_path: Path) -> None:
    id_map = IdMap(uids=((0, 100_000, 65_536),), gids=((0, 200_000, 65_536),))
    (tmp_path / "host").mkdir()
    unpack(archive(file(b"d/f", b"x", uid=7, gid=8), header(b"l", b"2", link=b"d", uid=7, gid=8)), str(tmp_path / "host"), id_map=id_map)
    owners = {path: (os.lstat(tmp_path / "host" / path).st_uid, os.lstat(tmp_path / "host" / path).st_gid) for path in ("d", "d/f", "l")}
    assert owners == {"d": (100_000, 200_000), "d/f": (100_007, 200_008), "l": (100_007, 200_008)}
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_chunks(str(tmp_path / "host"), id_map=id_map)))) as tar:
        assert {member.name: (member.uid, member.gid) for member in tar} == {"d": (0, 0), "d/f": (7, 8), "l": (7, 8)}


@pytest.mark.parametrize("reference", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_an_upper_that_refers_to_its_lower_is_refused(tmp_path: Path, reference: str) -> None:
    (tmp_path / "upper/d").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/d", reference, b"/old")
    with pytest.raises(InternalError) as refused:
        list(tar_chunks(str(tmp_path / "upper")))
    assert refused.value.code == "layer.overlay-reference"


@pytest.mark.parametrize("namespace", ["trusted", "user"])
def test_opaque_marks_and_whiteouts_are_read_in_both_forms(tmp_path: Path, namespace: str) -> None:
    (tmp_path / "upper/d").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/d", f"{namespace}.overlay.opaque", b"y")
    (tmp_path / "upper/gone").write_bytes(b"")
    os.setxattr(tmp_path / "upper/gone", f"{namespace}.overlay.whiteout", b"")
    (tmp_path / "upper/empty").write_bytes(b"")
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_chunks(str(tmp_path / "upper"))))) as tar:
        assert tar.getnames() == ["d", "d/.wh..wh..opq", "empty", ".wh.gone"]
        assert not any(member.pax_headers for member in tar)


def test_a_disk_that_is_full_says_so(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    mount.mount_tmpfs(str(tmp_path / "small"), size_bytes=1 << 20)
    try:
        with pytest.raises(NoSpace) as full:
            unpack(archive(file(b"big", bytes(2 << 20))), str(tmp_path / "small"))
    finally:
        mount.unmount(str(tmp_path / "small"))
    assert full.value.code == "machine.no-space"


def test_a_tree_deeper_than_any_path_is_packed_and_refused_on_the_way_in(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    here = os.getcwd()
    os.chdir(tmp_path / "tree")
    try:
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    try:
        with pytest.raises(ChandleryError) as refused:
            for _ in tar_chunks(str(tmp_path / "tree")):
                pass
    finally:
        remove_tree(str(tmp_path / "tree"))
    assert refused.value.code == "layer.path-too-long"

"""Overlays by each method, binds, and their errors."""

import os

import pytest

from chandlery.errors import MachineError
from chandlery.linux import mount
from chandlery.linux.mount import MountMethod, OverlayOptions

METHODS = [MountMethod.FSCONFIG, MountMethod.LEGACY]


@pytest.fixture
def tree(tmp_path):
    """Makes lowers (each with a file of its number), an upper, a work directory and a target; unmounts the target."""
    names = [tmp_path / name for name in ("upper", "work", "target")]
    for name in names:
        name.mkdir()

    def make(count, stem="l"):
        lowers = []
        for number in range(count):
            lower = tmp_path / f"{stem}{number}"
            lower.mkdir()
            (lower / str(number)).write_text(str(number))
            lowers.append(str(lower))
        return lowers, *map(str, names)

    yield make
    mount.unmount(str(names[2]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_any_number_of_lowers_below_an_upper(tree, method, count):
    lowers, upper, work, target = tree(count)
    mount.mount_overlay(target, lowers, upper=upper, work=work, method=method)
    assert len(os.listdir(target)) == count
    with open(f"{target}/new", "w"):
        pass
    assert os.listdir(upper) == ["new"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_any_number_of_lowers_read_only(tree, method, count):
    lowers, _, _, target = tree(count)
    mount.mount_overlay(target, lowers, method=method)
    assert len(os.listdir(target)) == count
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir(f"{target}/new")


@pytest.mark.parametrize("method", METHODS)
def test_later_lowers_cover_earlier_ones(tree, tmp_path, method):
    lowers, upper, work, target = tree(3)
    for lower in lowers:
        with open(f"{lower}/same", "w") as file:
            file.write(lower)
    mount.mount_overlay(target, lowers, upper=upper, work=work, method=method)
    with open(f"{target}/same") as file:
        assert file.read() == lowers[2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stem", ["a,b:c\\d", "x" * 200 + "/" + "y" * 200])
def test_awkward_and_long_names(tree, tmp_path, method, stem):
    (tmp_path / stem).parent.mkdir(exist_ok=True)
    lowers, upper, work, target = tree(2, stem)
    mount.mount_overlay(target, lowers, upper=upper, work=work, method=method)
    assert sorted(os.listdir(target)) == ["0", "1"]


@pytest.mark.parametrize("method", METHODS)
def test_a_chmod_copies_only_metadata_where_asked(tree, method):
    lowers, upper, work, target = tree(2)
    options = OverlayOptions(follows_renames=True, copies_metadata_only=True)
    mount.mount_overlay(target, lowers, upper=upper, work=work, options=options, method=method)
    os.chmod(f"{target}/0", 0o600)
    assert "trusted.overlay.metacopy" in os.listxattr(f"{upper}/0")


@pytest.mark.parametrize("method", METHODS)
def test_renaming_a_lower_directory_is_refused_by_default_as_a_layer_cannot_tell(tree, method):
    lowers, upper, work, target = tree(2)
    os.mkdir(f"{lowers[0]}/dir")
    mount.mount_overlay(target, lowers, upper=upper, work=work, method=method)
    with pytest.raises(OSError, match="cross-device"):
        os.rename(f"{target}/dir", f"{target}/moved")


def test_a_bind_brings_what_is_mounted_below_and_is_read_only_throughout(tmp_path):
    source, target = tmp_path / "source", tmp_path / "there"
    (source / "inner").mkdir(parents=True)
    target.mkdir()
    mount.mount_tmpfs(str(source / "inner"), size_bytes=1 << 20)
    (source / "inner/file").write_text("x")
    mount.bind(str(source), str(target), is_read_only=True)
    try:
        assert (target / "inner/file").read_text() == "x"
        for path in (target / "new", target / "inner/new"):
            with pytest.raises(OSError, match="Read-only"):
                path.mkdir()
    finally:
        mount.unmount(str(target / "inner"))
        mount.unmount(str(target))
        mount.unmount(str(source / "inner"))


def test_a_busy_mount_goes_all_the_same(tmp_path):
    mount.mount_tmpfs(str(tmp_path))
    with open(tmp_path / "open", "w"):
        mount.unmount(str(tmp_path))
        assert not os.path.ismount(tmp_path)


def test_unmounting_nothing_is_fine(tmp_path):
    mount.unmount(str(tmp_path))


def test_what_cannot_be_an_upper_is_said(tree):
    lowers, _, _, target = tree(2)
    with pytest.raises(MachineError) as caught:
        mount.mount_overlay(target, lowers, upper="/proc", work="/proc/self")
    assert caught.value.code == "machine.no-overlay"
    assert caught.value.hint


def test_the_probe_finds_a_method_that_works(tmp_path):
    assert mount.probe_method(str(tmp_path)) in METHODS
    assert os.listdir(tmp_path) == []

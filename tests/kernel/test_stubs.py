"""Mount points made for a step, and a layer that shows nothing of them."""

import os

import pytest

from chandlery.linux import mount
from chandlery.runtime.process import RuntimeMount
from chandlery.runtime.stubs import MountStubs


@pytest.fixture
def layer(tmp_path):
    """A mounted overlay with some lower directories of a known time."""
    lower, upper, work, merged = (tmp_path / name for name in ("lower", "upper", "work", "merged"))
    for directory in (lower / "etc/deep", lower / "usr", upper, work, merged):
        directory.mkdir(parents=True)
    for path in ("etc/deep", "etc", "usr", "."):
        os.utime(lower / path, ns=(10**18, 10**18))

    class Layer:
        def __init__(self):
            self.lower, self.upper, self.merged = lower, upper, merged

        def finish(self, stubs):
            stubs.remove()
            mount.unmount(str(merged))
            stubs.clean_upper()
            return sorted(str(path.relative_to(upper)) for path in upper.rglob("*"))

    mount.mount_overlay(str(merged), [str(lower)], upper=str(upper), work=str(work))
    yield Layer()
    mount.unmount(str(merged))


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_text("x")
    return str(tmp_path / "source")


def test_nothing_is_left_of_points_that_the_step_did_not_touch(layer, source, tmp_path):
    root_time_ns = os.stat(layer.upper).st_mtime_ns
    mounts = (RuntimeMount("/etc/resolv.conf", source), RuntimeMount("/etc/deep/new/dir", str(tmp_path)), RuntimeMount("/cache", kind="tmpfs"))
    stubs = MountStubs(str(layer.merged), mounts, upper=str(layer.upper))
    assert os.path.isfile(layer.merged / "etc/resolv.conf")
    assert os.path.isdir(layer.merged / "etc/deep/new/dir")
    assert os.path.isdir(layer.merged / "proc")
    assert layer.finish(stubs) == []
    assert os.stat(layer.upper).st_mtime_ns == root_time_ns


def test_what_the_step_wrote_beside_a_point_stays(layer, source):
    stubs = MountStubs(str(layer.merged), (RuntimeMount("/etc/resolv.conf", source),), upper=str(layer.upper))
    (layer.merged / "etc/mine").write_text("mine")
    assert layer.finish(stubs) == ["etc", "etc/mine"]
    assert os.stat(layer.upper / "etc").st_mtime_ns != 10**18


def test_a_changed_file_inside_keeps_its_parents_time(layer, source):
    (layer.lower / "etc/deep").stat()
    stubs = MountStubs(str(layer.merged), (RuntimeMount("/etc/resolv.conf", source),), upper=str(layer.upper))
    os.chmod(layer.merged / "etc/deep", 0o700)
    assert layer.finish(stubs) == ["etc", "etc/deep"]
    assert os.stat(layer.upper / "etc").st_mtime_ns == 10**18


def test_a_point_that_the_step_replaced_stays(layer, source):
    stubs = MountStubs(str(layer.merged), (RuntimeMount("/etc/resolv.conf", source),), upper=str(layer.upper))
    os.unlink(layer.merged / "etc/resolv.conf")
    (layer.merged / "etc/resolv.conf").write_text("the step's")
    assert layer.finish(stubs) == ["etc", "etc/resolv.conf"]


def test_links_are_followed_inside_the_root_only(layer, source, tmp_path):
    os.symlink("/run/resolv.conf", layer.merged / "etc/resolv.conf")
    os.symlink("../../../../..", layer.merged / "up")
    mounts = (RuntimeMount("/etc/resolv.conf", source), RuntimeMount("/up/out", source))
    stubs = MountStubs(str(layer.merged), mounts, upper=str(layer.upper))
    assert [point.target for point in stubs.mounts] == ["/run/resolv.conf", "/out"]
    assert os.path.isfile(layer.merged / "run/resolv.conf")
    assert layer.finish(stubs) == ["etc", "etc/resolv.conf", "up"]


def test_a_step_that_leads_a_parent_elsewhere_harms_nothing(layer, source, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "point").write_text("")
    stubs = MountStubs(str(layer.merged), (RuntimeMount("/a/point", source),), upper=str(layer.upper))
    os.unlink(layer.merged / "a/point")
    os.rmdir(layer.merged / "a")
    os.symlink(victim, layer.merged / "a")
    layer.finish(stubs)
    assert (victim / "point").exists()


def test_a_point_inside_another_mount_is_made_there_and_removed(layer, source, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    mounts = (RuntimeMount("/root/.m2", str(volume)), RuntimeMount("/root/.m2/settings.xml", source))
    stubs = MountStubs(str(layer.merged), mounts, upper=str(layer.upper))
    assert (volume / "settings.xml").is_file()
    assert layer.finish(stubs) == []
    assert os.listdir(volume) == []

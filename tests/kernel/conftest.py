"""Tests against the real kernel: root, overlayfs, cgroups, crun and runc. Each is checked to leave nothing."""

import itertools
import os
import shutil
import threading

import pytest
from tests import leaks

from chandlery.linux import cgroup, namespaces
from chandlery.linux.cgroup import UNLIMITED
from chandlery.runtime import oci_cli
from chandlery.runtime.process import StepNetwork, StepSpec

BUSYBOX = shutil.which("busybox")
APPLETS = ("sh", "true", "cat", "ls", "id", "sleep", "setsid", "echo", "stat", "touch", "rm", "mkdir", "nc", "nslookup", "dd", "mount", "unshare")
_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def private_mounts():
    """The thread that runs the tests has mounts of its own, as the engine's has."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    namespaces.enter_private_mounts()


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, private_mounts):
    with leaks.none_left(str(tmp_path)):
        yield


@pytest.fixture
def rootfs(tmp_path):
    """A root with a static busybox and two users."""
    if BUSYBOX is None:
        pytest.skip("needs busybox-static")
    root = tmp_path / "rootfs"
    for name in ("bin", "etc", "proc", "dev", "sys", "tmp", "home/alice"):
        (root / name).mkdir(parents=True)
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nalice:x:1001:\nstaff:x:50:alice\n")
    return str(root)


class StepRunner:
    """Runs steps with one runtime, each in a cgroup of its own."""

    def __init__(self, name, directory, rootfs):
        self.directory = directory
        self.rootfs = rootfs
        self.runtime = oci_cli.detect(str(directory / "state"), name)

    def run(self, *argv, limits=UNLIMITED, network_path="", cancelled=None, timeout_s=20.0, has_cgroup=True, **spec):
        number = next(_numbers)
        bundle_dir = self.directory / f"bundle{number}"
        bundle_dir.mkdir()
        group = cgroup.create(f"t{os.getpid()}-{number}", limits) if has_cgroup else None
        pieces = {1: [], 2: []}
        spec = {"rootfs": self.rootfs, "env": ("PATH=/bin",), "network": StepNetwork.NONE} | spec
        try:
            status = self.runtime.run(
                StepSpec(argv=argv, limits=limits, **spec),
                bundle_dir=str(bundle_dir),
                cgroup=group,
                network_path=network_path,
                output=lambda stream, data: pieces[stream].append(data),
                cancelled=cancelled,
                timeout_s=timeout_s,
            )
        finally:
            if group is not None:
                group.remove()
        return Finished(status, b"".join(pieces[1]).decode(), b"".join(pieces[2]).decode())

    def shell(self, script, **options):
        return self.run("/bin/sh", "-c", script, **options)


class Finished:
    def __init__(self, status, out, err):
        self.status = status
        self.code = status.code
        self.out = out
        self.err = err


@pytest.fixture(params=["crun", "runc"])
def steps(request, tmp_path, rootfs):
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    made = StepRunner(request.param, tmp_path, rootfs)
    yield made
    made.runtime.close()


@pytest.fixture
def cancel_after():
    """An event that sets itself after some seconds."""
    timers = []

    def make(seconds):
        event = threading.Event()
        timers.append(threading.Timer(seconds, event.set))
        timers[-1].start()
        return event

    yield make
    for timer in timers:
        timer.cancel()
        timer.join()

"""Ends that nobody planned: the engine is killed, and a later one cleans up; and a step with a terminal of its own."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chandlery.errors import MachineError
from chandlery.linux import cgroup, libc, mount
from chandlery.linux.cgroup import Limits
from chandlery.runtime.guard import Guard

RUN_A_STEP = """
import sys
from chandlery.linux import cgroup, mount, namespaces
from chandlery.runtime import oci_cli
from chandlery.runtime.process import StepNetwork, StepSpec
namespaces.enter_private_mounts()
runtime_name, directory, build, argument, mode = sys.argv[1:6]
mount.mount_overlay(directory + "/merged", [directory + "/rootfs"], upper=directory + "/upper", work=directory + "/work")
spec = StepSpec(argv=("/bin/sh", "-c", argument), rootfs=directory + "/merged", env=("PATH=/bin",), network=StepNetwork.NONE, is_interactive=mode == "terminal")
group = cgroup.create(build + "-1") if mode != "bare" else None
runtime = oci_cli.detect(directory + "/state", runtime_name)
status = runtime.run(spec, bundle_dir=directory + "/bundle", cgroup=group)
runtime.close()
if group is not None:
    group.remove()
mount.unmount(directory + "/merged")
sys.exit(status.code)
"""


@pytest.fixture(params=["crun", "runc"])
def name(request):
    return request.param


@pytest.fixture
def start(tmp_path, rootfs, name):
    """Starts an engine of its own process that runs one step."""
    for directory in ("merged", "upper", "work", "bundle"):
        (tmp_path / directory).mkdir()

    def begin(argument, mode, **streams):
        argv = [sys.executable, "-c", RUN_A_STEP, name, str(tmp_path), f"t{os.getpid()}k", argument, mode]
        return subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": "src"}, **streams)

    return begin


def test_a_killed_engines_steps_mounts_and_cgroups_are_gone_after_the_next_start(start, tmp_path):
    mark = f"5{os.getpid()}.1"
    child = start(f"sleep {mark} & setsid sleep {mark} & sleep {mark}", "cgroup")
    _wait_until(lambda: len(_processes_with(mark)) >= 3)
    child.kill()
    child.wait()
    assert str(tmp_path) not in Path("/proc/thread-self/mountinfo").read_text()
    assert cgroup.remove_dead(f"t{os.getpid()}", lambda build: build != "k") == 1
    _wait_until(lambda: not _processes_with(mark))


@pytest.mark.parametrize("mode", ["bare", "cgroup", "terminal"])
def test_a_killed_engines_step_ends_at_once_all_of_it(start, tmp_path, mode):
    mark = f"6{os.getpid()}.1"
    child = start(f"sleep {mark} & setsid sleep {mark} & sleep {mark}", mode)
    _wait_until(lambda: len(_processes_with(mark)) >= 3)
    child.kill()
    child.wait()
    _wait_until(lambda: not _processes_with(mark), within_s=2)
    cgroup.remove_dead(f"t{os.getpid()}k", lambda _build: False)


def test_a_step_that_was_only_starting_when_the_engine_was_killed_ends_too(start, tmp_path):
    mark = f"7{os.getpid()}.1"
    child = start(f"sleep {mark}", "bare")
    _wait_until(lambda: _guards_of(tmp_path))
    child.kill()
    child.wait()
    _wait_until(lambda: not _guards_of(tmp_path), within_s=5)
    assert not _processes_with(mark)


def test_a_dismissed_guard_kills_nothing(tmp_path):
    (tmp_path / "state/c1").mkdir(parents=True)
    bystander = subprocess.Popen(["sleep", "60"])
    (tmp_path / "state/c1/status").write_text(f'{{"pid": {bystander.pid}, "x": 1}}')
    Guard(str(tmp_path / "state"), "status", "pid").dismiss()
    alive = bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert alive


def test_a_living_builds_cgroups_stay(tmp_path):
    group = cgroup.create(f"t{os.getpid()}-living-1")
    try:
        assert cgroup.remove_dead(f"t{os.getpid()}-", lambda build: build == "living") == 0
    finally:
        group.remove()


def test_an_interactive_step_has_a_terminal(start):
    ours, theirs = pty.openpty()
    child = start("test -t 0 && test -t 1 && echo has-a-terminal; read line; echo got $line; exit 3", "terminal", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while b"has-a-terminal" not in seen:
            seen += os.read(ours, 1000)
        os.write(ours, b"word\n")
        while b"got word" not in seen:
            seen += os.read(ours, 1000)
    finally:
        code = child.wait()
        os.close(ours)
    assert code == 3


def test_limits_are_in_the_kernels_files(tmp_path):
    limits = Limits(memory_bytes=64 << 20, cpu_shares=512, cpu_period_us=50_000, cpu_quota_us=25_000, cpuset_cpus="0", cpuset_mems="0", pids=77)
    group = cgroup.create(f"t{os.getpid()}-limits", limits)
    expected = {
        "memory/{}/memory.limit_in_bytes": str(64 << 20),
        "cpu/{}/cpu.shares": "512",
        "cpu/{}/cpu.cfs_period_us": "50000",
        "cpu/{}/cpu.cfs_quota_us": "25000",
        "cpuset/{}/cpuset.cpus": "0",
        "pids/{}/pids.max": "77",
    }
    try:
        if not os.path.isdir("/sys/fs/cgroup/memory"):
            pytest.skip("needs cgroup version 1")
        found = {pattern: Path("/sys/fs/cgroup", pattern.format(f"chandlery/{group.name}")).read_text().strip() for pattern in expected}
    finally:
        group.remove()
    assert found == expected


def test_a_value_that_the_kernel_refuses_is_said():
    with pytest.raises(MachineError) as caught:
        cgroup.create(f"t{os.getpid()}-bad", Limits(cpuset_cpus="4000"))
    assert caught.value.code == "machine.bad-limit"


@pytest.fixture
def unified(tmp_path, monkeypatch):
    """Cgroup version 2, as far as a machine has it whose controllers are all version 1's: without any."""
    directory = tmp_path / "cgroup2"
    directory.mkdir()
    libc.mount("none", str(directory), "cgroup2", 0)
    monkeypatch.setattr(cgroup, "_ROOT", str(directory))
    yield directory
    os.rmdir(directory / "chandlery")
    mount.unmount(str(directory))


def test_version_2_kills_all_at_once(unified):
    group = cgroup.create(f"t{os.getpid()}-2")
    child = subprocess.Popen(group.entering(["/bin/sh", "-c", "setsid sleep 60 & sleep 60"]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _wait_until(lambda: len((unified / "chandlery" / group.name / "cgroup.procs").read_text().split()) >= 3)
    group.kill()
    assert child.wait() == -9
    group.remove()
    assert not (unified / "chandlery" / group.name).exists()


def test_version_2_guards_a_runtime_in_a_leaf(unified):
    group = cgroup.create(f"t{os.getpid()}-3")
    child = subprocess.Popen(group.guarding(["/bin/sleep", "60"]))
    _wait_until((unified / "chandlery" / group.name / "launcher/cgroup.procs").read_text)
    group.remove()
    assert child.wait() == -9


def test_limits_that_cannot_hold_are_refused(unified):
    cgroup.create(f"t{os.getpid()}-4").remove()
    with pytest.raises(MachineError) as caught:
        cgroup.create(f"t{os.getpid()}-4", Limits(memory_bytes=1 << 20))
    assert caught.value.code == "machine.no-cgroups"


def test_where_cgroups_cannot_be_written_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroup, "_ROOT", str(tmp_path / "missing"))
    assert cgroup.create(f"t{os.getpid()}-5") is None


def _wait_until(is_true, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _processes_with(mark):
    """The sleeps themselves, not the shells that name them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\0" + mark.encode() + b"\0":
                found.append(pid)
        except OSError:
            continue
    return found


def _guards_of(directory):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"chandlery-guard" in Path(f"/proc/{pid}/cmdline").read_bytes() and os.readlink(f"/proc/{pid}/cwd").startswith(str(directory)):
                found.append(pid)
        except OSError:
            continue
    return found

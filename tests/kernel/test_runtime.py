"""Steps in crun and runc: their streams and status, their confinement, their end."""

import os
import threading
import time

import pytest

from chandlery.errors import MachineError
from chandlery.linux.cgroup import Limits
from chandlery.runtime import bundle, oci_cli
from chandlery.runtime.process import RuntimeMount, StepUser, Ulimit


def test_true_ends_with_zero(steps):
    assert steps.run("/bin/true").code == 0


def test_streams_and_status_come_through(steps):
    finished = steps.shell("echo out; echo err >&2; exit 7")
    assert (finished.code, finished.out, finished.err) == (7, "out\n", "err\n")


def test_output_comes_while_the_step_runs(steps, tmp_path):
    (tmp_path / "b").mkdir()
    seen = []
    cancelled = threading.Event()

    def output(stream, data):
        seen.append(data)
        cancelled.set()  # ends the step: nothing else would

    from chandlery.runtime.process import StepNetwork, StepSpec

    spec = StepSpec(argv=("/bin/sh", "-c", "echo now; sleep 60"), rootfs=steps.rootfs, env=("PATH=/bin",), network=StepNetwork.NONE)
    status = steps.runtime.run(spec, bundle_dir=str(tmp_path / "b"), cgroup=None, output=output, cancelled=cancelled)
    assert (seen, status.was_cancelled) == ([b"now\n"], True)


def test_a_megabyte_of_output_is_complete(steps):
    finished = steps.shell("dd if=/dev/zero bs=1024 count=1024 2>/dev/null")
    assert len(finished.out) == 1 << 20


@pytest.mark.parametrize(("argv", "code"), [(("/bin/missing",), 127), (("missing",), 127), (("/etc/passwd",), 126)])
def test_a_command_that_cannot_start_has_a_shells_status(steps, argv, code):
    finished = steps.run(*argv)
    assert finished.code == code
    assert finished.err


def test_a_signal_is_128_and_its_number(steps):
    assert steps.shell("sh -c 'kill -9 $$'; exit $?").code == 137


def test_user_groups_directory_and_environment(steps):
    finished = steps.shell("id -u; id -g; id -G; pwd; echo $HOME", user=StepUser(1000, 1001, (50,), "/home/alice"), cwd="/tmp")
    assert finished.out.split("\n")[:5] == ["1000", "1001", "1001 50", "/tmp", "/home/alice"]


def test_hostname(steps):
    assert steps.shell("cat /proc/sys/kernel/hostname", hostname="ship").out == "ship\n"


def test_capabilities_are_dockers(steps):
    status = dict(line.split(":\t") for line in steps.shell("cat /proc/self/status").out.splitlines() if line.startswith("Cap"))
    assert status["CapEff"] == status["CapBnd"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0000000000000000"


def test_other_users_have_no_capabilities_but_may_gain_them(steps):
    status = dict(line.split(":\t") for line in steps.shell("cat /proc/self/status", user=StepUser(1000, 1001)).out.splitlines() if "\t" in line)
    assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"]) == ("0000000000000000", "00000000a80425fb", "0")


def test_seccomp_filters_and_answers_as_dockers(steps):
    finished = steps.shell("cat /proc/self/status | { while read a b; do [ $a = Seccomp: ] && echo $b; done; }; unshare -U true")
    assert finished.out == "2\n"
    assert "not permitted" in finished.err


def test_proc_is_masked_and_sysctls_are_read_only(steps):
    finished = steps.shell("cat /proc/kcore; cat /proc/keys; echo 1 >/proc/sys/kernel/hostname || echo read-only; ls /sys/firmware")
    assert finished.out == "read-only\n"


def test_sys_is_read_only_and_shm_has_its_size(steps):
    finished = steps.shell("cat /proc/mounts", shm_size_bytes=8 << 20)
    rows = {row.split()[1]: row.split()[3] for row in finished.out.splitlines()}
    assert rows["/sys"].startswith("ro,")
    assert "size=8192k" in rows["/dev/shm"]


def test_ulimits(steps):
    assert steps.shell("ulimit -n; ulimit -c", ulimits=(Ulimit("nofile", 123, 456), Ulimit("core", 0, 0))).out == "123\n0\n"


def test_mounts_are_bound_and_read_only_where_asked(steps, tmp_path):
    for name in ("source", "kept"):
        (tmp_path / name).mkdir()
    (tmp_path / "source/file").write_text("content")
    for name in ("in", "out", "t"):
        os.mkdir(os.path.join(steps.rootfs, name))
    mounts = (RuntimeMount("/in", str(tmp_path / "source"), is_read_only=True), RuntimeMount("/out", str(tmp_path / "kept")))
    finished = steps.shell("cat /in/file; touch /in/x || echo refused; echo new >/out/new; touch /t/a", mounts=(*mounts, RuntimeMount("/t", kind="tmpfs")))
    assert (finished.out, finished.code) == ("contentrefused\n", 0)
    assert (tmp_path / "kept/new").read_text() == "new\n"
    assert os.listdir(os.path.join(steps.rootfs, "t")) == []


def test_the_memory_limit_kills_and_is_reported(steps):
    finished = steps.shell("dd if=/dev/zero of=/dev/null bs=100M count=1; exit $?", limits=Limits(memory_bytes=20 << 20))
    assert (finished.code, finished.status.was_oom_killed) == (137, True)


def test_a_step_within_its_memory_is_not_reported(steps):
    finished = steps.run("/bin/true", limits=Limits(memory_bytes=64 << 20))
    assert (finished.code, finished.status.was_oom_killed) == (0, False)


def test_the_limit_of_processes_holds(steps):
    finished = steps.shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all", limits=Limits(pids=8))
    assert "fork" in finished.err
    assert "all" not in finished.out


@pytest.mark.parametrize("has_cgroup", [True, False])
def test_cancelling_takes_descendants_that_left_the_session(steps, cancel_after, tmp_path, has_cgroup):
    started = time.monotonic()
    mark = f"3{os.getpid()}.{'1' if has_cgroup else '2'}"
    finished = steps.shell(
        f"setsid sleep {mark} & (setsid sh -c 'sleep {mark} & sleep {mark}' &); sleep {mark}", cancelled=cancel_after(0.4), has_cgroup=has_cgroup
    )
    assert finished.status.was_cancelled
    assert time.monotonic() - started < 5
    assert not _processes_with(mark)


def test_background_processes_end_with_the_step(steps):
    mark = f"4{os.getpid()}.5"
    assert steps.shell(f"setsid sleep {mark} >/dev/null 2>&1 & echo done").out == "done\n"
    assert not _processes_with(mark)


def test_a_timeout_ends_a_step(steps):
    assert steps.shell("sleep 60", timeout_s=0.3).status.timed_out


def test_steps_run_beside_each_other(steps):
    codes = {}
    threads = [threading.Thread(target=lambda number=number: codes.update({number: steps.shell(f"exit {number}").code})) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(8)}


def test_no_state_is_left(steps, tmp_path):
    steps.run("/bin/true")
    steps.shell("sleep 60", timeout_s=0.2, has_cgroup=False)
    assert not (tmp_path / "state").exists() or os.listdir(tmp_path / "state") == []


def test_a_missing_runtime_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MachineError) as caught:
        oci_cli.detect("/nonexistent")
    assert caught.value.code == "machine.no-runtime"


def test_a_bundle_is_its_owners(tmp_path):
    bundle.write(str(tmp_path), {"process": {"env": ["TOKEN=x"]}})
    assert os.stat(tmp_path / "config.json").st_mode & 0o777 == 0o600


def _processes_with(mark):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if mark.encode() in file.read():
                    found.append(pid)
        except OSError:
            continue
    return found

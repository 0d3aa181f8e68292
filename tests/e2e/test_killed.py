"""A build that gets SIGKILL: its steps end by themselves within moments, cgroups or not, and the next start removes the rest."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests import leaks

# as in a container: they are there, but only to be read
WITHOUT_CGROUPS = ("unshare", "--mount", "sh", "-c", 'for m in /sys/fs/cgroup/* /sys/fs/cgroup; do mount -o remount,bind,ro $m; done; exec "$@"', "sh")
STEPS = """FROM busybox AS a
RUN echo started; setsid sleep {mark} & sleep {mark}
FROM busybox
RUN --network=none setsid sleep {mark} & sleep {mark}
COPY --from=a / /
"""


@pytest.fixture
def mark():
    return f"8{os.getpid()}.5"


def sleeping(mark: str) -> int:
    found = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += Path(f"/proc/{entry}/cmdline").read_bytes() == b"sleep\0" + mark.encode() + b"\0"
        except OSError:
            continue
    return found


def cgroups(store: Path) -> list[Path]:
    found = store.stat()
    return list(Path("/sys/fs/cgroup").glob(f"**/chandlery/{found.st_dev:x}x{found.st_ino:x}.*"))


def wait_until(is_true, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("prefix", [(), WITHOUT_CGROUPS], ids=["cgroups", "no-cgroups"])
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_nothing_runs_on(builder, mark, prefix, runtime):
    if shutil.which(runtime) is None:
        pytest.skip(f"needs {runtime}")
    builder.env["CHANDLERY_RUNTIME"] = runtime
    builder.write({"Dockerfile": STEPS.format(mark=mark)})
    with leaks.none_left(str(builder.directory)):
        command = [*prefix, *builder.command("build", "--progress=plain", ".")]
        process = subprocess.Popen(command, cwd=builder.context, env=builder.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(lambda: sleeping(mark) == 4 or process.poll() is not None, 20)
        process.send_signal(signal.SIGKILL)
        said = process.communicate(timeout=20)[1].decode()
        assert process.returncode == -signal.SIGKILL, said

        wait_until(lambda: sleeping(mark) == 0, 3)
        done = subprocess.run(
            [*prefix, *builder.command("build", "-q", "-f-", ".")],
            input=b"FROM busybox\nRUN true\n",
            cwd=builder.context,
            env=builder.env,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert list((builder.store / "builds").iterdir()) == []
        assert cgroups(builder.store) == []
    builder.verify()

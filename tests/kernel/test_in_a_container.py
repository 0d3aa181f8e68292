"""What docs/in-a-container.md says: the command in an ordinary container of a docker daemon that is the tests' own, with what it lists, and without.

The image (Debian's packages, and what the command needs of Python's) is made with the command and stays in the daemon's directory between runs; the
command itself is this checkout's.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from tests.conformance import bases
from tests.conftest import DEBIAN_CACHE
from tests.kernel import machine_images

from chandlery.linux import mount

pytestmark = pytest.mark.timeout(300)
IMAGE = "chandlery-in-a-container:1"
PACKAGES = "python3,python3-venv,crun,slirp4netns,git,ca-certificates"
SOURCES = Path(machine_images.__file__).parents[2]
SITE = "/opt/c/lib/python3.11/site-packages"
DOCKERFILE = f"""FROM chandlery-test-machine
COPY requirements.lock /r
RUN python3 -m venv /opt/c && /opt/c/bin/pip install -q --no-cache-dir -r /r && mkdir {SITE}/chandlery && \\
    printf '#!/bin/sh\\nexec /opt/c/bin/python -m chandlery "$@"\\n' >/usr/local/bin/chandlery && chmod +x /usr/local/bin/chandlery
"""

PRIVILEGE = {"sys-admin": ["--cap-add", "SYS_ADMIN"], "seccomp": ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]}
NETWORK = {"net-admin": ["--cap-add", "NET_ADMIN"], "tun": ["--device", "/dev/net/tun"]}
CGROUPS = {"cgroups": ["--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup"]}
BASIC = PRIVILEGE | NETWORK
DEFAULT = "FROM busybox\nRUN cat /etc/resolv.conf; ls /sys/class/net | grep -v lo\n"
SLEEPING = "import os; print(sum(open(f'/proc/{p}/cmdline').read() == 'sleep\\0004242\\0' for p in os.listdir('/proc') if p.isdigit()))"


class Daemon:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = f"unix://{directory}/sock"
        options = ["--exec-root", f"{directory}/x", "--pidfile", f"{directory}/pid", "-H", self.socket, "--iptables=false", "--bridge=none"]
        with open(directory / "log", "w") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", str(DEBIAN_CACHE / "docker-1"), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 30
        while self.docker("version").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.skip(f"dockerd doesn't start here: {(directory / 'log').read_text()[-300:]}")
            time.sleep(0.1)

    def docker(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["docker", "-H", self.socket, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        mount.unmount(f"{self.directory}/x/netns/default")  # dockerd leaves the handle of the host's network there


@pytest.fixture(scope="module")
def daemon():
    for program in ("dockerd", "docker"):
        if os.geteuid() != 0 or shutil.which(program) is None:
            pytest.skip("needs root and docker.io")
    directory = Path(tempfile.mkdtemp(prefix="cdkr"))  # a socket's path must be short
    try:
        with machine_images.locked("docker-1"):
            made = Daemon(directory)
            try:
                _load_image(made, directory)
                yield made
            finally:
                made.stop()
    finally:
        shutil.rmtree(directory)


def _load_image(daemon: Daemon, directory: Path) -> None:
    if daemon.docker("image", "inspect", IMAGE).returncode == 0:
        return
    machine_images.ensure("chandlery-test-machine", PACKAGES)
    (directory / "c").mkdir()
    shutil.copy(SOURCES / "requirements.lock", directory / "c")
    (directory / "c/Dockerfile").write_text(DOCKERFILE)
    built = machine_images.run("build", "--ca-certs", "host", "-t", IMAGE, "-o", f"type=docker,dest={directory}/image.tar", str(directory / "c"))
    if built.returncode != 0:
        pytest.skip(f"can't make an image with Python's packages: {built.stderr[-500:]}")
    loaded = daemon.docker("load", "-i", f"{directory}/image.tar")
    assert loaded.returncode == 0, loaded.stderr


@pytest.fixture
def inside(daemon, tmp_path):
    """Runs a script in a container: (options of docker run, script) -> what came of it. The store is a volume unless `store` says else."""
    if not bases.BUSYBOX:
        pytest.skip("needs busybox-static")
    (tmp_path / "in").mkdir()
    (tmp_path / "store").mkdir()
    bases.write_archive(tmp_path / "in/busybox.tar", "busybox")

    def run(given: "dict[str, list[str]]", script: str, *, store: "list[str] | None" = None, **files: str) -> "subprocess.CompletedProcess[str]":
        for name, text in files.items():
            (tmp_path / "in" / name).write_text(text)
        volumes = ["-v", f"{tmp_path}/in:/in:ro", "-v", f"{SOURCES}/src/chandlery:{SITE}/chandlery:ro"]
        volumes += ["-v", f"{tmp_path}/store:/var/lib/chandlery"] if store is None else store
        options = [option for each in given.values() for option in each]
        start = "cd /in && chandlery load -q -i busybox.tar >/dev/null && "
        done = daemon.docker("run", "--rm", "--network=host", *volumes, *options, IMAGE, "sh", "-c", start + script)
        assert "Traceback" not in done.stderr
        return done

    return run


def without(name: str, given: "dict[str, list[str]]" = BASIC) -> "dict[str, list[str]]":
    return {key: options for key, options in given.items() if key != name}


def test_a_build_with_all_that_the_document_lists(inside):
    dockerfile = """FROM busybox
RUN cat /etc/resolv.conf >/r; ls /sys/class/net >/default
RUN --network=host ls /sys/class/net >/host
RUN --network=none ls /sys/class/net >/none
RUN --mount=type=cache,target=/c echo x >>/c/f; cat /c/f >/cached
RUN --network=none cat /proc/self/cgroup >/groups
COPY Dockerfile /
"""
    show = "cat /default /none /cached; grep -c chandlery /groups; ls /Dockerfile"
    script = f"chandlery build -q -t x -m 64m --cpu-shares 512 . && chandlery run --network=none x sh -c '{show}' && chandlery verify >&2"
    done = inside(BASIC | CGROUPS, script, Dockerfile=dockerfile)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()[1:]
    assert lines[:4] == ["eth0", "lo", "lo", "x"]
    assert int(lines[4]) >= 1
    assert lines[5] == "/Dockerfile"


def test_a_memory_limit_holds(inside):
    done = inside(BASIC | CGROUPS, "chandlery build -m 16m . 2>&1 | grep code:", Dockerfile="FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=64M count=1\n")
    assert "step.out-of-memory" in done.stdout


def test_a_killed_build_leaves_no_process_without_cgroups(inside):
    script = f"""(chandlery build . 2>/dev/null >&2 & echo $! >/tmp/pid; wait) &
n=0; until [ "$(python3 -c "{SLEEPING}" 2>/dev/null)" = 1 ]; do n=$((n+1)); [ $n -lt 100 ] || exit 9; sleep 0.1; done
kill -9 $(cat /tmp/pid); sleep 1.5; python3 -c "{SLEEPING}" """
    done = inside(BASIC, script, Dockerfile="FROM busybox\nRUN sleep 4242\n")
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


@pytest.mark.parametrize(
    ("missing", "network", "code"),
    [
        ("sys-admin", "host", "machine.no-privilege"),
        ("seccomp", "host", "machine.no-privilege"),
        ("net-admin", "default", "machine.no-network"),
        ("net-admin", "none", "machine.no-privilege"),
        ("net-admin", "host", ""),
        ("tun", "default", "machine.no-network"),
        ("tun", "none", ""),
        ("", "default", ""),
    ],
)
def test_what_happens_where_one_thing_is_missing(inside, missing, network, code):
    done = inside(without(missing), f"chandlery build --network={network} .", Dockerfile="FROM busybox\nRUN true\n")
    assert done.returncode == (71 if code else 0), done.stderr
    assert f"code: {code}" in done.stderr or not code


def test_limits_need_cgroups_that_can_be_written(inside):
    done = inside(BASIC, "chandlery build -m 64m .", Dockerfile=DEFAULT)
    assert "code: machine.no-cgroups" in done.stderr


@pytest.mark.parametrize(
    ("store", "code"),
    [([], "store.on-overlay"), (["--tmpfs", "/var/lib/chandlery"], ""), (["--tmpfs", "/var/lib/chandlery:ro"], "store.read-only")],
    ids=["none", "memory", "read-only"],
)
def test_the_store_must_be_a_volume(inside, store, code):
    done = inside(BASIC, "chandlery build .", store=store, Dockerfile=DEFAULT)
    assert done.returncode == (71 if code else 0), done.stderr
    assert f"code: {code}" in done.stderr or not code


def test_another_user_is_told_to_be_root(inside):
    done = inside({"user": ["--user", "1000"], "home": ["-e", "CHANDLERY_ROOT=/s/x", "--tmpfs", "/s:mode=1777"]}, "chandlery build .", Dockerfile=DEFAULT)
    assert "code: machine.no-privilege" in done.stderr

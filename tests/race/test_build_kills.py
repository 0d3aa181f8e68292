"""Real builds and prunes in one store, killed at random moments: nothing that was answered is lost, nothing that is left is wrong.

store_worker.py does the same to the store alone, more often and at named points; here are processes, mounts, cgroups and cache volumes.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import leaks
from tests.conformance import bases

KILLS = 60
SEED = 7
DOCKERFILE = """FROM busybox AS one
COPY a /a
RUN --mount=type=cache,target=/cache echo {number} >> /cache/all; cat /a > /b; mkdir -p /d/e; ln /b /d/e/c
FROM busybox AS two
ARG v={number}
RUN head -c 300000 /dev/zero > /big; echo $v > /v
FROM busybox
COPY --from=one /d /d
COPY --from=two /v /big /
RUN --mount=from=one,target=/one rm -r /var/deep; cp /one/b /last
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="building needs root"),
    pytest.mark.skipif(not bases.BUSYBOX, reason="needs busybox-static"),
    pytest.mark.timeout(400),
]


class Store:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {"PATH": os.environ["PATH"], "HOME": str(directory), "CHANDLERY_ROOT": str(directory / "store"), "CHANDLERY_CONFIG": "/none"}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "chandlery", *arguments]
        return subprocess.Popen(command, env=self.env, cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        return said

    def context(self, number: int) -> Path:
        context = self.directory / f"c{number}"
        if not context.exists():
            context.mkdir()
            (context / "a").write_text(f"content {number}\n" * 1000)
            (context / "Dockerfile").write_text(DOCKERFILE.format(number=number))
        return context


@pytest.fixture
def store(tmp_path: Path):
    bases.write_archive(tmp_path / "busybox.tar", "busybox")
    made = Store(tmp_path)
    made.run("load", "-q", "-i", str(tmp_path / "busybox.tar"))
    with leaks.none_left(str(tmp_path)):
        yield made


def test_builds_and_prunes_that_are_killed_at_random_moments_lose_nothing(store):
    choose = random.Random(SEED)
    started = time.monotonic()
    store.run("build", "-q", "-t", "kept", "--network=none", str(store.context(0)))
    length_s = time.monotonic() - started
    running: list[subprocess.Popen[str]] = []
    kills = started_count = 0
    while kills < KILLS and started_count < 6 * KILLS:
        started_count += 1
        kind = choose.random()
        if kind < 0.75:
            arguments = ["build", "-q", "-t", f"image{started_count % 5}", "--network=none", str(store.context(choose.randrange(6)))]
        else:
            arguments = ["prune", "--force", "--filter", "until=0s"] if kind < 0.9 else ["prune", "--force", "--max-used-space=1MB"]
        running.append(store.start(*arguments))
        if len(running) > 2:
            kills += end(running.pop(choose.randrange(3)), choose.uniform(0, length_s)) == -signal.SIGKILL
    for process in running:
        end(process, 60)

    assert kills >= KILLS
    store.run("build", "-q", "--network=none", str(store.context(0)))
    assert store.run("run", "--network=none", "kept", "cat", "/last") == (store.context(0) / "a").read_text()
    store.run("verify")
    assert list((store.directory / "store/builds").iterdir()) == []


def end(process: "subprocess.Popen[str]", after_s: float) -> int:
    """Kill a process after a moment, if it is still there; its status. One that ended badly by itself fails the test."""
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
    said, _ = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode

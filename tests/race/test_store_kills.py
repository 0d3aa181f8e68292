"""Builds, prunes and kill -9 at the same moments lose nothing.

The first test stands in every named race point in turn; the second kills at random points and random times, hundreds of times, while
others build and prune in the same store.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from chandlery.content.gc import PrunePolicy, prune
from chandlery.content.session import clean_dead_sessions
from chandlery.content.store import Store
from chandlery.content.verify import garbage, verify

WORKER = os.path.join(os.path.dirname(__file__), "store_worker.py")
POINTS = (
    "session.locked", "session.removing", "snapshot.renamed", "snapshot.committed", "snapshot.synced", "blob.leased", "blob.written",
    "blob.renamed", "gc.rows-deleted", "gc.discarded", "gc.swept", "gc.emptying",
)  # fmt: skip
KILLS = 200
AT_ONCE = 4
TIME_LIMIT_S = 100


def start(root, acknowledged, seed, kill_at):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CHANDLERY_RACE_KILL": kill_at}
    return subprocess.Popen([sys.executable, "-S", WORKER, root, str(seed), acknowledged], env=environment, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, error = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), error
    return process.returncode == -signal.SIGKILL


def check_nothing_lost(root, acknowledged):
    with Store.open(root) as store:
        clean_dead_sessions(store)
        prune(store, PrunePolicy(max_used_bytes=1 << 50))
        assert garbage(store) == []
        assert verify(store) == []
        keys = {row[0] for row in store.db.read("SELECT key FROM step_record")}
        with open(acknowledged) as file:
            kept = {key for key in file.read().split() if key.startswith("keep")}
        assert kept <= keys
        return len(keys)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_this_point_loses_nothing(tmp_path, point):
    root, acknowledged = str(tmp_path / "R"), str(tmp_path / "acknowledged")
    was_killed = any(finish(start(root, acknowledged, seed, point)) for seed in range(6))
    assert was_killed, f"no build reached {point}"
    assert not finish(start(root, acknowledged, 99, ""))
    check_nothing_lost(root, acknowledged)


def test_kills_at_random_points_among_builds_and_prunes_lose_nothing(tmp_path):
    root, acknowledged = str(tmp_path / "R"), str(tmp_path / "acknowledged")
    choose = random.Random(20240229)
    running, kills, seed = [], 0, 0
    deadline = time.monotonic() + TIME_LIMIT_S
    while kills < KILLS and time.monotonic() < deadline:
        while len(running) < AT_ONCE:
            seed += 1
            is_killed_from_outside = seed % 4 == 0
            process = start(root, acknowledged, seed, "" if is_killed_from_outside else str(choose.randrange(1, 60)))
            dies_at = time.monotonic() + (choose.uniform(0.05, 0.3) if is_killed_from_outside else 30)
            running.append((process, dies_at))
        for process, dies_at in list(running):
            if process.poll() is None and time.monotonic() < dies_at:
                continue
            process.kill()
            kills += finish(process)
            running.remove((process, dies_at))
        time.sleep(0.002)
    for process, _ in running:
        kills += finish(process)
    assert kills >= KILLS
    assert check_nothing_lost(root, acknowledged) > 0

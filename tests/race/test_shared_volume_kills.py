"""Machines that are killed while they fetch, publish, merge, fold, compact or prune, and many that write at once: nobody's additions are lost.

CHANDLERY_FAULT_ROUNDS says how many kills at random points there are (`make test-faults`: 200); a few without it.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from tests.fakes.machine import KEY, Machine
from tests.registry.conftest import start, stop

from chandlery.content.store import Store
from chandlery.content.verify import verify
from chandlery.oci import reference
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.volume import garbage, remote_head
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.remote_registry import RegistryRemote
from chandlery.volume.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a store keeps owners, which needs root")

WORKER = os.path.join(os.path.dirname(__file__), "volume_worker.py")
POINTS = (
    "volume.fetched",
    "volume.pulled",
    "volume.compacting",
    "volume.blob-published",
    "volume.head-published",
    "volume.folded",
    "volume.swapping",
    "volume.advancing",
)
ROUNDS = int(os.environ.get("CHANDLERY_FAULT_ROUNDS", "12"))
WRITERS = 16


def begin(root, share, name, turns, kill_at=""):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in (os.getcwd(), *sys.path) if path), "CHANDLERY_RACE_KILL": kill_at}
    command = [sys.executable, WORKER, str(root), str(share), name, str(turns)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """What it kept and shared before it ended, or was killed."""
    out, error = process.communicate(timeout=100)
    assert process.returncode in (0, -signal.SIGKILL), error
    lines = [line.split() for line in out.splitlines()]
    told = {word: {name for kind, name in lines if kind == word} for word in ("kept", "shared")}
    assert process.returncode or not error, "nobody is warned of anything"
    return told["kept"], told["shared"], process.returncode != 0


def check(tmp_path, roots, share, kept, shared):
    """The stores are in order, each shows what it kept; a fresh machine sees all that was shared; and all that was kept, once each has built again."""
    everything = set().union(*kept.values())
    for root in roots:
        with Store.open(str(root)) as store:
            assert verify(store) == []
            garbage.prune(store)
            assert Volumes(store).verify(KEY) == ()
            assert kept[root] <= {entry.path for entry in Volumes(store).show(KEY)}
    with Machine(tmp_path / f"fresh-{random.random()}", DirectoryRemote(str(share), KEY)) as fresh:
        assert shared <= set(fresh.sees())
        assert fresh.warnings == []
    for root in roots:
        with Machine(root, DirectoryRemote(str(share), KEY)) as machine:
            machine.build({f"again-{os.path.basename(root)}": b"1"})
            assert machine.warnings == []
    with Machine(tmp_path / f"last-{random.random()}", DirectoryRemote(str(share), KEY)) as last:
        assert everything <= set(last.sees())


@pytest.mark.parametrize("point", POINTS)
def test_a_machine_killed_there_leaves_the_old_volume_or_the_new_one(tmp_path, point):
    share, roots = tmp_path / "share", [tmp_path / "one", tmp_path / "two"]
    kept = {root: set() for root in roots}
    kept[roots[0]], shared, _ = end(begin(roots[0], share, "one", 2))
    mine, more, was_killed = end(begin(roots[1], share, "two", 12, point))
    assert was_killed, f"nobody reached {point}"
    kept[roots[1]] |= mine
    check(tmp_path, roots, share, kept, shared | more)


def test_machines_killed_at_random_moments_lose_nothing(tmp_path):
    """Three machines at a time, on stores that they keep; half die at the n-th named point, half at a random time."""
    rng = random.Random(ROUNDS)
    share, roots = tmp_path / "share", [tmp_path / f"m{number}" for number in range(3)]
    kept, shared, kills, number = {root: set() for root in roots}, set(), 0, 0
    while kills < ROUNDS:
        running = []
        for root in roots:
            number += 1
            kill_at = str(rng.randint(1, 40)) if rng.random() < 0.5 else ""
            process = begin(root, share, f"{root.name}-{number}", 4, kill_at)
            running.append((root, process, None if kill_at else time.monotonic() + rng.uniform(0.3, 2.5)))
        for _, process, dies_at in sorted(running, key=lambda item: item[2] or 0.0):
            if dies_at is not None:
                try:
                    process.wait(max(0.0, dies_at - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
        for root, process, _ in running:
            mine, more, was_killed = end(process)
            kept[root] |= mine
            shared |= more
            kills += was_killed
    check(tmp_path, roots, share, kept, shared)


def test_two_machines_that_compact_at_once_lose_nothing(tmp_path):
    """Twelve writers have left packs of a few bytes, which each publication of the two makes one pack of."""
    share = tmp_path / "share"
    remote = DirectoryRemote(str(share), KEY)
    expected = {}
    for number in range(12):
        with Machine(tmp_path / f"w{number}", remote) as writer:
            expected[f"{number}.jar"] = b"%d" % number * 3000
            writer.build({f"{number}.jar": expected[f"{number}.jar"]})
    processes = [begin(tmp_path / name, share, name, 3) for name in ("left", "right")]
    for process in processes:
        _, shared, _ = end(process)
        assert len(shared) == 3
        expected.update(dict.fromkeys(shared))
    with Machine(tmp_path / "fresh", remote) as fresh:
        assert set(expected) <= set(fresh.sees())
        assert fresh.warnings == []
    seen = remote_head.read_all(remote)
    assert len(seen.head.packs) <= remote_head.MAX_PACKS


def test_sixteen_writers_at_once_over_a_plain_registry_lose_nothing(tmp_path):
    registry, server = start(tmp_path / "registry")
    try:
        share = f"registry://{registry.host}/caches"
        running = [begin(tmp_path / f"w{number}", share, f"w{number}", 2) for number in range(WRITERS)]
        written = set()
        for process in running:
            _, shared, _ = end(process)
            assert len(shared) == 2
            written |= shared
        client = RegistryClient(RegistrySettings())
        with Machine(tmp_path / "fresh", RegistryRemote(client, reference.parse(f"{registry.host}/caches"), KEY)) as fresh:
            assert written <= set(fresh.sees())
            assert fresh.warnings == []
        client.close()
    finally:
        stop(server)
    assert len(written) == 2 * WRITERS

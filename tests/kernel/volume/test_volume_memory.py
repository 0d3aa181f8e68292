"""Whatever is done with a volume of very many files takes memory that grows slowly with them: each step in a process of its own, which is measured.

With CHANDLERY_FAULT_ROUNDS (`make test-faults`) the volume has 100,000 files.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from tests.fakes.machine import KEY

from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.tree import MAX_COUNT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a store keeps owners, which needs root")

# of one of four machines
FILES = 25_000 if "CHANDLERY_FAULT_ROUNDS" in os.environ else 2_000
# 167 MiB for 100,000 files; as dictionaries and objects they took 2.7 KB each
MOST_BYTES, MOST_BYTES_A_FILE = 34 << 20, 1400
STEPS = (
    *("commit-a", "publish-a", "pull-f", "commit-b", "publish-b", "pull-a", "commit-c", "publish-c", "commit-d", "compact-d", "pull-e", "fold-e"),
    *("ls-e", "show-e", "verify-e", "trim-e", "image-e", "rm-a"),
)


def memory_of(step, directory):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in (os.getcwd(), *sys.path) if path)}
    command = [sys.executable, str(Path(__file__).with_name("memory_worker.py")), step, str(directory), str(FILES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{step}: {done.stderr}"
    return int(done.stdout) << 10


HOSTILE_HEADS = {
    "vectors": {"vector": {f"{number:07}": MAX_COUNT for number in range(295_000)}},
    "texts": {"notes": ["\U0001f600" + "a" * (4_100_000 - 500)]},
    "removals": {"tombstones": [[{"w1": 1}, [f"{number:07}" for number in range(295_000)]]]},
}


@pytest.mark.parametrize("kind", HOSTILE_HEADS)
def test_heads_that_somebody_filled_take_memory_that_is_bounded(tmp_path, kind):
    document = {"format": 1, "vector": {"w1": 1}, "lamport": 1, "packs": [], "tombstones": [], "absorbed": [], **HOSTILE_HEADS[kind]}
    data = zstandard.ZstdCompressor(level=1).compress(json.dumps(document, ensure_ascii=False).encode())
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    for number in range(64):
        remote.put_head(f"h{number + 1:010}-w2026-01-large", data, [])
    assert memory_of("look-a", tmp_path) < 280 << 20


def test_a_volume_s_memory_grows_slowly_with_its_files(tmp_path):
    took = {step: memory_of(step, tmp_path) for step in STEPS}
    too_much = {step for step, peak in took.items() if peak > MOST_BYTES + MOST_BYTES_A_FILE * 4 * FILES}
    assert not too_much, {step: f"{peak >> 20} MiB" for step, peak in took.items()}

"""Whatever is done with a volume of very many files takes memory that grows slowly with them: each step in a process of its own, which is measured.

With CHANDLERY_FAULT_ROUNDS (`make test-faults`) the volume has 100,000 files.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a store keeps owners, which needs root")

# of one of four machines
FILES = 25_000 if "CHANDLERY_FAULT_ROUNDS" in os.environ else 2_000
# 167 MiB for 100,000 files; as dictionaries and objects they took 2.7 KB each
MOST_BYTES, MOST_BYTES_A_FILE = 34 << 20, 1400
STEPS = (
    *("commit-a", "publish-a", "pull-f", "commit-b", "publish-b", "pull-a", "commit-c", "publish-c", "commit-d", "compact-d", "pull-e", "fold-e"),
    *("ls-e", "show-e", "verify-e", "trim-e", "image-e", "rm-a"),
)


def test_a_volume_s_memory_grows_slowly_with_its_files(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in (os.getcwd(), *sys.path) if path)}
    took = {}
    for step in STEPS:
        command = [sys.executable, str(Path(__file__).with_name("memory_worker.py")), step, str(tmp_path), str(FILES)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{step}: {done.stderr}"
        took[step] = int(done.stdout) << 10
    too_much = {step for step, peak in took.items() if peak > MOST_BYTES + MOST_BYTES_A_FILE * 4 * FILES}
    assert not too_much, {step: f"{peak >> 20} MiB" for step, peak in took.items()}

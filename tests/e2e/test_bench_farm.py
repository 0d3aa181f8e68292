"""The benchmark's machinery, whole but tiny: namespaces, shaped links, relays, servers, machines, the floor, and what a strategy costs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes import tiny_farm


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in ("docker-registry", "tc", "busybox", "crun"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            pytest.skip(f"needs {program}")
    directory = tmp_path_factory.mktemp("farm")
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", "tests.fakes.tiny_farm", str(directory)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=Path(__file__).parents[2])
    assert finished.returncode == 0, finished.stderr[-3000:] + finished.stdout[-3000:]
    return json.loads((directory / "result.json").read_text())


def builds(measured: dict, strategy: str) -> list[dict]:
    return [item for item in measured["built"] if item["strategy"] == strategy]


def test_the_link_and_the_round_trip_are_as_slow_as_they_say_and_what_moves_is_counted(measured: dict) -> None:
    at_link_speed_s = tiny_farm.DEPENDENCY_BYTES / tiny_farm.CHOSEN.link_bytes_s
    assert measured["fetched_s"] >= at_link_speed_s * 0.8 + 2 * tiny_farm.CHOSEN.rtt_s
    assert tiny_farm.DEPENDENCY_BYTES <= measured["moved"] <= tiny_farm.DEPENDENCY_BYTES * 1.5


def test_every_schedule_builds_every_commit_and_each_result_is_right(measured: dict) -> None:
    ours = builds(measured, "ours")
    assert [(item["schedule"], item["commit"]) for item in ours] == [(name, number) for name in tiny_farm.CHOSEN.schedules for number in (0, 1)]
    assert [item["failure"] for item in ours] == [""] * len(ours)
    assert all(item["is_right"] for item in ours)


def test_a_build_takes_longer_than_the_floor_and_the_round_trips_of_both_count(measured: dict) -> None:
    floors = {(item["schedule"], item["commit"]): item["returned_s"] for item in builds(measured, "floor")}
    # a connection and a request, each a round trip
    assert all(seconds >= 2 * tiny_farm.CHOSEN.rtt_s for seconds in floors.values())
    assert all(item["returned_s"] > floors[item["schedule"], item["commit"]] for item in builds(measured, "ours"))


def test_what_is_moved_and_stored_is_counted(measured: dict) -> None:
    first = builds(measured, "ours")[0]
    assert first["bytes_moved"] >= tiny_farm.DEPENDENCY_BYTES
    assert first["bytes_stored"] > 0

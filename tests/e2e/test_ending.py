"""Builds that end before they should: nothing of them is left, or the next start removes it."""

import os
import signal
import time
from pathlib import Path

import pytest
from tests import leaks

STEPS = (
    "FROM busybox AS one\nRUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t echo started; setsid sleep 100 & sleep 100\n"
    "FROM busybox\nRUN --mount=from=one,target=/one true\n"
)


def wait_for(process, text: str) -> None:
    """Read a build's log until a step said `text`."""
    for line in process.stderr:
        if line.startswith("#") and line.rstrip().endswith(text) and "RUN" not in line:
            return
    raise AssertionError(f"the build ended without saying {text}")


def in_flight(store: Path) -> list[str]:
    """Directories of builds, locks aside."""
    return sorted(entry.name for entry in (store / "builds").iterdir())


def namespaces(store: Path) -> set[str]:
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if str(store) in Path(f"/proc/{entry}/mountinfo").read_text():
                    found.add(entry)
            except OSError:
                continue
    return found


@pytest.mark.parametrize(("number", "status", "network"), [(signal.SIGINT, 130, "default"), (signal.SIGTERM, 143, "none")])
def test_a_signal_ends_a_build_with_everything_it_started(builder, number, status, network):
    with leaks.none_left(str(builder.directory)):
        process = builder.start(STEPS, f"--network={network}")
        wait_for(process, "started")
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == status, said
    assert namespaces(builder.store) == set()
    assert in_flight(builder.store) == []
    builder.verify()
    assert builder.build("FROM busybox\nRUN true\n").status == 0


def test_an_impatient_user_presses_twice(builder):
    process = builder.start(STEPS)
    wait_for(process, "started")
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert builder.build("FROM busybox\nRUN true\n").status == 0
    assert in_flight(builder.store) == []
    builder.verify()


def test_a_killed_builds_processes_and_files_are_removed_by_the_next(builder):
    process = builder.start(STEPS)
    wait_for(process, "started")
    left = in_flight(builder.store)
    process.kill()
    process.communicate(timeout=20)
    assert left

    assert builder.build("FROM busybox\nRUN true\n").status == 0

    assert in_flight(builder.store) == []
    deadline = time.monotonic() + 5
    while namespaces(builder.store) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert namespaces(builder.store) == set()
    builder.verify()


def test_a_terminal_that_goes_away_ends_the_build(builder):
    process = builder.start(STEPS)
    wait_for(process, "started")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert builder.build("FROM busybox\nRUN true\n").status == 0
    assert in_flight(builder.store) == []


def test_a_cancelled_step_leaves_no_record(builder):
    text = "FROM busybox\nRUN echo before > /b\nRUN echo started; sleep 1; echo done > /d\n"
    process = builder.start(text)
    wait_for(process, "started")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert builder.build(text).ran == {"RUN echo started; sleep 1; echo done > /d"}


def test_a_failing_stage_ends_the_others_at_once(builder):
    started = time.monotonic()
    done = builder.build(
        "FROM busybox AS slow\nRUN sleep 60\nFROM busybox AS bad\nRUN sleep 0.5; exit 9\nFROM scratch\nCOPY --from=slow / /\nCOPY --from=bad / /\n"
    )
    assert done.code == "step.failed"
    assert "exit code 9" in done.err
    assert time.monotonic() - started < 15

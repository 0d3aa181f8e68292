import os
from pathlib import Path

from tests.fakes import recorded

from chandlery.cli.display.late_log import LateLog
from chandlery.events import BuildStarted, Event, StepLog


def take(log: LateLog, events: list[Event]) -> None:
    for event in events:
        log.take(event)
    log.close()


def test_the_whole_output_is_kept_for_the_owner_alone(tmp_path: Path) -> None:
    log, path = LateLog(), tmp_path / "abc.log"

    take(log, [BuildStarted("abc", 1000.0, str(path)), *recorded.failed()[1:]])

    assert log.path == str(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert path.read_text() == "#2 [build 2/2] RUN mvn package\n#2 0.500 compiling\n#2 0.600 failed\n#2 FAILED 1.0s\n"


def test_bytes_stay_as_they_are(tmp_path: Path) -> None:
    log, path = LateLog(), tmp_path / "abc.log"

    take(log, [BuildStarted("abc", 1000.0, str(path)), StepLog(1, 1, b"\xff\x1b[2J\r\n", 1000.0)])

    assert b"\xff\x1b[2J\r\n" in path.read_bytes()


def test_a_silent_build_has_no_log(tmp_path: Path) -> None:
    log, path = LateLog(), tmp_path / "abc.log"

    take(log, [BuildStarted("abc", 1000.0, str(path)), *recorded.cached()[1:]])

    assert log.path == ""
    assert not path.exists()


def test_a_log_that_cannot_be_written_harms_nothing(tmp_path: Path) -> None:
    log = LateLog()

    take(log, [BuildStarted("abc", 1000.0, str(tmp_path / "missing/abc.log")), StepLog(1, 1, b"x\n", 1000.0), StepLog(1, 1, b"y\n", 1000.0)])

    assert log.path == ""

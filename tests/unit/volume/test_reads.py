"""What is remembered of reads: nothing is taken for unused because nobody remembers."""

import json
import os

import pytest

from chandlery.volume import history, reads
from chandlery.volume.history import StepUse

NOW = 20_000


@pytest.fixture
def clock(monkeypatch):
    def set_to(day):
        monkeypatch.setattr(reads.time, "time", lambda: day * reads.DAY_S + 3600.0)

    set_to(NOW)
    return set_to


@pytest.fixture
def volume(tmp_path, clock):
    return str(tmp_path)


def begun_long_ago(volume, clock):
    clock(NOW - 100)
    reads.note(volume, [])
    clock(NOW)


def test_a_volume_without_a_record_was_used_today(volume):
    assert reads.load(volume).last_used("a", NOW - 50) == NOW


def test_what_nobody_read_was_last_used_when_it_came(volume, clock):
    begun_long_ago(volume, clock)
    assert reads.load(volume).last_used("a", NOW - 50) == NOW - 50


def test_what_was_read_was_used_that_day(volume, clock):
    begun_long_ago(volume, clock)
    clock(NOW - 7)
    reads.note(volume, ["a", "bad\udcff"])
    clock(NOW)
    assert [reads.load(volume).last_used(path, NOW - 50) for path in ("a", "bad\udcff", "b")] == [NOW - 7, NOW - 7, NOW - 50]


def test_a_step_that_could_not_be_watched_may_have_read_everything(volume, clock):
    begun_long_ago(volume, clock)
    clock(NOW - 3)
    reads.note(volume, [], is_blind=True)
    clock(NOW)
    assert reads.load(volume).last_used("a", NOW - 50) == NOW - 3


def test_a_clock_that_was_ahead_keeps_nothing_for_ever(volume, clock):
    begun_long_ago(volume, clock)
    clock(NOW + 1000)
    reads.note(volume, ["a"], is_blind=True)
    clock(NOW)
    assert reads.load(volume).last_used("a", 0) == NOW


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2, "began": 1, "blind": 0}\n', b'{"format": 1, "began": 1, "blind": 0}\nodd'])
def test_a_damaged_record_begins_anew(volume, clock, content):
    with open(f"{volume}/reads", "wb") as file:
        file.write(content)
    assert reads.load(volume).last_used("a", 0) == NOW


def test_what_a_fold_knows_of_arrivals_is_kept_and_what_is_gone_forgotten(volume, clock):
    begun_long_ago(volume, clock)
    clock(NOW - 7)
    reads.note(volume, ["read", "gone"])
    clock(NOW)
    reads.settle(volume, {"read": NOW - 50, "came": NOW - 20}, is_whole=True)
    record = reads.load(volume)
    assert [record.last_used(path, NOW - 90) for path in ("read", "came", "gone")] == [NOW - 7, NOW - 20, NOW - 90]


def test_a_fold_of_some_layers_forgets_nothing(volume, clock):
    begun_long_ago(volume, clock)
    reads.note(volume, ["below"])
    reads.settle(volume, {"above": NOW - 20}, is_whole=False)
    assert reads.load(volume).last_used("below", 0) == NOW


def test_a_record_takes_ten_bytes_a_path(volume):
    reads.note(volume, [f"org/example/artifact/{number}/artifact-{number}.jar" for number in range(1000)])
    assert os.path.getsize(f"{volume}/reads") < 10 * 1000 + 100


def test_history_keeps_the_last_steps(volume):
    for number in range(history.MOST_LINES + 10):
        history.append(volume, [StepUse(float(number), "b", f"RUN {number}", True, served_files=1, served_bytes=75, added_bytes=25)])
    found = history.load(volume)
    assert len(found) == history.MOST_LINES
    assert found[-1].step == f"RUN {history.MOST_LINES + 9}"
    assert history.share_served(found) == 0.75


def test_a_line_that_can_not_be_read_is_left_out(volume):
    history.append(volume, [StepUse(1.0, "b", "RUN a", True)])
    with open(f"{volume}/history", "a") as file:
        file.write("{half\n" + json.dumps({"at_s": 2.0}) + "\n")
    assert [use.step for use in history.load(volume)] == ["RUN a"]


def test_where_nothing_is_known_no_share_is_claimed():
    assert history.share_served([StepUse(1.0, "b", "RUN a", True, added_files=1, added_bytes=5)]) is None


def test_what_came_for_a_step_was_not_there():
    fresh = StepUse(1.0, "b", "RUN a", True, served_files=1, served_bytes=100, fetched_files=1, fetched_bytes=100)
    assert history.share_served([fresh]) == 0
    grown = StepUse(1.0, "b", "RUN a", True, served_files=2, served_bytes=100, fetched_files=1, fetched_bytes=10)
    assert history.share_served([grown]) == 0.9

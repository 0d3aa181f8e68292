from tests.fakes import recorded

from chandlery.cli.display.summary import summary
from chandlery.cli.display.tally import Tally
from chandlery.events import BuildFinished, Event, Outcome, StepFinished, StepStarted


def tally(events: list[Event]) -> Tally:
    made = Tally()
    for event in events:
        made.take(event)
    return made


def test_a_cached_build_takes_three_lines() -> None:
    assert summary(tally(recorded.cached()), recorded.RESULT, 1000.05, lists_steps=True) == [
        "Built in 0.05s, 3 of 3 steps cached, nothing moved",
        " image   shop:1",
        " id      sha256:" + "1" * 64,
    ]


def test_a_failed_build_says_what_ran_and_where_the_log_is() -> None:
    assert summary(tally(recorded.failed()), None, 1002.0, lists_steps=True, log_path="/logs/abc.log") == [
        "Failed after 2.0s, 0 of 2 steps cached, 12.3MB moved",
        "    1.0s [build 1/2] FROM docker.io/library/maven (12.3MB moved)",
        "    1.0s [build 2/2] RUN mvn package  failed",
        " warning the registry can't be reached",
        " log     /logs/abc.log",
    ]


def test_many_steps_are_told_by_the_longest() -> None:
    events: list[Event] = [recorded.STARTED]
    for number in range(1, 21):
        events += [StepStarted(number, f"[s {number}/20] RUN x", 1000.0), StepFinished(number, Outcome.DONE, 1000.0 + number)]

    lines = summary(tally([*events, BuildFinished("abc123", 1020.0)]), recorded.RESULT, 1020.0, lists_steps=True)

    assert len(lines) <= 12
    assert lines[3:5] == ["   14.0s [s 14/20] RUN x", "   15.0s [s 15/20] RUN x"]
    assert lines[-1] == "   91.0s in 13 other steps"


def test_a_stopped_build_is_not_called_failed() -> None:
    assert summary(tally([recorded.STARTED, BuildFinished("abc123", 1001.0, "cancelled")]), None, 1001.0, lists_steps=True)[0].startswith(
        "Cancelled after 1.0s"
    )

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.terminal import Terminal

from chandlery.cli.display.late_log import LateLog
from chandlery.cli.display.palette import COLOURLESS
from chandlery.cli.display.plain import PlainDisplay
from chandlery.cli.display.rawjson import JsonDisplay
from chandlery.cli.display.tty import TtyDisplay
from chandlery.events import BuildFinished, BuildStarted, Event, Outcome, StepFinished, StepLog, StepProgress, StepStarted, Warned

numbers = st.integers(1, 4)
times = st.floats(999.0, 1010.0)
texts = st.text(max_size=30)
events = st.one_of(
    st.builds(BuildStarted, st.just("id"), times),
    st.builds(StepStarted, numbers, texts, times),
    st.builds(StepLog, numbers, st.sampled_from((1, 2)), st.binary(max_size=60), times),
    st.builds(StepProgress, numbers, texts, st.integers(0, 1 << 40), st.integers(0, 1 << 40), times, st.sampled_from(("B", "files"))),
    st.builds(StepFinished, numbers, st.sampled_from(Outcome), times, texts, st.integers(0, 1 << 40), texts, texts),
    st.builds(Warned, texts, texts, times, st.integers(0, 4)),
    st.builds(BuildFinished, st.just("id"), times, st.sampled_from(("", "cancelled", "step.failed"))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=30), st.integers(1, 100))
def test_the_log_takes_any_order_and_prints_no_control_characters(given_events: list[Event], step: int) -> None:
    out, now = io.StringIO(), [0.0]
    display = PlainDisplay(out, LateLog(), clock=lambda: now[0])

    for event in given_events:
        now[0] += step / 10
        display.sink(event)
        display.tick()
    display.close(None)

    assert all(character == "\n" or character.isprintable() or not character.isascii() for character in out.getvalue())


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=30), st.integers(1, 90), st.integers(2, 30))
def test_the_picture_takes_any_order_on_any_terminal(given_events: list[Event], columns: int, rows: int) -> None:
    out, terminal = io.StringIO(), Terminal(columns, rows)
    display = TtyDisplay(out, -1, LateLog(), COLOURLESS)
    display._size = lambda: (columns, rows)  # type: ignore[method-assign]

    for event in given_events:
        display.sink(event)
        display._redraw()
    display.close(None)

    text = out.getvalue()
    if text.isascii():
        terminal.feed(text)
        assert sum(line.startswith("[+] Building"[:columns]) for line in terminal.lines()) <= 1


@pytest.mark.parametrize("limit", [30])
def test_json_is_one_object_a_line(limit: int) -> None:
    @settings(max_examples=100, deadline=None)
    @given(st.lists(events, max_size=limit))
    def check(given_events: list[Event]) -> None:
        out = io.StringIO()
        display = JsonDisplay(out, LateLog())
        for event in given_events:
            display.sink(event)
        display.close(None)
        assert [bool(json.loads(line)["event"]) for line in out.getvalue().splitlines()] == [True] * len(given_events)

    check()

import io

from tests.fakes import recorded
from tests.fakes.terminal import Terminal

from chandlery.cli.display import frame
from chandlery.cli.display.late_log import LateLog
from chandlery.cli.display.palette import COLOURLESS, Palette
from chandlery.cli.display.tally import Tally
from chandlery.cli.display.tty import TtyDisplay
from chandlery.events import Event, Outcome, StepFinished, StepLog, StepProgress, StepStarted

COLOURED = Palette(run="\x1b[36m", error="\x1b[31m", cancel="\x1b[33m", warning="\x1b[33m", quiet="\x1b[2m", strong="\x1b[1m")


def tally(events: list[Event]) -> Tally:
    made = Tally()
    for event in events:
        made.take(event)
    return made


def running(steps: int, *, ended: int = 0) -> Tally:
    events: list[Event] = [recorded.STARTED]
    for number in range(1, ended + steps + 1):
        events.append(StepStarted(number, f"[s 1/1] RUN step {number} with a long name 日本語", 1000.0))
        if number <= ended:
            events.append(StepFinished(number, Outcome.DONE, 1001.0))
    return tally(events)


def test_a_picture_shows_running_steps_with_the_end_of_their_output() -> None:
    made = tally([recorded.STARTED, StepStarted(1, "[a 1/1] FROM x", 1000.0), StepProgress(1, "pushing", 50, 100, 1001.0)])

    shown = frame.live(made, {1: ["one", "two"]}, 1002.0, columns=60, rows=20, palette=COLOURLESS)

    assert shown == [
        "[+] Building 2.0s (0/1)",
        " => [a 1/1] FROM x                                      2.0s",
        " => => # one",
        " => => # two",
        " => => [==========>         ] pushing 50B / 100B",
    ]


def test_a_picture_fits_every_terminal() -> None:
    tails = {number: ["output " * 20] * 6 for number in range(1, 40)}
    for steps in (0, 1, 3, 12):
        for ended in (0, 2, 30):
            for columns in (1, 5, 20, 80):
                for rows in (1, 2, 5, 10, 60):
                    shown = frame.live(running(steps, ended=ended), tails, 1002.0, columns=columns, rows=rows, palette=COLOURLESS)
                    assert len(shown) <= rows
                    assert max(map(frame.cells, shown)) <= columns


def test_steps_that_find_no_room_are_counted() -> None:
    shown = frame.live(running(1, ended=30), {}, 1002.0, columns=40, rows=8, palette=COLOURLESS)

    assert shown[1] == " => … 25 earlier steps"
    assert len(shown) == 8


def test_the_last_state_stands_alone_in_the_scrollback() -> None:
    out, terminal = io.StringIO(), Terminal(80, 24)
    display = TtyDisplay(out, -1, LateLog(), COLOURED)

    for event in recorded.failed():
        display.sink(event)
        display._redraw()
    display.close(None)
    terminal.feed(out.getvalue())

    assert terminal.modes == set()
    assert terminal.lines() == [
        "[+] Building 2.0s (2/2) FAILED",
        " => [build 1/2] FROM docker.io/library/maven (12.3MB moved)" + " " * 16 + " 1.0s",
        " => ERROR [build 2/2] RUN mvn package" + " " * 38 + " 1.0s",
        "",
        "Failed after 2.0s, 0 of 2 steps cached, 12.3MB moved",
        " warning the registry can't be reached",
    ]


def test_a_terminal_made_narrower_keeps_one_picture() -> None:
    out = io.StringIO()
    display = TtyDisplay(out, -1, LateLog(), COLOURLESS)
    sizes = iter([(60, 24), (30, 24)])
    display._size = lambda: next(sizes)  # type: ignore[method-assign]

    display.sink(StepStarted(1, "[a 1/1] RUN something with a name", 1000.0))
    display._redraw()
    display._redraw()

    # the step's line, 60 wide, takes two rows on 30 columns; with the header that makes three
    assert "\x1b[3A" in out.getvalue()


def test_a_step_without_lines_shows_what_it_has() -> None:
    out = io.StringIO()
    display = TtyDisplay(out, -1, LateLog(), COLOURLESS)

    display.sink(StepStarted(1, "[a 1/1] RUN x", 1000.0))
    display.sink(StepLog(1, 1, b"\rdownloading 10%\rdownloading 20%", 1000.0))
    display.sink(StepLog(1, 1, b"first\n", 1000.0))
    display.sink(StepLog(1, 1, b"Continue? ", 1000.0))
    display._redraw()

    assert "# downloading 20%first" in out.getvalue()
    assert "# Continue?" in out.getvalue()

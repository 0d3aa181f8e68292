import io

from tests.fakes import recorded

from chandlery.cli.display.late_log import LateLog
from chandlery.cli.display.plain import HOLD_S, PlainDisplay
from chandlery.errors import StepFailed
from chandlery.events import BuildFinished, Outcome, StepFinished, StepLog, StepProgress, StepStarted


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened() -> tuple[PlainDisplay, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    display = PlainDisplay(out, LateLog(), clock=clock)
    display.sink(recorded.STARTED)
    return display, out, clock


def lines(out: io.StringIO) -> list[str]:
    """What was printed behind the line that names the build."""
    return out.getvalue().split("\n")[2:]


def test_a_cached_build_reads_like_buildx() -> None:
    display, out, _ = opened()

    for event in recorded.cached(2)[1:]:
        display.sink(event)
    display.close(recorded.RESULT)

    assert lines(out)[:7] == ["#1 [build 1/2] RUN step 1", "#1 CACHED", "", "#2 [build 2/2] RUN step 2", "#2 CACHED", "", lines(out)[6]]
    assert lines(out)[6] == "Built in 0.05s, 2 of 2 steps cached, nothing moved"
    assert lines(out)[7:9] == [" image   shop:1", " id      sha256:" + "1" * 64]


def test_pieces_of_a_line_are_joined() -> None:
    display, out, _ = opened()

    display.sink(StepStarted(1, "[a 1/1] RUN x", 1000.0))
    display.sink(StepLog(1, 1, b"one ", 1000.2))
    display.sink(StepLog(1, 1, b"line\nnext", 1000.4))
    display.sink(StepFinished(1, Outcome.DONE, 1001.2))

    assert lines(out)[:4] == ["#1 [a 1/1] RUN x", "#1 0.400 one line", "#1 1.200 next", "#1 DONE 1.2s"]


def test_what_another_step_says_is_held_back_for_a_while_only() -> None:
    display, out, clock = opened()
    for number in (1, 2):
        display.sink(StepStarted(number, f"step {number}", 1000.0))
    display.sink(StepLog(2, 1, b"from two\n", 1000.1))
    for second in range(int(HOLD_S)):
        clock.now = second + 0.5
        display.sink(StepLog(1, 1, b"from one\n", 1000.5 + second))
    assert "from two" not in out.getvalue()

    clock.now = HOLD_S
    display.tick()
    display.close(None)

    text = "\n".join(lines(out))
    assert "#1 ...\n\n#2 step 2\n#2 0.100 from two\n" in text


def test_a_silent_step_gives_way_at_once() -> None:
    display, out, clock = opened()
    display.sink(StepStarted(1, "step 1", 1000.0))
    clock.now = 5.0

    display.sink(StepStarted(2, "step 2", 1005.0))
    display.close(None)

    assert lines(out)[:4] == ["#1 step 1", "#1 ...", "", "#2 step 2"]


def test_control_sequences_do_nothing() -> None:
    display, out, _ = opened()

    display.sink(StepStarted(1, "[a 1/1] RUN x", 1000.0))
    display.sink(StepLog(1, 1, b"a\x1b]0;title\x07b\x1b[2Jc\x1b[31mred\x1b[0m\x07 \xff\n", 1000.0))

    assert lines(out)[1] == "#1 0.000 abcred \ufffd"


def test_transfers_are_reported_now_and_then() -> None:
    display, out, clock = opened()
    display.sink(StepStarted(1, "[a 1/1] FROM x", 1000.0))

    for tenth in range(120):
        clock.now = tenth / 10
        display.sink(StepProgress(1, "sha256:a", tenth, 120, 1000.0 + tenth / 10))

    assert [line for line in lines(out) if " / " in line] == ["#1 5.000 50B / 120B", "#1 10.000 100B / 120B"]


def test_a_failure_does_not_repeat_the_output_above_it(capsys) -> None:
    display, out, _ = opened()
    for event in recorded.failed()[1:]:
        display.sink(event)
    failure = StepFailed("'mvn package' ended with exit code 1", status=1)
    failure.log_tail = "compiling\nfailed"

    display.fail(failure)

    assert "#2 ERROR: 'mvn package' ended with exit code 1" in lines(out)
    assert "compiling" not in capsys.readouterr().err


def test_a_failure_repeats_output_that_others_have_pushed_away(capsys) -> None:
    display, _, clock = opened()
    for number in (1, 2):
        display.sink(StepStarted(number, f"step {number}", 1000.0))
    display.sink(StepLog(1, 1, b"reason\n", 1000.0))
    display.sink(StepFinished(1, Outcome.FAILED, 1000.0, error_code="step.failed"))
    clock.now = 9.0
    display.sink(StepLog(2, 1, b"and much more\n", 1009.0))
    display.sink(BuildFinished("abc123", 1010.0, "step.failed"))
    failure = StepFailed("it failed")
    failure.log_tail = "reason"

    display.fail(failure)

    assert "| reason" in capsys.readouterr().err


def test_a_reader_that_went_away_does_not_fail_the_build() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    display = PlainDisplay(Closed(), LateLog())

    for event in recorded.failed():
        display.sink(event)
    display.close(None)

import pytest

from chandlery.engine.steps import TAIL_BYTES, StepBook
from chandlery.engine.stop_flag import StopFlag
from chandlery.errors import Cancelled, StepFailed
from chandlery.events import Outcome, StepFinished, StepStarted, Warned


@pytest.fixture
def seen() -> list[object]:
    return []


def test_steps_are_numbered_in_the_order_in_which_they_are_shown(seen):
    book = StepBook(seen.append)
    book.start("first")
    book.cached("second")
    assert [(event.step, event.name) for event in seen if isinstance(event, StepStarted)] == [(1, "first"), (2, "second")]


def test_work_that_fails_finishes_its_step_with_the_reason(seen):
    def fail(_: object) -> None:
        raise StepFailed("no", status=1)

    book = StepBook(seen.append)
    with pytest.raises(StepFailed):
        book.during("step", fail)
    finished = next(event for event in seen if isinstance(event, StepFinished))
    assert (finished.outcome, finished.error_code) == (Outcome.FAILED, "step.failed")
    assert [outcome.outcome for outcome in book.outcomes] == ["failed"]


def test_only_the_end_of_the_output_is_remembered(seen):
    step = StepBook(seen.append).start("noisy")
    step.log(1, b"x" * TAIL_BYTES)
    step.log(1, b"end")
    assert step.log_tail.endswith(b"xend")
    assert len(step.log_tail) == TAIL_BYTES


def test_a_warning_is_given_once(seen):
    book = StepBook(seen.append)
    book.warn("a.b", "careful")
    book.warn("a.b", "careful")
    assert len([event for event in seen if isinstance(event, Warned)]) == 1


def test_who_reports_progress_in_a_stopped_build_is_told_to_end(seen):
    stop = StopFlag()
    step = StepBook(seen.append, stop).start("pull")
    step.progress("layer", 1, 2)
    stop.set()
    with pytest.raises(Cancelled):
        step.progress("layer", 2, 2)

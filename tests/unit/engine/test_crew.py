"""The crew: work done in its threads, in a namespace that is prepared first, and nothing left behind."""

import signal
import threading
import time

import pytest

from chandlery.engine.crew import Crew
from chandlery.engine.stop_flag import StopFlag
from chandlery.errors import Cancelled
from chandlery.solver.facts import Executed, Fact, Failed

failures: list[BaseException] = []


def as_fact(vertex: int, failure: BaseException) -> Fact:
    failures.append(failure)
    return Failed(vertex)


@pytest.fixture(autouse=True)
def no_failures():
    failures.clear()


def crew_of(prepare=lambda: None, **options) -> Crew:
    return Crew(prepare=prepare, **options)


def test_the_namespace_is_prepared_before_any_work():
    order: list[str] = []
    crew = crew_of(lambda: order.append("prepared"))

    def work() -> Fact:
        order.append("worked")
        return Executed(1, None)

    crew.submit(1, work, as_fact)
    assert crew.next_fact() == Executed(1, None)
    crew.close()
    assert order == ["prepared", "worked"]


def test_a_crew_without_work_starts_nothing():
    crew = crew_of(lambda: pytest.fail("prepared for nothing"))
    crew.close()
    assert not crew.is_busy


def test_a_failure_becomes_the_fact_that_its_submitter_makes_of_it():
    crew = crew_of()

    def work() -> Fact:
        raise KeyError("bug")

    crew.submit(3, work, as_fact)
    assert crew.next_fact() == Failed(3)
    crew.close()
    assert isinstance(failures[0], KeyError)


def test_a_namespace_that_can_not_be_made_fails_the_build_and_not_the_first_step_alone():
    def refuse() -> None:
        raise PermissionError("unshare")

    crew = crew_of(refuse)
    crew.submit(1, lambda: Executed(1, None), as_fact)
    with pytest.raises(PermissionError):
        crew.next_fact()
    crew.close()


def test_no_more_run_at_once_than_allowed():
    crew, running, most = crew_of(max_at_once=2), [0], [0]
    lock = threading.Lock()

    def work() -> Fact:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return Executed(0, None)

    for _ in range(6):
        crew.submit(0, work, as_fact)
    for _ in range(6):
        crew.next_fact()
    crew.close()
    assert most[0] == 2


def test_work_that_has_not_begun_when_the_build_stops_never_begins():
    crew = crew_of(max_at_once=1)
    begun = threading.Event()

    def first() -> Fact:
        begun.set()
        crew.cancelled.wait(5)
        return Executed(1, None)

    crew.submit(1, first, as_fact)
    crew.submit(2, lambda: pytest.fail("began"), as_fact)
    begun.wait(5)
    crew.stop()
    assert {crew.next_fact(), crew.next_fact()} == {Executed(1, None), Failed(2)}
    crew.close()
    assert isinstance(failures[0], Cancelled)


def test_closing_leaves_no_thread():
    before = set(threading.enumerate())
    crew = crew_of()
    for vertex in range(5):
        crew.submit(vertex, lambda: Executed(0, None), as_fact)
    for _ in range(5):
        crew.next_fact()
    crew.close()
    assert set(threading.enumerate()) == before


def test_a_signal_while_closing_stops_the_threads_and_is_raised_when_they_have_ended():
    crew = crew_of()
    ended = threading.Event()

    def work() -> Fact:
        crew.cancelled.wait(10)
        ended.set()
        return Executed(1, None)

    def interrupt(*_: object) -> None:
        raise Cancelled(2)

    crew.submit(1, work, as_fact)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Cancelled):
            crew.close()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended.is_set()


def test_a_thread_that_does_not_end_does_not_hold_up_a_stopped_build_for_ever(monkeypatch):
    monkeypatch.setattr("chandlery.engine.crew.STOP_TIMEOUT_S", 0.2)
    crew, release = crew_of(), threading.Event()

    def work() -> Fact:
        release.wait(10)
        return Executed(1, None)

    crew.submit(1, work, as_fact)
    crew.stop()
    started = time.monotonic()
    crew.close()
    release.set()
    assert time.monotonic() - started < 2


def test_a_stop_flag_wakes_who_waits_and_raises_for_who_asks():
    flag = StopFlag()
    flag.check()
    woken = threading.Thread(target=lambda: flag.wait(10))
    woken.start()
    flag.set()
    woken.join(2)
    assert not woken.is_alive()
    with pytest.raises(Cancelled):
        flag.check()

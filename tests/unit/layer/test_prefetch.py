"""Running ahead ends with its user, and failures arrive at their place."""

import threading
from collections.abc import Iterator

import pytest

from chandlery.layer.prefetch import Prefetch


def test_items_come_in_order() -> None:
    with Prefetch(range(100), 3) as items:
        assert list(items) == list(range(100))
        assert list(items) == []


def test_a_failure_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise LookupError("second")

    with Prefetch(source(), 3) as items:
        assert next(items) == 1
        with pytest.raises(LookupError):
            next(items)


def test_leaving_early_ends_the_thread_and_an_endless_source() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    before = threading.active_count()
    with Prefetch(endless(), 2) as items:
        assert next(items) == 1
    assert threading.active_count() == before


def test_no_more_than_depth_is_taken_ahead() -> None:
    taken = []

    def source() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    with Prefetch(source(), 2) as items:
        next(items)
        assert len(taken) <= 5

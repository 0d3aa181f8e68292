"""One at a time runs a step."""

import os
import threading
import time

import pytest

from chandlery.content.steplock import StepLocks
from chandlery.errors import StoreError


@pytest.fixture
def locks(store):
    return StepLocks(store.layout)


def test_a_lock_excludes_others_and_leaves_no_file(store, locks):
    with locks.hold("key", timeout_s=1):
        assert locks.is_held("key")
        assert not locks.is_held("other")
    assert not locks.is_held("key")
    assert os.listdir(store.layout.locks) == []


def test_any_text_is_a_name(store, locks):
    with locks.hold("sha256:../../etc/passwd\udc80 x" * 30, timeout_s=1):
        assert len(os.listdir(store.layout.locks)) == 1


def test_waiting_is_told_once_and_has_an_end(locks):
    told = []
    again = locks.hold("key", timeout_s=0.1, on_wait=lambda: told.append(1))
    with locks.hold("key", timeout_s=1), pytest.raises(StoreError) as caught, again:
        pass
    assert caught.value.code == "store.step-busy"
    assert told == [1]


def test_a_waiter_can_be_called_off(locks):
    def give_up():
        raise KeyboardInterrupt

    with locks.hold("key", timeout_s=1), pytest.raises(KeyboardInterrupt), locks.hold("key", timeout_s=60, while_waiting=give_up):
        pass


def test_a_waiter_takes_over_when_the_holder_ends(locks):
    order = []
    is_waiting = threading.Event()

    def wait():
        with locks.hold("key", timeout_s=10, on_wait=is_waiting.set):
            order.append("second")

    thread = threading.Thread(target=wait)
    with locks.hold("key", timeout_s=1):
        thread.start()
        assert is_waiting.wait(5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_never_two_holders_however_often_the_file_is_removed(locks):
    inside, worst = [0], [0]

    def run():
        for _ in range(100):
            with locks.hold("key", timeout_s=30):
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                time.sleep(0.0002)
                inside[0] -= 1

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == [1]

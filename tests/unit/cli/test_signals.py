import os
import signal

import pytest

from chandlery.cli.signals import as_cancelled
from chandlery.errors import Cancelled


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised_and_says_how_to_exit(number):
    with pytest.raises(Cancelled) as raised, as_cancelled():
        signal.raise_signal(number)
    assert raised.value.exit_status == 128 + number


def test_handlers_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with as_cancelled():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_behind_nohup_a_hang_up_is_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with as_cancelled():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

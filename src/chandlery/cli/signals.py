"""SIGINT, SIGTERM and SIGHUP as the exception Cancelled in the main thread; a second one ends the process at once.

A hang-up that is ignored when the process starts (nohup) stays ignored."""

import contextlib
import os

from chandlery.errors import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator
    from types import FrameType
else:
    # the module without its Python half, which makes an enumeration of every signal
    import _signal as signal


@contextlib.contextmanager
def as_cancelled() -> "Iterator[None]":
    """Within the block the signals raise Cancelled once; steps then end, mounts go, and the block is left by that exception."""
    seen: list[int] = []

    def handle(number: int, _: "FrameType | None") -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        raise Cancelled(number)

    heeded = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

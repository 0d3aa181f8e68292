"""`Ticker`: calls a function now and then in a thread of its own.

On `_thread`, not `threading`: a display starts one in every build, and importing `threading` would cost a fully cached build a millisecond.
"""

from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Ticker:
    """`tick` is called every `interval_s` from `start` until `stop`; after `stop` has returned it isn't running any more."""

    def __init__(self, tick: "Callable[[], None]", *, interval_s: float) -> None:
        self._tick = tick
        self._interval_s = interval_s
        self._stopping = allocate_lock()
        self._running = allocate_lock()
        self._is_started = False

    def start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._stopping.acquire()
            self._running.acquire()
            start_new_thread(self._run, ())

    def stop(self) -> None:
        if self._is_started:
            self._is_started = False
            self._stopping.release()
            self._running.acquire()
            self._running.release()

    def _run(self) -> None:
        try:
            while not self._stopping.acquire(timeout=self._interval_s):
                self._tick()
            self._stopping.release()
        finally:
            self._running.release()

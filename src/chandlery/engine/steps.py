"""`StepBook`: numbers the steps of a build as they become known, reports them, and remembers how each ended.

One instance a build; called from the driver and from workers' threads. Numbers start at 1 and follow the order in which steps are first shown.
"""

import time
from _thread import allocate_lock
from itertools import count

from chandlery.buildcache.record import Observation
from chandlery.engine.request import Pairs, StepOutcome
from chandlery.engine.stop_flag import StopFlag
from chandlery.errors import Cancelled
from chandlery.events import EventSink, Outcome, StepFinished, StepLog, StepProgress, StepStarted, VolumeUsed, Warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.volume.history import StepUse


class Step:
    """A step that was shown: what workers report through."""

    def __init__(self, book: "StepBook", number: int, name: str, key: str) -> None:
        self._book = book
        self.number = number
        self.name = name
        self.key = key
        self.started_at_s = time.time()
        self.bytes_moved = 0
        self._counting = allocate_lock()
        self.log_tail = b""
        self.volumes: list[VolumeUsed] = []

    def log(self, stream: int, data: bytes) -> None:
        self.log_tail = (self.log_tail + data)[-TAIL_BYTES:]
        self._book.sink(StepLog(self.number, stream, data, time.time()))

    def progress(self, label: str, done: int, total: int) -> None:
        """Raises Cancelled when the build is to end: who reports progress needn't look."""
        self._book.stop.check()
        self._book.sink(StepProgress(self.number, label, done, total, time.time()))

    def moved(self, size_bytes: int) -> None:
        """Count bytes that crossed the network for this step."""
        with self._counting:
            self.bytes_moved += size_bytes

    def used_volume(self, scope: str, use: "StepUse") -> None:
        """Report what the step had of a cache volume of that scope."""
        self.volumes.append(
            VolumeUsed(
                self.number, use.volume, time.time(), scope, use.served_files, use.served_bytes, use.fetched_files, use.fetched_bytes, use.added_files,
                use.added_bytes, use.generation,
            )
        )  # fmt: skip
        self._book.sink(self.volumes[-1])

    def warn(self, code: str, message: str) -> None:
        self._book.warn(code, message, step=self.number)

    def finish(self, outcome: Outcome, *, detail: str = "", failure: BaseException | None = None, observed: tuple[Observation, ...] = ()) -> None:
        self._book.finish(self, outcome, detail=detail, failure=failure, observed=observed)


TAIL_BYTES = 8192


class StepBook:
    def __init__(self, sink: EventSink, stop: StopFlag | None = None) -> None:
        self.sink = sink
        self.stop = stop or StopFlag()
        self.outcomes: list[StepOutcome] = []
        self.warnings: list[Warned] = []
        self._numbers = count(1)

    def start(self, name: str, *, key: str = "") -> Step:
        step = Step(self, next(self._numbers), name, key)
        self.sink(StepStarted(step.number, name, step.started_at_s))
        return step

    def cached(self, name: str, *, key: str = "", detail: str = "", origin: Pairs = (), observed: tuple[Observation, ...] = ()) -> None:
        """Show a step that nothing had to be done for."""
        self.finish(self.start(name, key=key), Outcome.CACHED, detail=detail, origin=origin, observed=observed)

    def finish(
        self,
        step: Step,
        outcome: Outcome,
        *,
        detail: str = "",
        failure: BaseException | None = None,
        origin: Pairs = (),
        observed: tuple[Observation, ...] = (),
    ) -> None:
        now = time.time()
        error_code, error_message = ("", "") if failure is None else (getattr(failure, "code", "internal"), str(failure))
        seconds = now - step.started_at_s
        self.outcomes.append(
            StepOutcome(
                step.number, step.name, str(outcome), seconds, step.bytes_moved, step.key, detail, origin, observed, volumes=tuple(step.volumes)
            )
        )  # fmt: skip
        self.sink(StepFinished(step.number, outcome, now, detail, step.bytes_moved, error_code, error_message))

    def during(self, name: str, work: "Callable[[Step], T]") -> "T":
        """Run `work` as a step of its own: started, and finished whichever way it ends."""
        step = self.start(name)
        try:
            result = work(step)
        except BaseException as failure:
            step.finish(Outcome.CANCELLED if isinstance(failure, Cancelled) else Outcome.FAILED, failure=failure)
            raise
        step.finish(Outcome.DONE)
        return result

    def warn(self, code: str, message: str, *, step: int = 0, cause: str = "") -> None:
        if all(known.message != message for known in self.warnings):
            self.warnings.append(Warned(code, message, time.time(), step, cause))
            self.sink(self.warnings[-1])


if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

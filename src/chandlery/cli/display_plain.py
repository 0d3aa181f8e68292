"""The log of a build, line by line: what CI systems keep."""

import threading

from chandlery.events import Event, Outcome, StepFinished, StepLog, StepStarted, Warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from chandlery.engine.request import BuildResult


class PlainDisplay:
    def __init__(self, out: "TextIO") -> None:
        self._out = out
        self._lock = threading.Lock()
        self._started: dict[int, float] = {}

    def sink(self, event: Event) -> None:
        with self._lock:
            match event:
                case StepStarted():
                    self._started[event.step] = event.at_s
                    self._out.write(f"#{event.step} {event.name}\n")
                case StepLog():
                    for line in event.data.decode("utf-8", "replace").splitlines():
                        self._out.write(f"#{event.step} {event.at_s - self._started.get(event.step, event.at_s):.3f} {line}\n")
                case StepFinished():
                    word = (
                        "CACHED"
                        if event.outcome is Outcome.CACHED
                        else f"{event.outcome.upper()} {event.at_s - self._started.get(event.step, event.at_s):.1f}s"
                    )
                    self._out.write(f"#{event.step} {word}{' (' + event.detail + ')' if event.detail else ''}\n\n")
                case Warned():
                    self._out.write(f"WARNING: {event.message}\n")

    def close(self, result: "BuildResult | None") -> None:
        self._out.flush()

"""The log of a build, line by line, as buildx prints it where there is no terminal: what CI systems keep.

A step's lines start with its number; they stay together for a while, and "#5 ..." marks where another step's begin before step 5 ended:

    #5 [build 2/3] RUN make            while #5 talks, what others say is held back for HOLD_S at most
    #5 0.412 cc -c main.c
    #5 ...

    #7 [docs 2/2] RUN make html
    #7 DONE 1.2s
"""

import time
from _thread import allocate_lock

from chandlery.cli.amounts import size_text
from chandlery.cli.display.output_text import Lines, harmless
from chandlery.cli.display.palette import COLOURLESS, Palette
from chandlery.cli.display.summary import result_of, summary
from chandlery.cli.display.tally import StepView, Tally
from chandlery.events import BuildStarted, Event, Outcome, StepFinished, StepLog, StepProgress, StepStarted, Warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from chandlery.cli.display.late_log import LateLog
    from chandlery.cli.display.ticker import Ticker
    from chandlery.engine.request import BuildResult
    from chandlery.errors import ChandleryError

HOLD_S = 3.0
_IDLE_S = 1.0
_LONGEST_AGAIN = 72
_PARTIAL_S = 5.0
_PROGRESS_S = 5.0
_TICK_S = 0.25
_MOST_HELD = 2000


class PlainDisplay:
    """Events on `out`. `clock` is monotonic; `log` gets every event too."""

    def __init__(self, out: "TextIO", log: "LateLog", palette: Palette = COLOURLESS, *, clock: "Callable[[], float]" = time.monotonic) -> None:
        self._out = out
        self._log = log
        self._palette = palette
        self._clock = clock
        self._lock = allocate_lock()
        self._tally = Tally()
        self._current = 0
        self._wrote_at = 0.0
        self._held: dict[int, list[str]] = {}
        self._held_since = 0.0
        self._lines: dict[int, Lines] = {}
        self._reported_at: dict[int, float] = {}
        self._ticker: Ticker | None = None
        self._announced: set[int] = set()
        self._last_talker = 0
        self._is_dead = False

    def sink(self, event: Event) -> None:
        with self._lock:
            self._log.take(event)
            self._tally.take(event)
            self._show(event)

    def close(self, result: "BuildResult | None") -> None:
        """Everything that was held back, and the summary."""
        if self._ticker is not None:
            self._ticker.stop()
        with self._lock:
            self._rest()
            self._log.close()
            if self._tally.has_started:
                self._write("\n".join(summary(self._tally, result, time.time(), lists_steps=True, log_path=self._log.path)) + "\n")

    def fail(self, error: "ChandleryError") -> None:
        self.close(result_of(error))
        failed = next((step.number for step in self._tally.in_order() if step.outcome is Outcome.FAILED), 0)
        from chandlery.cli.display.error_report import report

        report(error, self._palette, is_output_above=failed != 0 and failed == self._last_talker, is_apart=self._tally.has_started)

    def tick(self) -> None:
        """Show what was held back long enough, and lines that get no end."""
        with self._lock:
            now = self._clock()
            for number, lines in self._lines.items():
                if lines.peek() and now - self._reported_at.get(number, now) >= _PARTIAL_S:
                    self._reported_at[number] = now
                    self._say(number, self._output(number, time.time(), lines.rest()))
            self._release(now)

    def _show(self, event: Event) -> None:
        match event:
            case BuildStarted():
                self._write(f"#0 building {event.build_id}, started {time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(event.at_s))}\n\n")
            case StepStarted():
                self._say(event.step, [])
            case StepLog():
                self._say(event.step, self._output(event.step, event.at_s, self._feed(event)))
            case StepProgress():
                self._progress(event)
            case Warned():
                self._warn(event)
            case StepFinished():
                self._finish(event)

    def _feed(self, event: StepLog) -> list[str]:
        lines = self._lines.setdefault(event.step, Lines())
        whole = lines.feed(event.data)
        if whole or event.step not in self._reported_at:
            self._reported_at[event.step] = self._clock()
        if lines.peek():
            self._start_ticking()
        return whole

    def _output(self, number: int, at_s: float, lines: list[str]) -> list[str]:
        seconds = self._tally.step(number, at_s).seconds(at_s)
        return [f"#{number} {seconds:.3f} {harmless(line, keeps_colour=self._palette.has_colour)}".rstrip() for line in lines]

    def _progress(self, event: StepProgress) -> None:
        """Now and then a line for what is pulled, pushed or packed."""
        now = self._clock()
        if now - self._reported_at.setdefault(event.step, now) < _PROGRESS_S:
            return
        self._reported_at[event.step] = now
        step = self._tally.step(event.step, event.at_s)
        self._say(event.step, [f"#{event.step} {step.seconds(event.at_s):.3f} {step.progress_text()}"])

    def _warn(self, event: Warned) -> None:
        text = self._palette.paint(self._palette.warning, f"WARNING: {harmless(event.message)}")
        if event.step:
            self._say(event.step, [f"#{event.step} {text}"])
        else:
            self._leave()
            self._write(f"{text}\n\n")

    def _finish(self, event: StepFinished) -> None:
        lines = self._lines.pop(event.step, None)
        rest = self._output(event.step, event.at_s, lines.rest()) if lines is not None else []
        self._say(event.step, [*rest, self._end(self._tally.step(event.step, event.at_s), event)])

    def _end(self, step: StepView, event: StepFinished) -> str:
        details = [harmless(event.detail)] if event.detail else []
        if event.bytes_moved:
            details.append(f"{size_text(event.bytes_moved)} moved")
        detail = f" ({', '.join(details)})" if details else ""
        match event.outcome:
            case Outcome.CACHED:
                text = self._palette.paint(self._palette.run, "CACHED")
            case Outcome.DONE:
                text = f"DONE {step.seconds(event.at_s):.1f}s"
            case Outcome.CANCELLED:
                text = self._palette.paint(self._palette.cancel, "CANCELED")
            case Outcome.FAILED:
                text = self._palette.paint(self._palette.error, f"ERROR: {harmless(step.error)}")
        return f"#{step.number} {text}{detail}"

    def _say(self, number: int, lines: list[str]) -> None:
        """Write a step's lines, or hold them back while another step is talking."""
        if not lines and number in self._announced:
            return
        now = self._clock()
        if self._current in (0, number) or now - self._wrote_at >= _IDLE_S:
            self._emit(number, [*self._held.pop(number, []), *lines])
        else:
            if not self._held:
                self._held_since = now
                self._start_ticking()
            self._held.setdefault(number, []).extend(lines)
        self._release(now)

    def _start_ticking(self) -> None:
        if self._ticker is None:
            from chandlery.cli.display.ticker import Ticker

            self._ticker = Ticker(self.tick, interval_s=_TICK_S)
            self._ticker.start()

    def _release(self, now: float) -> None:
        is_late = self._held and (now - self._held_since >= HOLD_S or sum(map(len, self._held.values())) > _MOST_HELD)
        if is_late or not self._current:
            self._release_all()

    def _release_all(self) -> None:
        held, self._held = self._held, {}
        # those that have ended first: what comes last is the one whose lines go on
        for number in sorted(held, key=lambda number: (not self._tally.steps[number].finished_at_s, number)):
            self._emit(number, held[number])

    def _emit(self, number: int, lines: list[str]) -> None:
        step = self._tally.steps[number]
        text = []
        if self._current != number:
            self._leave()
            text.append(f"#{number} {self._header(step)}")
            self._current = number
        text += lines
        if step.finished_at_s:
            text.append("")
            self._current = 0
        if lines:
            self._last_talker = number
        if text:
            self._wrote_at = self._clock()
            self._write("\n".join(text) + "\n")

    def _header(self, step: StepView) -> str:
        """A step's name, whole the first time."""
        name = harmless(step.name)
        if step.number in self._announced and len(name) > _LONGEST_AGAIN:
            return name[: _LONGEST_AGAIN - 1] + "…"
        self._announced.add(step.number)
        return name

    def _leave(self) -> None:
        if self._current:
            self._write(f"#{self._current} ...\n\n")
            self._current = 0

    def _rest(self) -> None:
        for number, lines in self._lines.items():
            if rest := self._output(number, time.time(), lines.rest()):
                self._held.setdefault(number, []).extend(rest)
        self._release_all()
        self._leave()

    def _write(self, text: str) -> None:
        """A reader that went away must not fail the build."""
        if self._is_dead:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            self._is_dead = True

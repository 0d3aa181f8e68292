"""A build on a terminal: a picture at the bottom that is redrawn while it runs, and one clean last state in the scrollback.

The picture is redrawn in place, line by line, in one write and at most ten times a second, by a thread that starts drawing only when the build has lasted a
moment: a cached build prints its last state and nothing else. The cursor is never hidden and no mode is left switched on, so whatever ends the process leaves
nothing to be repaired. A terminal that was made narrower has wrapped what was drawn before; that is counted in.
"""

import os
import time
from _thread import allocate_lock
from collections import deque

from chandlery.cli.display import frame
from chandlery.cli.display.output_text import Lines, harmless
from chandlery.cli.display.palette import Palette
from chandlery.cli.display.summary import result_of, summary
from chandlery.cli.display.tally import Tally
from chandlery.cli.display.ticker import Ticker
from chandlery.events import BuildStarted, Event, StepFinished, StepLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from chandlery.cli.display.late_log import LateLog
    from chandlery.engine.request import BuildResult
    from chandlery.errors import ChandleryError

_REDRAW_S = 0.1
# a terminal that knows the mode (2026, synchronised output) shows a picture at once; others ignore it
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"


class TtyDisplay:
    """`out` is a text stream on the terminal `fd`."""

    def __init__(self, out: "TextIO", fd: int, log: "LateLog", palette: Palette) -> None:
        self._out = out
        self._fd = fd
        self._log = log
        self._palette = palette
        self._lock = allocate_lock()
        self._tally = Tally()
        self._lines: dict[int, Lines] = {}
        self._tails: dict[int, deque[str]] = {}
        self._drawn: list[int] = []
        self._ticker = Ticker(self._redraw, interval_s=_REDRAW_S)
        self._is_dead = False

    def sink(self, event: Event) -> None:
        with self._lock:
            self._log.take(event)
            self._tally.take(event)
            match event:
                case BuildStarted():
                    self._ticker.start()
                case StepLog():
                    lines = self._lines.setdefault(event.step, Lines()).feed(event.data)
                    self._tails.setdefault(event.step, deque(maxlen=frame.TAIL_LINES)).extend(line for line in lines if line.strip())
                case StepFinished():
                    self._lines.pop(event.step, None)
                    self._tails.pop(event.step, None)

    def close(self, result: "BuildResult | None") -> None:
        """The last state, and the summary below it."""
        self._ticker.stop()
        with self._lock:
            self._log.close()
            if not self._tally.has_started:
                return
            now = time.time()
            columns, _ = self._size()
            lines = frame.final(self._tally, now, columns=columns, palette=self._palette)
            # the picture has each step's seconds already
            lines += ["", *summary(self._tally, result, now, lists_steps=False, log_path=self._log.path, palette=self._palette)]
            self._draw(lines, columns)

    def fail(self, error: "ChandleryError") -> None:
        self.close(result_of(error))
        from chandlery.cli.display.error_report import report

        report(error, self._palette, is_apart=self._tally.has_started)

    def _redraw(self) -> None:
        with self._lock:
            columns, rows = self._size()
            tails = {number: [*tail, *self._partial(number)] for number, tail in self._tails.items()}
            self._draw(frame.live(self._tally, tails, time.time(), columns=columns, rows=rows - 1, palette=self._palette), columns)

    def _partial(self, number: int) -> list[str]:
        line = harmless(self._lines[number].peek()) if number in self._lines else ""
        return [line] if line.strip() else []

    def _draw(self, lines: list[str], columns: int) -> None:
        """Put `lines` where the last picture was."""
        up = sum(max(1, -(-width // columns)) for width in self._drawn)
        back = f"\r\x1b[{up}A" if up else "\r"
        body = "".join(f"{line}\x1b[K\n" for line in lines)
        self._drawn = [frame.cells(_bare(line)) for line in lines]
        if self._is_dead:
            return
        try:
            self._out.write(f"{_BEGIN}{back}{body}\x1b[J{_END}")
            self._out.flush()
        except (OSError, ValueError):
            self._is_dead = True

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError:
            return 80, 24
        return max(columns, 1) if columns else 80, rows or 24


def _bare(line: str) -> str:
    return line if "\x1b" not in line else harmless(line)

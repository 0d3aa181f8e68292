"""Which display shows a build: a live one on a terminal, a log elsewhere, JSON for programs, or nothing.

A display is a sink of events with an end. It writes to standard error, so that standard output stays free for what was asked for (an image id, a tar). Beside
it, the whole output goes to a file of the store (build_log.py).
"""

import os
import sys

from chandlery.cli.display.late_log import LateLog
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from chandlery.engine.request import BuildResult
    from chandlery.errors import ChandleryError
    from chandlery.events import Event

    class Display(Protocol):
        """`sink` takes events from any thread. One of the others ends the display: `close` with the build's result, or None after what is no error of ours;
        `fail` says what went wrong."""

        def sink(self, event: Event) -> None: ...
        def close(self, result: BuildResult | None, /) -> None: ...
        def fail(self, error: ChandleryError) -> None: ...


MODES = ("auto", "tty", "plain", "quiet", "rawjson", "none")


def open_display(mode: str, environment: "Mapping[str, str]") -> "Display":
    """The display of a mode; raises RequestError (request.bad-progress)."""
    if mode not in MODES:
        from chandlery.cli.arguments import nearest

        hint = nearest(mode, list(MODES)) or f"use one of {', '.join(MODES)}"
        raise RequestError(f"--progress {mode!r} is not a display", code="request.bad-progress", hint=hint)
    is_terminal = os.isatty(2) and environment.get("TERM", "dumb") != "dumb"
    if mode == "auto":
        mode = "tty" if is_terminal and not environment.get("CI") else "plain"
    log = LateLog()
    if mode == "rawjson":
        from chandlery.cli.display.rawjson import JsonDisplay

        return JsonDisplay(sys.stderr, log)
    if mode in ("quiet", "none"):
        from chandlery.cli.display.quiet import QuietDisplay

        return QuietDisplay(log)
    from chandlery.cli.display.palette import palette_for

    palette = palette_for(2, environment)
    if mode == "tty":
        if not is_terminal:
            hint = "use --progress=plain, or auto, which chooses by itself"
            raise RequestError("--progress tty needs a terminal as standard error", code="request.no-terminal", hint=hint)
        from chandlery.cli.display.tty import TtyDisplay

        return TtyDisplay(sys.stderr, 2, log, palette)
    from chandlery.cli.display.plain import PlainDisplay

    return PlainDisplay(sys.stderr, log, palette)

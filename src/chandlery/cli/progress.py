"""Which display shows a build: a live one on a terminal, a log elsewhere, JSON for programs, or nothing.

A display is a sink of events with an end. It writes to standard error, so that standard output stays free for what was asked for (an image id, a tar).
"""

import os
import sys

from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from chandlery.engine.request import BuildResult
    from chandlery.events import Event

    class Display(Protocol):
        """`sink` takes events from any thread; `close` ends the display, with the build's result or None after a failure."""

        def sink(self, event: Event) -> None: ...
        def close(self, result: BuildResult | None) -> None: ...


MODES = ("auto", "tty", "plain", "quiet", "rawjson", "none")


def open_display(mode: str, environment: "Mapping[str, str]") -> "Display":
    """The display of a mode; raises RequestError (request.bad-progress)."""
    if mode not in MODES:
        raise RequestError(f"--progress {mode!r} is not a display", code="request.bad-progress", hint=f"use one of {', '.join(MODES)}")
    if mode == "auto":
        is_terminal = os.isatty(sys.stderr.fileno()) and environment.get("TERM", "dumb") != "dumb" and not environment.get("CI")
        mode = "tty" if is_terminal else "plain"
    from chandlery.cli.display_plain import PlainDisplay

    return PlainDisplay(sys.stderr)

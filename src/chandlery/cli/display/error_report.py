"""An error as people read it: what happened, where, the end of the output, what to do, and the code to search for.

ERROR: unknown instruction: RNU
 --> Dockerfile:3:1
  |
3 | RNU make
  | ^^^
  = help: did you mean RUN?
  = code: dockerfile.unknown-instruction, exit status 2
"""

import os
import sys

from chandlery.cli.display.frame import cut
from chandlery.cli.display.output_text import harmless
from chandlery.cli.display.palette import COLOURLESS, Palette

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.errors import ChandleryError


def report(error: "ChandleryError", palette: "Palette | None" = None, *, log_path: str = "", is_output_above: bool = False, is_apart: bool = False) -> int:
    """Print an error to standard error; its exit status.

    `is_output_above`: a reader has just seen the output of the step that failed; `is_apart`: leave a line.
    """
    if palette is None:
        from chandlery.cli.display.palette import palette_for

        palette = palette_for(2, os.environ)
    columns = 0
    try:
        columns = os.get_terminal_size(2).columns
    except OSError:
        pass
    try:
        print("\n" * is_apart + "\n".join(rendered(error, palette, log_path=log_path, is_output_above=is_output_above, columns=columns)), file=sys.stderr)
    except OSError:
        pass
    return error.exit_status


def rendered(error: "ChandleryError", palette: Palette = COLOURLESS, *, log_path: str = "", is_output_above: bool = False, columns: int = 0) -> list[str]:
    """The lines of the report; an excerpt's lines are cut to `columns` where that isn't 0."""
    paint = palette.paint
    first, *more = error.message.split("\n")
    lines = [paint(palette.error + palette.strong if palette.error else "", "ERROR:") + " " + paint(palette.strong, harmless(first))]
    lines += [f"       {harmless(line)}" for line in more]
    excerpt = error.excerpt.rstrip("\n").split("\n") if error.excerpt else []
    gutter = " " * (excerpt[0].index("|") - 1 if excerpt and "|" in excerpt[0] else 1)
    if error.where:
        lines.append(f"{gutter}{paint(palette.run, '-->')} {error.where}")
    lines += [_marked(cut(harmless(line), columns) if columns else harmless(line), palette) for line in excerpt]
    tail = getattr(error, "log_tail", "").rstrip("\n")
    if tail and not is_output_above:
        whole = f" (all of it: {log_path})" if log_path else ""
        lines.append(f"{gutter} {paint(palette.run, f'= the end of its output{whole}:')}")
        lines += [f"{gutter} {paint(palette.run, '|')} {harmless(line, keeps_colour=palette.has_colour)}".rstrip() for line in tail.split("\n")]
    notes = [("help", error.hint), ("to repeat the step", getattr(error, "reproduce", "")), ("code", f"{error.code}, exit status {error.exit_status}")]
    lines += [f"{gutter} {paint(palette.run, f'= {name}:')} {harmless(text)}" for name, text in notes if text]
    return lines


def _marked(line: str, palette: Palette) -> str:
    """An excerpt's line with its carets in the colour of errors."""
    number, bar, text = line.partition("|")
    if not bar or not palette.has_colour:
        return line
    if text.strip() and not text.strip().strip("^"):
        text = palette.paint(palette.error, text)
    return palette.paint(palette.run, number + bar) + text

"""One picture of a build for a terminal, as lines that fit it. Pure: from a tally, the ends of the steps' output, a time and a size."""

from chandlery.cli.amounts import size_text
from chandlery.cli.display.output_text import harmless
from chandlery.cli.display.palette import Palette
from chandlery.cli.display.tally import StepView, Tally
from chandlery.events import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAIL_LINES = 6
_BAR_CELLS = 20
_WORDS = {Outcome.CACHED: "CACHED ", Outcome.FAILED: "ERROR ", Outcome.CANCELLED: "CANCELED "}


def live(tally: Tally, tails: "Mapping[int, Sequence[str]]", now_s: float, *, columns: int, rows: int, palette: Palette) -> list[str]:
    """What to show while the build runs: never more than `rows` lines, none wider than `columns`.

    Running steps come first in the sharing of rows; then the ends of their output, then the steps that ended, the latest ones.
    """
    steps = tally.in_order()
    running = [step for step in steps if not step.finished_at_s]
    room = max(0, rows - 1)
    shown_running = running[: room if len(running) <= room else max(0, room - 1)]
    room -= len(running) if len(running) <= room else room
    bodies = {step.number: _body(step, tails.get(step.number, ()), columns, palette) for step in shown_running}
    room -= _share(bodies, room)
    ended = [step for step in steps if step.finished_at_s]
    hidden = ended[: len(ended) - room + 1] if len(ended) > room else []
    lines = [_header(tally, now_s, columns, palette)]
    if hidden and room > 0:
        lines.append(cut(f" => … {len(hidden)} earlier steps", columns))
    shown = {step.number for step in shown_running} | ({step.number for step in ended[len(hidden) :]} if room > 0 else set())
    for step in steps:
        if step.number in shown:
            lines.append(_step(step, now_s, columns, palette))
            lines += bodies.get(step.number, [])
    if len(shown_running) < len(running):
        lines.append(cut(f" => … and {len(running) - len(shown_running)} more", columns))
    return lines[:rows]


def final(tally: Tally, now_s: float, *, columns: int, palette: Palette) -> list[str]:
    """What stays in the scrollback: every step, whatever the terminal's height."""
    return [_header(tally, now_s, columns, palette), *(_step(step, now_s, columns, palette) for step in tally.in_order())]


def _share(bodies: dict[int, list[str]], room: int) -> int:
    """Shorten the bodies to `room` lines in all, line by line from the longest; how many are left."""
    while (total := sum(map(len, bodies.values()))) > room:
        longest = max(bodies.values(), key=len)
        # the progress of a transfer stays longest, the earliest output goes first
        del longest[0]
        if total == 1:
            return 0
    return total


def _header(tally: Tally, now_s: float, columns: int, palette: Palette) -> str:
    ended = sum(1 for step in tally.steps.values() if step.finished_at_s)
    text = f"[+] Building {tally.seconds(now_s):.1f}s ({ended}/{len(tally.steps)})"
    word = ""
    if tally.finished_at_s:
        word = " CANCELED" if tally.error_code == "cancelled" else " FAILED" if tally.error_code else " FINISHED"
    colour = palette.error if word == " FAILED" else palette.cancel if word == " CANCELED" else palette.run if word else ""
    return palette.paint(colour, cut(text + word, columns))


def _step(step: StepView, now_s: float, columns: int, palette: Palette) -> str:
    seconds = f" {step.seconds(now_s):.1f}s"
    name = f" => {_WORDS.get(step.outcome or Outcome.DONE, '')}{harmless(step.name)}"
    if step.outcome is Outcome.CACHED and step.detail:
        name += f" ({harmless(step.detail)})"
    if step.bytes_moved and step.finished_at_s:
        name += f" ({size_text(step.bytes_moved)} moved)"
    left = cut(name, max(0, columns - len(seconds)))
    line = left + " " * max(0, columns - cells(left) - len(seconds)) + seconds
    colours = {Outcome.FAILED: palette.error, Outcome.CANCELLED: palette.cancel, Outcome.DONE: palette.run, Outcome.CACHED: palette.run}
    return palette.paint(colours[step.outcome] if step.outcome else "", line[:columns] if line.isascii() else line)


def _body(step: StepView, tail: "Sequence[str]", columns: int, palette: Palette) -> list[str]:
    """The lines under a running step: the end of its output, then its progress."""
    lines = [palette.paint(palette.quiet, cut(f" => => # {harmless(line)}", columns)) for line in list(tail)[-TAIL_LINES:]]
    if step.progress:
        lines.append(cut(f" => => {_progress(step, columns)}", columns))
    return lines


def _progress(step: StepView, columns: int) -> str:
    done, total, *_ = step.moved()
    amount = step.progress_text()
    if not total or columns < _BAR_CELLS + len(amount) + 12:
        return amount
    filled = min(_BAR_CELLS, done * _BAR_CELLS // total)
    return f"[{'=' * filled}{'>' if filled < _BAR_CELLS else ''}{' ' * (_BAR_CELLS - filled - 1)}] {amount}"


def cells(text: str) -> int:
    """How many columns a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(character) or character == "\u200d" else 2 if east_asian_width(character) in "WF" else 1 for character in text)


def cut(text: str, columns: int) -> str:
    """The text in at most `columns`, with … in place of what is left out."""
    if cells(text) <= columns:
        return text
    if columns <= 0:
        return ""
    if text.isascii():
        return text[: columns - 1] + "…"
    shown = ""
    for character in text:
        if cells(shown + character) > columns - 1:
            break
        shown += character
    return shown + "…"

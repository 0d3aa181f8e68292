"""Errors that show their place: "file:line:column" and the lines around it, marked.

Parsing raises `Misplaced`, which knows what is wrong and perhaps which word is to blame, but not where it stands; `placed` finds
the word in the source lines of its instruction and gives the DockerfileError that people see. `Misplaced` never leaves this package.
"""

from chandlery.errors import DockerfileError
from chandlery.graph.source_range import SourceRange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_EXCERPT = 6


class Misplaced(DockerfileError):
    """An error that waits for its place; `token` is the word to point at, "" for the whole instruction."""

    def __init__(self, message: str, *, code: str = "dockerfile.syntax", hint: str = "", token: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.token = token


def placed(error: Misplaced, text: str, source: SourceRange) -> DockerfileError:
    """`error` at its place: at its token where one of the instruction's lines has it, else at the instruction's start."""
    exact = locate(text, source, error.token)
    return DockerfileError(error.message, code=error.code, hint=error.hint, where=str(exact), excerpt=render(text, exact))


def locate(text: str, source: SourceRange, token: str) -> SourceRange:
    """The place of `token` within the lines of `source`; the first line's own range where it isn't found."""
    lines = text.split("\n")
    last = max(source.end_line, source.line)
    if token:
        for number in range(source.line, min(last, len(lines)) + 1):
            found = lines[number - 1].find(token, source.column - 1 if number == source.line else 0)
            if found >= 0:
                return SourceRange(source.file, number, found + 1, number, found + 1 + len(token))
    return source


def render(text: str, marked: SourceRange) -> str:
    """The lines of `marked` with their numbers, a bar, and carets under what is meant."""
    lines = text.split("\n")
    first, last = marked.line, min(max(marked.end_line, marked.line), len(lines))
    if first > len(lines):
        return ""
    width = len(str(last))
    rows = [f"{'':{width}} |"]
    for number in range(first, min(last, first + _LONGEST_EXCERPT - 1) + 1):
        shown = lines[number - 1].rstrip("\r").expandtabs(1)
        rows.append(f"{number:>{width}} | {shown}".rstrip())
        if number == first:
            rows.append(f"{'':{width}} | {' ' * (marked.column - 1)}{'^' * _caret_length(marked, shown)}")
    if last >= first + _LONGEST_EXCERPT:
        rows.append(f"{'':{width}} | ...")
    return "\n".join(rows)


def _caret_length(marked: SourceRange, shown: str) -> int:
    if marked.end_column and marked.end_line in (0, marked.line):
        return max(1, marked.end_column - marked.column)
    return max(1, len(shown.rstrip()) - marked.column + 1)


def nearest(wrong: str, known: "Iterable[str]") -> str:
    """The known word that `wrong` was probably meant to be (at most two edits away), or ""."""
    best, best_distance = "", 3
    for candidate in known:
        distance = _edits(wrong.lower(), candidate.lower(), best_distance)
        if 0 < distance < best_distance:
            best, best_distance = candidate, distance
    return best


def _edits(left: str, right: str, limit: int) -> int:
    """The Levenshtein distance of two words, or some number >= `limit`."""
    if abs(len(left) - len(right)) >= limit:
        return limit
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def suggestion(wrong: str, known: "Iterable[str]", otherwise: str) -> str:
    """A hint: the nearest known word where there is one, else `otherwise`."""
    near = nearest(wrong, known)
    return f"did you mean {near}?" if near else otherwise

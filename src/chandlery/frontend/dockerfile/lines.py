"""Text -> logical lines: directives, escapes, continuations, comments and heredocs.

A logical line is one instruction's text with its continuations joined, and the heredocs that follow it. What a line means is decided in
parse.py; only whether it can have heredocs (ADD, COPY and RUN in shell form, also behind ONBUILD) must be known here.
"""

import re

from chandlery.frontend.dockerfile.excerpt import Misplaced, placed
from chandlery.frontend.dockerfile.flags import split_command
from chandlery.frontend.dockerfile.words import SPACE, Lex
from chandlery.graph.source_range import SourceRange
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_LINE_BYTES = 65536
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*")
_DIRECTIVES = ("syntax", "escape", "check")
_HEREDOC = re.compile(r"(\d*)<<(-?)[\t\n\f\r ]*([^<]*)", re.ASCII)
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)


@value
class Heredoc:
    """`content` is as written; `expands` unless its word was quoted; `chomps` (<<-) drops leading tabs."""

    name: str
    expands: bool = True
    chomps: bool = False
    content: str = ""

    @property
    def chomped(self) -> str:
        return _LEADING_TABS.sub("", self.content) if self.chomps else self.content


@value
class LogicalLine:
    text: str
    source: SourceRange
    heredocs: tuple[Heredoc, ...] = ()
    has_empty_continuation: bool = False


@value
class Lines:
    """`escape` is the character in force; `syntax` and `check` the texts of those directives, or ""."""

    escape: str
    syntax: str
    check: str
    lines: tuple[LogicalLine, ...]


def heredoc_of(word: str) -> Heredoc | None:
    """The heredoc that a word such as <<EOF or <<-"EOF" starts, or None."""
    found = _HEREDOC.fullmatch(word)
    if found is None or not found[3]:
        return None
    plain = Lex(keeps_unset=True).split(found[3], {})
    if len(plain) != 1:
        return None
    raw = Lex(keeps_unset=True, keeps_quotes=True).split(found[3], {})
    if len(raw) != 1:
        raise Misplaced(f"the heredoc word {word!r} can't be understood", code="dockerfile.heredoc", token=word)
    return Heredoc(plain[0], expands=_quotes(plain[0]) == _quotes(raw[0]), chomps=bool(found[2]))


def read(text: str, file: str) -> Lines:
    """The logical lines of a Dockerfile's text; raises DockerfileError."""
    reader = Reader(text, file)
    lines = tuple(reader.lines())
    return Lines(reader.escape, reader.directives.get("syntax", ""), reader.directives.get("check", ""), lines)


def _quotes(word: str) -> int:
    return word.count("'") + word.count('"')


def _is_comment(line: str) -> bool:
    return line.lstrip(SPACE).startswith("#")


class Reader:
    """Reads a text line by line, so that the first error in the file is the one that is raised, whoever finds it.

    `escape` and `directives` (syntax, escape, check: their texts) are complete once `lines` gave its first line.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.number = 0
        self.has_directives_ended = False
        self.has_shebang = False
        self.directives: dict[str, str] = {}
        self._set_escape("\\")

    def _set_escape(self, escape: str) -> None:
        self.escape = escape
        token = re.escape(escape)
        self.continuation = re.compile(rf"(?:(?<=[^{token}])|\A){token}[ \t]*\Z")

    def lines(self) -> "Iterator[LogicalLine]":
        if not self.text:
            raise placed(Misplaced("the Dockerfile is empty", code="dockerfile.empty", hint="it needs at least FROM"), "", SourceRange(self.file, 1))
        self.physical = self._physical()
        has_lines = False
        for raw in self.physical:
            line = self._logical(raw)
            if line is not None:
                has_lines = True
                yield line
        if not has_lines:
            nothing = Misplaced("the file has no instructions", code="dockerfile.empty", hint="it needs at least FROM")
            raise placed(nothing, self.text, SourceRange(self.file, 1))
        if self.too_long:
            raise self._at(Misplaced(f"the line is longer than {LONGEST_LINE_BYTES - 1} bytes", hint="split it with continuations"), self.number + 1)

    def _physical(self) -> "Iterator[str]":
        """The lines with their ends; stops at one that is too long, as BuildKit's scanner does."""
        self.too_long = False
        text = self.text.removeprefix("\ufeff")
        for line in re.findall(r"[^\n]*\n|[^\n]+", text):
            if len(line) >= LONGEST_LINE_BYTES // 4 and len(line.encode("utf-8", "surrogateescape")) >= LONGEST_LINE_BYTES + line.endswith("\n"):
                self.too_long = True
                return
            self.number += 1
            yield line

    def _at(self, error: Misplaced, line: int, end_line: int = 0) -> Exception:
        lines = self.text.split("\n")
        column = len(lines[line - 1]) - len(lines[line - 1].lstrip()) + 1 if line <= len(lines) else 1
        return placed(error, self.text, SourceRange(self.file, line, column, end_line or line))

    def _logical(self, raw: str) -> LogicalLine | None:
        line = raw.rstrip("\r\n").lstrip(SPACE)
        column = len(raw.rstrip("\r\n")) - len(line) + 1
        self._directive(line)
        if not line or line.startswith("#"):
            return None
        start = self.number
        line, is_complete = self._without_continuation(line)
        pieces = [line]
        has_empty = False
        while not is_complete and (following := next(self.physical, None)) is not None:
            stripped = following.rstrip("\r\n")
            if _is_comment(stripped):
                continue
            if not stripped.strip(SPACE):
                has_empty = True
                continue
            stripped, is_complete = self._without_continuation(stripped)
            pieces.append(stripped)
        joined = "".join(pieces)
        source = SourceRange(self.file, start, column, self.number)
        try:
            heredocs = self._heredocs(joined)
        except Misplaced as failed:
            raise placed(failed, self.text, source) from None
        return LogicalLine(joined, SourceRange(self.file, start, column, self.number), heredocs, has_empty)

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        found = self.continuation.search(line)
        return (line, True) if found is None else (line[: found.start()], False)

    def _directive(self, line: str) -> None:
        if self.has_directives_ended:
            return
        if line.startswith("#!") and self.number == 1:
            self.has_shebang = True
            return
        found = _DIRECTIVE.fullmatch(line[1:].lstrip(SPACE)) if line.startswith("#") else None
        name = found[1].lower() if found else ""
        if found is None or name not in _DIRECTIVES:
            self.has_directives_ended = True
            return
        if name in self.directives:
            raise self._at(Misplaced(f"the directive {name} stands twice", code="dockerfile.directive", hint="keep one of them"), self.number)
        self.directives[name] = found[2]
        if name == "escape" and not self.has_shebang:
            if found[2] not in ("\\", "`"):
                wrong = Misplaced(f"{found[2]!r} can't be the escape character", code="dockerfile.directive", hint="use \\ or `", token=found[2])
                raise self._at(wrong, self.number)
            self._set_escape(found[2])

    def _heredocs(self, line: str) -> tuple[Heredoc, ...]:
        if "<<" not in line or not _may_have_heredocs(line, self.escape):
            return ()
        try:
            words = Lex(keeps_quotes=True, keeps_escapes=True, keeps_unset=True).split(line, {})
        except Misplaced:
            return ()
        opened = [heredoc for heredoc in map(heredoc_of, words) if heredoc is not None]
        return tuple(self._filled(heredoc) for heredoc in opened)

    def _filled(self, heredoc: Heredoc) -> Heredoc:
        content: list[str] = []
        for raw in self.physical:
            candidate = raw.rstrip("\r\n")
            if (candidate.lstrip("\t") if heredoc.chomps else candidate) == heredoc.name:
                return Heredoc(heredoc.name, heredoc.expands, heredoc.chomps, "".join(content))
            content.append(raw)
        hint = f"end it with a line that holds {heredoc.name} alone"
        raise Misplaced(f"the heredoc {heredoc.name} is never closed", code="dockerfile.heredoc", hint=hint, token="<<")


def _may_have_heredocs(line: str, escape: str) -> bool:
    name, _, rest = split_command(line, escape)
    name = name.lower()
    if name == "onbuild":
        name, _, rest = split_command(rest, escape)
        name = name.lower()
    return name in ("add", "copy", "run") and json_strings(rest) is None


def json_strings(rest: str) -> tuple[str, ...] | None:
    """The strings of an argument in exec form, or None where it is no JSON array; raises Misplaced where it is one of other things."""
    rest = rest.lstrip(SPACE)
    if not rest.startswith("["):
        return None
    import json

    try:
        items = json.loads(rest, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    for item in items:
        if not isinstance(item, str):
            raise Misplaced("an array in exec form may hold strings only", code="dockerfile.json", hint='write ["program", "argument"]', token=rest[:40])
    return tuple(item.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for item in items)


def _refuse_constant(name: str) -> object:
    raise ValueError(name)

"""Shell-like words: quotes, escapes and variables of a Dockerfile's arguments.

`Lex` expands one word (or splits a text into words) with the rules of BuildKit's shell/lex.go, where the corner cases are decided:
which quotes vanish, which escapes stay, and every `${...}` form. Variables come from a mapping; what a word used or missed is not recorded.

A `Lex` is a set of options and may be used again and again; each call runs on a `_Scan` of its own.
"""

import re

from chandlery.frontend.dockerfile.excerpt import Misplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES = frozenset(SPACE)
_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
_PATTERN_SPECIALS = frozenset("[]{}.+()|^$")


class Lex:
    """`keeps_quotes` and `keeps_escapes` leave them in the result; `reads_quotes` False treats them as letters; `keeps_unset` leaves `$x`."""

    def __init__(
        self, escape: str = "\\", *, keeps_quotes: bool = False, keeps_escapes: bool = False, reads_quotes: bool = True, keeps_unset: bool = False
    ) -> None:
        self.escape = escape
        self.keeps_quotes = keeps_quotes
        self.keeps_escapes = keeps_escapes
        self.reads_quotes = reads_quotes
        self.keeps_unset = keeps_unset

    def word(self, text: str, env: "Mapping[str, str]") -> str:
        """`text` as one word, expanded; raises Misplaced."""
        if not _needs_work(text, self.escape):
            return text
        return self._run(text, env)[0]

    def split(self, text: str, env: "Mapping[str, str]") -> list[str]:
        """`text` as words, split after expansion, outside quotes; raises Misplaced."""
        return self._run(text, env)[1]

    def _run(self, text: str, env: "Mapping[str, str]") -> tuple[str, list[str]]:
        try:
            return _Scan(self, text, env).until("", self.keeps_escapes, in_pattern=False)
        except Misplaced as failed:
            raise Misplaced(f"{failed.message} in {text!r}", code=failed.code, hint=failed.hint, token=failed.token or text) from None
        except RecursionError:
            raise Misplaced("substitutions are nested too deeply", code="dockerfile.substitution", token=text[:40]) from None


def _needs_work(text: str, escape: str) -> bool:
    return "$" in text or '"' in text or "'" in text or escape in text


def _bad(message: str, hint: str = "write $name, ${name}, ${name:-default}, ${name:+value} or ${name:?message}") -> Misplaced:
    return Misplaced(message, code="dockerfile.substitution", hint=hint)


class _Scan:
    def __init__(self, lex: Lex, text: str, env: "Mapping[str, str]") -> None:
        self.lex = lex
        self.text = text
        self.env = env
        self.at = 0
        self.keeps_escapes = lex.keeps_escapes
        self.pending = ""

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def next(self) -> str:
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return char

    def until(self, stop: str, keeps_escapes: bool, *, in_pattern: bool) -> tuple[str, list[str]]:
        """The text up to `stop` ("" is the end), and its words. One buffer holds the pending word of every level: as in BuildKit, a
        nested operand drops what the outer level had of its current word."""
        outer_escapes, self.keeps_escapes = self.keeps_escapes, keeps_escapes
        self.pending = ""
        result: list[str] = []
        words: list[str] = []
        while char := self.peek():
            if char == stop:
                self.at += 1
                break
            result.append(self._piece(char, words, in_pattern))
        else:
            if stop:
                raise _bad(f"the text ends while looking for the matching {stop}")
        if self.pending:
            words.append(self.pending)
            self.pending = ""
        self.keeps_escapes = outer_escapes
        return "".join(result), words

    def _piece(self, char: str, words: list[str], in_pattern: bool) -> str:
        if char == "$":
            text = self.dollar()
            for each in text:
                self._add(each, words)
            return text
        if char == "<":
            text = self._possible_heredoc()
        elif char == "'" and self.lex.reads_quotes:
            text = self._single_quoted(in_pattern)
        elif char == '"' and self.lex.reads_quotes:
            text = self._double_quoted(in_pattern)
        elif char == self.lex.escape:
            self.at += 1
            text = (char if self.keeps_escapes else "") + self.next()
        else:
            self.at += 1
            self._add(char, words)
            return char
        self.pending += text
        return text

    def _add(self, char: str, words: list[str]) -> None:
        if char not in _SPACES:
            self.pending += char
        elif self.pending:
            words.append(self.pending)
            self.pending = ""

    def _single_quoted(self, in_pattern: bool) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise Misplaced("the text ends while looking for the matching single quote", code="dockerfile.quote", hint="close the quote")
        inner = self.text[self.at + 1 : end]
        self.at = end + 1
        if in_pattern:
            inner = inner.replace(self.lex.escape, self.lex.escape * 2)
        return f"'{inner}'" if self.lex.keeps_quotes else inner

    def _double_quoted(self, in_pattern: bool) -> str:
        quote = '"' if self.lex.keeps_quotes else ""
        self.at += 1
        result = [quote]
        while char := self.peek():
            if char == '"':
                self.at += 1
                return "".join((*result, quote))
            if char == "$":
                result.append(self.dollar())
                continue
            self.at += 1
            if char == self.lex.escape:
                following = self.peek()
                if not following:
                    continue
                if following in ('"', "$", self.lex.escape):
                    if self.keeps_escapes:
                        result.append(char)
                    char = self.next()
                elif self.keeps_escapes and (not self.lex.keeps_quotes or in_pattern):
                    result.append(char)
            result.append(char)
        raise Misplaced("the text ends while looking for the matching double quote", code="dockerfile.quote", hint="close the quote")

    def _possible_heredoc(self) -> str:
        self.at += 1
        if self.peek() != "<":
            return "<"
        start = self.at
        self.at += 1
        while self.peek() in ("\t", "\r", " "):
            self.at += 1
        return "<" + self.text[start : self.at]

    def dollar(self) -> str:
        self.at += 1
        if self.peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self.env.get(name)
            return value if value is not None else f"${name}" if self.lex.keeps_unset else ""
        self.at += 1
        following = self.peek()
        if not following:
            raise _bad("a substitution lacks its }")
        if following in "{}:":
            raise _bad("bad substitution")
        name = self._name()
        operator = self.next()
        if operator == "}":
            value = self.env.get(name)
            return value if value is not None else f"${{{name}}}" if self.lex.keeps_unset else ""
        if operator == "/":
            return self._replaced(name)
        colon = operator == ":"
        if colon:
            operator = self.next()
        if colon or (operator and operator in "+-?#%"):
            return self._modified(name, operator, colon)
        raise _bad(f"${{{name}{operator} is no substitution")

    def _name(self) -> str:
        start = self.at
        char = self.peek()
        if char.isdecimal():
            while self.peek().isdecimal():
                self.at += 1
        elif char and char in _SPECIAL_PARAMETERS:
            self.at += 1
        else:
            while char and (char.isalpha() or char.isdecimal() or char == "_"):
                self.at += 1
                char = self.peek()
        return self.text[start : self.at]

    def _operand(self, stop: str, keeps_escapes: bool, *, in_pattern: bool) -> str:
        try:
            return self.until(stop, keeps_escapes, in_pattern=in_pattern)[0]
        except Misplaced:
            if not self.peek():
                raise _bad(f"a substitution lacks its {stop}") from None
            raise

    def _modified(self, name: str, operator: str, colon: bool) -> str:
        trims = operator in ("#", "%")
        written = (":" if colon else "") + operator
        if colon and trims:
            raise _bad(f"{written} is no modifier of a substitution")
        word = self._operand("}", trims, in_pattern=trims)
        value = self.env.get(name)
        if value is None and self.lex.keeps_unset:
            return f"${{{name}{written}{word}}}"
        is_missing = value is None or (colon and not value)
        if operator == "-":
            return word if is_missing else value or ""
        if operator == "+":
            return "" if is_missing else word
        if operator == "?":
            if is_missing:
                reason = word or ("must not be unset" if value is None else "must not be empty")
                raise Misplaced(f"{name}: {reason}", code="dockerfile.unset-variable", hint=f"give it a value: ARG {name}=..., or --build-arg", token=name)
            return value or ""
        if not trims:
            raise _bad(f"{written} is no modifier of a substitution")
        is_greedy = word.startswith(operator)
        pattern = word[1:] if is_greedy else word
        if operator == "#":
            return _without_prefix(pattern, value or "", is_greedy)
        return _without_prefix(_reversed_pattern(pattern), (value or "")[::-1], is_greedy)[::-1]

    def _replaced(self, name: str) -> str:
        replaces_all = self.peek() == "/"
        if replaces_all:
            self.at += 1
        pattern = self._operand("/", True, in_pattern=True)
        replacement = self._operand("}", True, in_pattern=False)
        value = self.env.get(name)
        if value is None and self.lex.keeps_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        compiled = _compile(pattern, is_greedy=True, is_anchored=False)
        if replaces_all:
            return _replace_all(compiled, value or "", replacement)
        found = compiled.search(value or "")
        return value or "" if found is None else found.string[: found.start()] + replacement + found.string[found.end() :]


def _compile(pattern: str, *, is_greedy: bool, is_anchored: bool) -> "re.Pattern[str]":
    """A shell pattern (`*`, `?`, escapes; no brackets) as a regular expression."""
    out = ["^"] if is_anchored else []
    chars = iter(range(len(pattern)))
    for i in chars:
        char = pattern[i]
        following = pattern[i + 1 : i + 2]
        if char == "*":
            out.append(".*" if is_greedy else ".*?")
        elif char == "?":
            out.append(".")
        elif char == "\\":
            if following in ("}", "/"):
                continue
            if following not in ("*", "?", "\\"):
                raise _bad(f"the pattern {pattern!r} has an escape of {following!r}", "only * ? \\ / and } need an escape")
            out.append("\\" + following)
            next(chars)
        else:
            out.append("\\" + char if char in _PATTERN_SPECIALS else char)
    return re.compile("".join(out))


def _without_prefix(pattern: str, value: str, is_greedy: bool) -> str:
    found = _compile(pattern, is_greedy=is_greedy, is_anchored=True).match(value)
    return value[found.end() :] if found else value


def _reversed_pattern(pattern: str) -> str:
    """The pattern for reversed text: escapes stay before what they escape."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join(reversed(pieces))


def _replace_all(pattern: "re.Pattern[str]", value: str, replacement: str) -> str:
    """Every match replaced, as Go's ReplaceAllString does: no empty match right after another match, `$0` in the replacement is the match."""
    out: list[str] = []
    end = 0
    for found in pattern.finditer(value):
        if found.start() == found.end() == end and end > 0:
            continue
        out.append(value[end : found.start()])
        out.append(re.sub(r"\$(?:(\$)|(\w+)|\{(\w+)\})", _expander(found.group()), replacement))
        end = found.end()
    return "".join((*out, value[end:]))


def _expander(matched: str) -> "Callable[[re.Match[str]], str]":
    def expand(reference: "re.Match[str]") -> str:
        if reference[1]:
            return "$"
        return matched if (reference[2] or reference[3]) == "0" else ""

    return expand

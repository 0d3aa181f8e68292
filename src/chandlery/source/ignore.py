"""`.dockerignore`: which paths of a context don't belong to it. Pure.

The grammar and the order of precedence are those of the Dockerfile reference and of moby/patternmatcher: patterns are relative to the
context's root, the last one that matches a path or one of its parents decides, `!` takes back. So a file can come back below an excluded
directory; `may_reinclude_below` says when that is impossible, so that a walk needn't enter `node_modules`. Which file the patterns
come from (`<Dockerfile>.dockerignore` goes before `.dockerignore`) is the caller's decision, and the build itself reads the Dockerfile and the
ignore file whether they are excluded or not.
"""

import posixpath
import re

from chandlery.errors import InputError
from chandlery.snapshot.globs import character_class
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    State = tuple[bool, ...]  # for each pattern: does it match a parent directory?

_MAGIC = frozenset("*[]?^\\")


@value
class Pattern:
    """One line: `text` cleaned, without its `!`; `matches(path)` looks at exactly this path, not at its parents."""

    text: str
    is_negated: bool
    matches: "Callable[[str], object]"
    fixed_prefix: str
    has_wild_prefix: bool


class Ignore:
    """A list of patterns, in order. An empty one excludes nothing."""

    def __init__(self, patterns: tuple[Pattern, ...] = ()) -> None:
        self.patterns = patterns
        self.has_negations = any(pattern.is_negated for pattern in patterns)
        self.root_state: State = (False,) * len(patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def step(self, path: str, parent: "State") -> "tuple[bool, State]":
        """Whether `path` (relative, no leading slash) is excluded, and the state for its children; `parent` is its directory's state."""
        excluded = False
        state = []
        for pattern, inherited in zip(self.patterns, parent, strict=True):
            # A pattern that could not change the outcome is not tried: the rule that moby/patternmatcher's results depend on.
            matched = inherited or (pattern.is_negated == excluded and bool(pattern.matches(path)))
            if matched:
                excluded = not pattern.is_negated
            state.append(matched)
        return excluded, tuple(state)

    def excludes(self, path: str) -> bool:
        """Whether a single path is excluded, judged from the root."""
        if path in ("", "."):
            return False
        state, excluded, at = self.root_state, False, 0
        while at != -1:
            at = path.find("/", at + 1)
            excluded, state = self.step(path if at == -1 else path[:at], state)
        return excluded

    def may_reinclude_below(self, directory: str, state: "State") -> bool:
        """Whether anything below an excluded directory can belong to the context; `state` is the directory's own."""
        if not self.has_negations:
            return False
        deciding = max((at for at, pattern in enumerate(self.patterns) if state[at] and not pattern.is_negated), default=-1)
        below = directory + "/"
        for at in range(deciding + 1, len(self.patterns)):
            pattern = self.patterns[at]
            if pattern.is_negated and (state[at] or pattern.has_wild_prefix or (pattern.fixed_prefix + "/").startswith(below)):
                return True
        return False


def parse(text: str, *, file: str = ".dockerignore") -> Ignore:
    """The patterns of an ignore file; raises InputError (code ignore.malformed) naming file and line."""
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.startswith("#") or not line.strip():
            continue
        wanted = line.strip()
        is_negated = wanted.startswith("!")
        wanted = wanted[1:].strip() if is_negated else wanted
        if not wanted:
            raise InputError(f'{file}:{number}: "!" takes back nothing', code="ignore.malformed", hint="write a pattern behind the exclamation mark")
        patterns.append(_compile(_clean(wanted), is_negated, f"{file}:{number}"))
    return Ignore(tuple(patterns))


def _clean(pattern: str) -> str:
    cleaned = posixpath.normpath(pattern)
    cleaned = "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned
    return cleaned[1:] if len(cleaned) > 1 and cleaned[0] == "/" else cleaned


def _compile(text: str, is_negated: bool, where: str) -> Pattern:
    prefix = text.removesuffix("/**").removesuffix("/*")
    wild = not _MAGIC.isdisjoint(prefix)
    return Pattern(text, is_negated, _matcher(text, where), prefix, wild)


def _matcher(text: str, where: str) -> "Callable[[str], object]":
    if _MAGIC.isdisjoint(text):
        return text.__eq__
    rest = text.removeprefix("**/")
    if rest != text and _MAGIC.isdisjoint(rest):
        suffix = "/" + rest
        return lambda path: path == rest or path.endswith(suffix)
    rest = text.removesuffix("/**")
    if rest != text and _MAGIC.isdisjoint(rest):
        prefix = rest + "/"
        return lambda path: path.startswith(prefix)
    try:
        return re.compile(_expression(text), re.DOTALL).fullmatch
    except (re.error, ValueError) as error:
        hint = "brackets must be closed and a backslash must stand before a character"
        raise InputError(f"{where}: {text!r} is not a pattern ({error})", code="ignore.malformed", hint=hint) from None


def _expression(text: str) -> str:
    """The pattern as a regular expression: `**` crosses directories, `*` and `?` don't, `[...]` is a class, a backslash quotes."""
    out, at = [], 0
    while at < len(text):
        char = text[at]
        if text.startswith("**", at):
            at += 3 if text.startswith("/", at + 2) else 2
            out.append(".*" if at >= len(text) else "(?:.*/)?")
            continue
        if char == "[":
            piece, at = character_class(text, at)
            out.append(piece)
            continue
        if char == "\\":
            at += 1
            if at == len(text):
                raise ValueError("a backslash at the end")
            out.append(re.escape(text[at]))
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char))
        at += 1
    return "".join(out)

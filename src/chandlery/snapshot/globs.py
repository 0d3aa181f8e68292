"""Wildcards of COPY and ADD sources: Go's path/filepath.Match, one path component at a time. Pure."""

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def has_wildcards(component: str) -> bool:
    """Whether a component means more than itself: `*`, `?` or `[` that no backslash quotes."""
    at = 0
    while at < len(component):
        if component[at] == "\\":
            at += 1
        elif component[at] in "*?[":
            return True
        at += 1
    return False


def compile_component(pattern: str) -> "Callable[[str], object]":
    """A function that says whether a name matches; a malformed pattern matches nothing, as in BuildKit."""
    try:
        return re.compile(_expression(pattern), re.DOTALL).fullmatch
    except (re.error, ValueError):
        return lambda _: False


def is_malformed(pattern: str) -> bool:
    """Whether a source pattern has a component that can't be understood: an open bracket, an empty range, a backslash at the end."""
    try:
        for part in pattern.split("/"):
            re.compile(_expression(part), re.DOTALL)
    except (re.error, ValueError):
        return True
    return False


def _expression(pattern: str) -> str:
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char == "[":
            piece, at = character_class(pattern, at)
            out.append(piece)
            continue
        if char == "\\":
            at += 1
            if at == len(pattern):
                raise ValueError("a backslash at the end")
            char, out = "", [*out, re.escape(pattern[at])]
        out.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char))
        at += 1
    return "".join(out)


def character_class(text: str, at: int) -> tuple[str, int]:
    """The class that begins at `text[at]` as a regular expression, and where it ends (Go's path/filepath.Match); raises ValueError."""
    start = at + 1
    negated = text.startswith("^", start)
    at = start + negated
    members: list[str] = []
    while at < len(text) and (text[at] != "]" or not members):
        low, at = _member(text, at)
        if text.startswith("-", at) and at + 1 < len(text):
            high, at = _member(text, at + 1)
            if low > high:
                raise ValueError(f"the range {low}-{high} is empty")
            members.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            members.append(re.escape(low))
    if at >= len(text):
        raise ValueError("a bracket is not closed")
    return f"[{'^' if negated else ''}{''.join(members)}]", at + 1


def _member(text: str, at: int) -> tuple[str, int]:
    if text[at] in "-]":
        raise ValueError("a bracket expression begins with - or ]")
    if text[at] == "\\":
        at += 1
    if at >= len(text):
        raise ValueError("a bracket is not closed")
    return text[at], at + 1

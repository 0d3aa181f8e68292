"""Flags of an instruction: where they end, and their values.

`split_command` takes a logical line apart into the instruction's name, its flags and the rest; `Flags` reads the flags that an instruction
declares (text, on/off, repeatable) and refuses others with the nearest known one. What a value means is its instruction's business.
"""

import re

from chandlery.frontend.dockerfile.excerpt import Misplaced, suggestion
from chandlery.frontend.dockerfile.words import SPACE
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BLANKS = re.compile(r"[\t\v\f\r ]+")
_SPACES = frozenset(SPACE)


def split_command(line: str, escape: str) -> tuple[str, tuple[str, ...], str]:
    """The name of a logical line's instruction, its flags with quotes and escapes resolved, and the rest, stripped."""
    name, *rest = BLANKS.split(line.strip(SPACE), maxsplit=1)
    if not rest:
        return name, (), ""
    text = rest[0]
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in _SPACES:
            at += 1
        if text[at : at + 2] != "--":
            return name, tuple(flags), text[at:].strip(SPACE)
        flag, at = _flag(text, at, escape)
        if flag == "--":
            return name, tuple(flags), text[at:].strip(SPACE)
        flags.append(flag)


def _flag(text: str, at: int, escape: str) -> tuple[str, int]:
    """One flag from `at`, and where it ended."""
    out: list[str] = []
    quote = ""
    while at < len(text):
        char = text[at]
        if quote and char == quote:
            quote = ""
        elif not quote and char in _SPACES:
            break
        elif not quote and char in "'\"":
            quote = char
        elif char == escape:
            at += 1
            out.append(text[at : at + 1])
        else:
            out.append(char)
        at += 1
    return "".join(out), at


@value
class Flags:
    """The flags that an instruction was given: by name, the values in order ("true" and "false" for switches)."""

    given: "dict[str, tuple[str, ...]]"

    def text(self, name: str, default: str = "") -> str:
        values = self.given.get(name)
        return values[-1] if values else default

    def all(self, name: str) -> tuple[str, ...]:
        return self.given.get(name, ())

    def is_on(self, name: str) -> bool:
        return self.text(name) == "true"

    def switch(self, name: str) -> bool | None:
        """True or False as written, None where it wasn't."""
        return self.is_on(name) if name in self.given else None


def read_flags(written: tuple[str, ...], *, texts: "Iterable[str]" = (), switches: "Iterable[str]" = (), lists: "Iterable[str]" = ()) -> Flags:
    """The flags of an instruction that knows `texts` (once each), `switches` and `lists`; raises Misplaced for others."""
    given: dict[str, tuple[str, ...]] = {}
    known = (*texts, *switches, *lists)
    for flag in written:
        name, equals, text = flag.partition("=")
        name = name[2:]
        if name not in known:
            some = ", ".join("--" + item for item in known)
            otherwise = f"known here: {some}" if some else "this instruction has no flags"
            near = suggestion(name, known, "")
            raise Misplaced(f"--{name} is no flag of this instruction", code="dockerfile.unknown-flag", hint=near or otherwise, token="--" + name)
        if name in given and name not in lists:
            raise Misplaced(f"--{name} stands twice", code="dockerfile.flag", hint="keep one of them", token="--" + name)
        given[name] = (*given.get(name, ()), _value(name, equals, text, name in switches))
    return Flags(given)


def _value(name: str, equals: str, text: str, is_switch: bool) -> str:
    if not is_switch:
        if not equals:
            raise Misplaced(f"--{name} lacks a value", code="dockerfile.flag", hint=f"write --{name}=VALUE", token="--" + name)
        return text
    if equals and not text:
        raise Misplaced(f"--{name}= lacks a value", code="dockerfile.flag", hint=f"write --{name} or --{name}=false", token="--" + name)
    if text.lower() not in ("", "true", "false"):
        raise Misplaced(f"--{name} is true or false, not {text!r}", code="dockerfile.flag", hint=f"write --{name}", token="--" + name)
    return "false" if text.lower() == "false" else "true"

"""`--filter` of `du` and `prune`, as `docker buildx prune` understands it: which rows of a usage listing are meant.

    until=24h, unused-for=24h     not used for that long
    type=step, kind=blob          step, snapshot, blob, volume, log, git, image; BuildKit's names regular, source.local,
                                  source.git.checkout and exec.cachemount are understood
    id=ID                         exactly that one, or all whose id begins so
    description=TEXT              contains TEXT
    inuse, shared, private        or with =true, =false

Every filter must match. `!=` negates, `~=` takes a regular expression (id and description).
"""

import re

from chandlery.content.usage import Kind, UsageRow
from chandlery.errors import RequestError
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Test = Callable[[UsageRow], bool]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BUILDKIT_TYPES = {"regular": Kind.STEP, "source.local": Kind.SNAPSHOT, "source.git.checkout": Kind.GIT, "exec.cachemount": Kind.VOLUME}


@value
class Filters:
    """What a list of filter texts means. `unused_for_s` is the longest of its until= and unused-for=."""

    unused_for_s: float
    tests: "tuple[Test, ...]"

    def match(self, row: UsageRow) -> bool:
        """Whether all but the age filters match."""
        return all(test(row) for test in self.tests)


def parse_filters(texts: "Iterable[str]") -> Filters:
    """Raises RequestError request.bad-filter."""
    unused_for_s = 0.0
    tests: list[Test] = []
    for text in texts:
        name, operator, operand = _split(text)
        if name in ("until", "unused-for") and operator == "=":
            unused_for_s = max(unused_for_s, parse_duration(operand))
        else:
            tests.append(_test(text, name, operator, operand))
    return Filters(unused_for_s, tuple(tests))


def parse_duration(text: str) -> float:
    """Seconds of "24h", "1h30m", "7d", "1.5h" or a plain number of seconds. Raises RequestError request.bad-filter."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|[smhdw]))+", text):
        raise _bad(f"{text!r} is not a duration", "durations look like 24h, 1h30m or 7d")
    return sum(float(number) * _UNITS_S[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|[smhdw])", text))


def _split(text: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"([a-z-]+)(?:(!=|~=|==|=)(.*))?", text, re.DOTALL)
    if not found:
        raise _bad(f"{text!r} is not a filter", "filters look like type=step, until=24h or inuse")
    return found[1], (found[2] or "=").replace("==", "="), found[3] if found[2] else "true"


def _test(text: str, name: str, operator: str, operand: str) -> "Test":
    if name in ("type", "kind"):
        test = _type_test(operand)
    elif name == "id":
        test = _text_test(operand, operator, lambda row: row.id, str.startswith)
    elif name == "description":
        test = _text_test(operand, operator, lambda row: row.description, str.__contains__)
    elif name in ("inuse", "shared", "private"):
        test = _state_test(name, operand)
    else:
        raise _bad(f"unknown filter {text!r}", "known are until, unused-for, type, id, description, inuse, shared and private")
    if operator == "~=" and name not in ("id", "description"):
        raise _bad(f"{name} can't be compared by ~=", "use = or !=")
    return (lambda row: not test(row)) if operator == "!=" else test


def _type_test(operand: str) -> "Test":
    try:
        kind = _BUILDKIT_TYPES.get(operand) or Kind(operand)
    except ValueError:
        raise _bad(f"unknown type {operand!r}", f"known are {', '.join(Kind)}") from None
    return lambda row: row.kind is kind


def _text_test(operand: str, operator: str, text_of: "Callable[[UsageRow], str]", compare: "Callable[[str, str], bool]") -> "Test":
    if operator != "~=":
        return lambda row: compare(text_of(row), operand)
    try:
        pattern = re.compile(operand)
    except re.error as error:
        raise _bad(f"{operand!r} is not a regular expression: {error}", "") from None
    return lambda row: pattern.search(text_of(row)) is not None


def _state_test(name: str, operand: str) -> "Test":
    if operand not in ("true", "false"):
        raise _bad(f"{name} is true or false, not {operand!r}", "")
    wanted = operand == "true"
    if name == "inuse":
        return lambda row: row.is_in_use is wanted
    return lambda row: row.is_shared is (wanted if name == "shared" else not wanted)


def _bad(message: str, hint: str) -> RequestError:
    return RequestError(message, code="request.bad-filter", hint=hint)

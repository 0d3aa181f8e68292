"""Durations as Go writes and reads them ("1m30s", "500ms"), in nanoseconds: HEALTHCHECK's flags and its history text."""

import re

_UNIT_NS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_LARGEST = 2**63 - 1


def parse_ns(text: str) -> int | None:
    """The nanoseconds of a duration, or None where the text is none."""
    sign = -1 if text.startswith("-") else 1
    digits = text[1:] if text[:1] in ("-", "+") and text else text
    if digits == "0":
        return 0
    part = re.compile(r"([0-9]*)(?:(\.)([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
    at = total = 0
    while at < len(digits):
        found = part.match(digits, at)
        if found is None or not (found[1] or found[3]):
            return None
        unit = _UNIT_NS[found[4]]
        total += int(found[1] or 0) * unit
        if found[3]:
            total += int(found[3]) * unit // 10 ** len(found[3])
        at = found.end()
    return sign * total if digits and total <= _LARGEST else None


def format_ns(duration: int) -> str:
    """A duration as Go prints it."""
    if duration == 0:
        return "0s"
    if duration < 10**9:
        for name, unit in (("ms", 10**6), ("µs", 1000), ("ns", 1)):
            if duration >= unit:
                return _decimal(duration, unit) + name
    hours, rest = divmod(duration, 3600 * 10**9)
    minutes, seconds = divmod(rest, 60 * 10**9)
    text = _decimal(seconds, 10**9) + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _decimal(amount: int, unit: int) -> str:
    whole, part = divmod(amount, unit)
    width = len(str(unit)) - 1
    fraction = f"{part:0{width}}".rstrip("0") if width else ""
    return f"{whole}.{fraction}" if fraction else str(whole)

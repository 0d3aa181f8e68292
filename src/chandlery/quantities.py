"""Sizes, counts and durations as people write them on a command line."""

from chandlery.errors import RequestError

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str, flag: str) -> int:
    """Bytes from "512", "64m", "1.5gb", "2GiB": binary units, as docker reads them. Raises RequestError (request.bad-size)."""
    lower = text.strip().lower()
    number = lower.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = lower[len(number) :].strip().removesuffix("ib")
    unit = unit.removesuffix("b") if len(unit) > 1 else unit
    try:
        size = float(number) * _UNITS[unit]
        if not 0 <= size < 1 << 63:
            raise ValueError(size)
        return int(size)
    except (KeyError, ValueError) as error:
        raise RequestError(f"{flag} {text!r} is not a size", code="request.bad-size", hint="write a number and b, k, m, g or t: 512m") from error


def parse_whole(text: str, flag: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise RequestError(f"{flag} {text!r} is not a whole number", code="request.bad-number", hint=f"write {flag} 1000") from error


def parse_duration(text: str, flag: str) -> float:
    """Seconds from "90s", "1h30m", "7d". Raises RequestError (request.bad-duration)."""
    import re

    parts = re.findall(r"([0-9]+(?:\.[0-9]*)?)([smhd])", lower := text.strip().lower())
    if parts and "".join(number + unit for number, unit in parts) == lower:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    raise RequestError(f"{flag} {text!r} is not a duration", code="request.bad-duration", hint="write numbers with s, m, h or d: 24h")

"""EXPOSE's ports: "[ip:][host:]port[-port][/proto]" -> "port/proto" each. Addresses and host ports are checked and dropped."""

import re

from chandlery.frontend.dockerfile.excerpt import Misplaced


def ports_of(text: str) -> list[str]:
    """The ports that one argument exposes; raises Misplaced (dockerfile.port)."""
    *address, host, container = ["", "", *text.split(":")]
    port, _, protocol = container.partition("/")
    if not port:
        raise _bad(text, "the port is missing")
    if protocol.lower() not in ("", "tcp", "udp", "sctp"):
        raise _bad(text, f"{protocol!r} is no protocol", "use tcp, udp or sctp")
    _check_address(":".join(part for part in address[2:]) if len(address) > 2 else "", text)
    first, last = _range(port, text)
    if host:
        host_first, host_last = _range(host, text)
        if last != first and last - first != host_last - host_first:
            raise _bad(text, f"the ranges {port} and {host} differ in length")
    return [f"{number}/{protocol.lower() or 'tcp'}" for number in range(first, last + 1)]


def _bad(text: str, reason: str, hint: str = "write EXPOSE 8080, 8080/udp or 8000-8010") -> Misplaced:
    return Misplaced(f"{text!r} is no port: {reason}", code="dockerfile.port", hint=hint, token=text)


def _check_address(address: str, text: str) -> None:
    if not address:
        return
    import ipaddress

    inner = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        ipaddress.ip_address(inner)
    except ValueError:
        raise _bad(text, f"{address!r} is no IP address") from None


def _range(ports: str, text: str) -> tuple[int, int]:
    start, dash, end = ports.partition("-")
    first = _number(start, text)
    last = _number(end, text) if dash and end != start else first
    if last < first:
        raise _bad(text, f"{ports} runs backwards")
    return first, last


def _number(digits: str, text: str) -> int:
    if re.fullmatch(r"[+-]?[0-9]+", digits) is None:
        raise _bad(text, f"{digits!r} is no number")
    number = int(digits)
    if not 0 <= number <= 65535:
        raise _bad(text, f"{digits} is out of range (0 to 65535)")
    return number

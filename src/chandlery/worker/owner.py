"""Who owns what COPY, ADD and WORKDIR make: --chown's text, with names looked up in the image's own /etc/passwd and /etc/group.

As in BuildKit: a number alone is user and group alike; a name alone takes the group of its passwd line; names are only looked up where there are names.
"""

from chandlery.errors import InputError
from chandlery.snapshot.tree import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.worker.target import Target

    Owner = tuple[int, int]

_MAX_ID = 2**32 - 2
_MAX_BYTES = 16 << 20


def parse_owner(text: str, target: "Target", *, unknown: "Owner | None" = None) -> "Owner":
    """uid and gid of "user[:group]". A name that isn't there is `unknown`'s, or raises InputError (code copy.unknown-user, copy.unknown-group)."""
    user, colon, group = text.partition(":")
    uid, gid = _user(user, target, unknown)
    if colon and group:
        gid = _group(group, target, unknown)
    return uid, gid


def _user(user: str, target: "Target", unknown: "Owner | None") -> "Owner":
    number = _number(user)
    if number is not None:
        return number, number
    for fields in _lines(target, "etc/passwd"):
        if fields[0] == user and len(fields) >= 4:
            return _number(fields[2]) or 0, _number(fields[3]) or 0
    if unknown is not None:
        return unknown
    hint = "create the user in an earlier RUN, or give numeric ids"
    raise InputError(f"there is no user {user!r} in the image's /etc/passwd", code="copy.unknown-user", hint=hint)


def _group(group: str, target: "Target", unknown: "Owner | None") -> int:
    number = _number(group)
    if number is not None:
        return number
    for fields in _lines(target, "etc/group"):
        if fields[0] == group and len(fields) >= 3:
            return _number(fields[2]) or 0
    if unknown is not None:
        return unknown[1]
    hint = "create the group in an earlier RUN, or give numeric ids"
    raise InputError(f"there is no group {group!r} in the image's /etc/group", code="copy.unknown-group", hint=hint)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    if number > _MAX_ID:
        raise InputError(f"{text} is too large for a user or group id", code="copy.unknown-user", hint=f"ids go up to {_MAX_ID}")
    return number


def _lines(target: "Target", path: str) -> list[list[str]]:
    data = target.read_file(resolve(target, path), _MAX_BYTES) or b""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return [line.strip().split(":") for line in lines if line.strip() and not line.startswith("#")]

"""Who owns what COPY, ADD and WORKDIR make: --chown's text, with names looked up in the image's own /etc/passwd and /etc/group.

As in BuildKit: a number alone is user and group alike; a name alone takes the group of its passwd line; "root" is 0 everywhere.
A name that isn't there is root's (a group: the user's own), which BuildKit keeps to itself and we say.
"""

from chandlery.errors import InputError
from chandlery.snapshot.tree import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.worker.target import Target

    Owner = tuple[int, int]
    Warn = Callable[[str], None]

_MAX_ID = 2**32 - 2
_MAX_BYTES = 16 << 20


def parse_owner(text: str, target: "Target", warn: "Warn") -> "Owner":
    """uid and gid of "user[:group]". Raises InputError (copy.unknown-user, copy.unknown-group) for a name where there is no image to look it up in."""
    user, colon, group = text.partition(":")
    uid, gid = _user(user, target, warn) if user else (0, 0)
    if colon and group:
        found = _group(group, target, warn)
        gid = gid if found is None else found
    return uid, gid


def _user(user: str, target: "Target", warn: "Warn") -> "Owner":
    number = _number(user)
    if number is not None:
        return number, number
    for fields in _lines(target, "etc/passwd"):
        if fields[0] == user and len(fields) >= 4:
            return _number(fields[2]) or 0, _number(fields[3]) or 0
    problem = f"there is no user {user!r} in the image's /etc/passwd"
    if target.base is None:
        raise InputError(problem, code="copy.unknown-user", hint="create the user in an earlier RUN, or give numeric ids")
    warn(f"{problem}: root owns what is copied, as with BuildKit")
    return 0, 0


def _group(group: str, target: "Target", warn: "Warn") -> int | None:
    number = _number(group)
    if number is not None:
        return number
    for fields in _lines(target, "etc/group"):
        if fields[0] == group and len(fields) >= 3:
            return _number(fields[2]) or 0
    problem = f"there is no group {group!r} in the image's /etc/group"
    if target.base is None:
        raise InputError(problem, code="copy.unknown-group", hint="create the group in an earlier RUN, or give numeric ids")
    warn(f"{problem}: the user's own group is used, as with BuildKit")
    return None


def _number(text: str) -> int | None:
    if text == "root":
        return 0
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

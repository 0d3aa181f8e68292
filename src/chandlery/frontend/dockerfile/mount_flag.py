"""`RUN --mount=...`: comma-separated options -> the mount they mean.

`origin_of` reads what must be known before variables are (`from`, which names a stage); `read_mount` reads everything, expanding each value.
The mount's paths are still relative and its origin still a name: lower_run.py resolves both.
"""

import re

from chandlery.frontend.dockerfile.excerpt import Misplaced, suggestion
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARINGS = ("shared", "private", "locked")
_KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src", "dst",
    "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
TRUE_WORDS = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE_WORDS = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_SIZE_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}


@value
class MountFlag:
    """`read_only` is resolved from the type where it wasn't said. `mode`, `uid`, `gid` and `env` are None where not given."""

    type: str = "bind"
    origin: str = ""
    source: str = ""
    target: str = ""
    is_read_only: bool = True
    size_bytes: int = 0
    id: str = ""
    sharing: str = ""
    is_required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def origin_of(text: str) -> str:
    """The `from` option of a mount, "" without one; raises Misplaced where it holds a variable."""
    origin = ""
    for field in _fields(text):
        key, equals, item = field.partition("=")
        if equals and key.lower() == "from":
            origin = item
            if "$" in item[:-1]:
                name = re.sub(r"[${}]", "", item)
                hint = f"name it first: FROM {item} AS cache, with ARG {name} before the first FROM, then from=cache"
                raise Misplaced(f"from={item} can't be a variable", code="dockerfile.variable-in-from", hint=hint, token=f"from={item}")
    return origin


def read_mount(text: str, expand: "Callable[[str], str]") -> MountFlag:
    """The mount that a flag's text means; raises Misplaced (dockerfile.bad-mount)."""
    options: dict[str, object] = {"type": "bind"}
    for field in _fields(text):
        key, equals, item = field.partition("=")
        key = key.lower()
        if not equals:
            _switch(key, field, options)
        elif key not in _KEYS:
            expand(item)
            hint = suggestion(key, _KEYS, f"known options: {', '.join(_KEYS)}")
            raise _bad(f"{key!r} is no option of a mount", hint, field)
        else:
            _option(_ALIASES.get(key, key), expand(item), options, field)
    mount = MountFlag(**options)  # type: ignore[arg-type]
    if "is_read_only" not in options and mount.type in ("cache", "tmpfs"):
        options["is_read_only"] = False
        mount = MountFlag(**options)  # type: ignore[arg-type]
    _check(mount, text)
    return mount


def _bad(message: str, hint: str, token: str) -> Misplaced:
    return Misplaced(message, code="dockerfile.bad-mount", hint=hint, token=token)


def _switch(key: str, field: str, options: "dict[str, object]") -> None:
    if key in ("readonly", "ro"):
        options["is_read_only"] = True
    elif key in ("readwrite", "rw"):
        options["is_read_only"] = False
    elif key == "required":
        _only_for(options, "required", field, ("secret", "ssh"))
        options["is_required"] = True
    else:
        raise _bad(f"{field!r} in a mount lacks a value", f"write {key}=VALUE", field)


def _option(key: str, item: str, options: "dict[str, object]", field: str) -> None:
    match key:
        case "type":
            options["type"] = _choice(item, TYPES, "mount type", field)
        case "sharing":
            options["sharing"] = _choice(item, _SHARINGS, "sharing mode", field)
        case "from":
            options["origin"] = item
        case "readonly":
            options["is_read_only"] = _boolean(item, field)
        case "readwrite":
            options["is_read_only"] = not _boolean(item, field)
        case "required":
            _only_for(options, key, field, ("secret", "ssh"))
            options["is_required"] = _boolean(item, field)
        case "size":
            _only_for(options, key, field, ("tmpfs",))
            options["size_bytes"] = _size(item, field)
        case "mode":
            options["mode"] = _number(item, 8, field)
        case "uid" | "gid":
            options[key] = _number(item, 10, field)
        case _:
            options[key] = item


def _choice(item: str, known: tuple[str, ...], what: str, field: str) -> str:
    if item.lower() not in known:
        raise _bad(f"{item!r} is no {what}", suggestion(item, known, f"use {', '.join(known)}"), field)
    return item.lower()


def _only_for(options: "dict[str, object]", key: str, field: str, types: tuple[str, ...]) -> None:
    if options["type"] not in types:
        hint = f"{key} belongs to type={' and type='.join(types)}, and the type must stand before it"
        raise _bad(f"{key} is no option of a {options['type']} mount", hint, field)


def _boolean(item: str, field: str) -> bool:
    if item in TRUE_WORDS:
        return True
    if item in FALSE_WORDS:
        return False
    raise _bad(f"{item!r} is neither true nor false", "write true or false", field)


def _number(item: str, base: int, field: str) -> int:
    digits = "01234567" if base == 8 else "0123456789"
    if not item or not all(char in digits for char in item) or int(item, base) >= 2**32:
        what = "mode in octal digits" if base == 8 else "number"
        raise _bad(f"{item!r} is no {what}", "write mode=0644" if base == 8 else "write a number, names aren't resolved here", field)
    return int(item, base)


def _size(item: str, field: str) -> int:
    """Bytes from "64m", "64MiB", "1.5g" or "4096" (docker/go-units, RAMInBytes)."""
    wrong = _bad(f"{item!r} is no size", "write size=64m, or a number of bytes", field)
    end = max((item.rfind(char) for char in "0123456789. "), default=-1)
    digits, unit = (item[:end] if item[end : end + 1] == " " else item[: end + 1]), item[end + 1 :].lower()
    if end < 0 or "_" in digits or re.fullmatch(r"(?:[kmgtp](?:i?b)?|b)?", unit) is None:
        raise wrong
    try:
        amount = float(digits)
    except ValueError:
        raise wrong from None
    if not 0 <= amount < 2**63:
        raise wrong
    return int(amount * _SIZE_UNITS.get(unit[:1], 1))


def _check(mount: MountFlag, text: str) -> None:
    if mount.type in ("bind", "tmpfs"):
        for name in ("mode", "uid", "gid"):
            if getattr(mount, name) is not None:
                raise _bad(f"{name} is no option of a {mount.type} mount", "cache and secret mounts have it", f"{name}=")
    if mount.type == "secret":
        if mount.origin:
            raise _bad("a secret mount has no from", "name the secret by id", "from=")
        if mount.sharing:
            raise _bad("a secret mount has no sharing", "leave it out", "sharing=")
        if not (mount.source or mount.target or mount.id):
            raise _bad("a secret mount needs an id, a source or a target", "write type=secret,id=NAME", text)
        if mount.source and mount.id:
            raise _bad("a secret mount has either source or id", "leave source out", "source=")
    if mount.sharing and mount.type != "cache":
        raise _bad(f"a {mount.type} mount has no sharing", "leave it out, or write type=cache", "sharing=")


def _fields(text: str) -> list[str]:
    """The comma-separated fields of a CSV line; a field in quotes may hold commas."""
    if not text:
        raise _bad("--mount is empty", "write --mount=type=cache,target=/path", "--mount")
    fields: list[str] = []
    rest = text
    while True:
        if rest.startswith('"'):
            found = re.match(r'"((?:[^"]|"")*)"(,|\Z)', rest)
            if found is None:
                raise _bad("a quote in --mount isn't closed, or text follows it", "close the quote before the comma", rest)
            fields.append(found[1].replace('""', '"'))
            if not found[2]:
                return fields
            rest = rest[found.end() :]
            continue
        field, comma, rest = rest.partition(",")
        if '"' in field:
            raise _bad("a quote stands inside an option of --mount", "quote the whole option", field)
        fields.append(field)
        if not comma:
            return fields

"""`--output`: one specification, as buildx reads it, to an Output."""

import os

from chandlery.engine.request import Output, OutputKind
from chandlery.errors import RequestError

_KINDS = {
    "local": OutputKind.LOCAL, "tar": OutputKind.TAR, "oci": OutputKind.OCI, "docker": OutputKind.DOCKER, "image": OutputKind.IMAGE,
    "registry": OutputKind.IMAGE, "cacheonly": OutputKind.CACHE_ONLY,
}  # fmt: skip
_OPTIONS = frozenset(
    {"name", "push", "push-by-digest", "oci-mediatypes", "compression", "compression-level", "force-compression", "rewrite-timestamp", "unpack", "store",
     "registry.insecure", "dest", "mode", "platform-split", "tar"}
)  # fmt: skip
_BOOLEANS = (
    "push",
    "push-by-digest",
    "oci-mediatypes",
    "force-compression",
    "rewrite-timestamp",
    "unpack",
    "store",
    "registry.insecure",
    "platform-split",
    "tar",
)
# what is asked for by another value than these comes later: refused, never done differently without a word
_ONLY = {"mode": ("copy",), "platform-split": ("false", "0"), "tar": ("true", "1"), "push-by-digest": ("false", "0")}
COMPRESSIONS = ("uncompressed", "gzip", "zstd")
_HIGHEST_LEVELS = {"uncompressed": 0, "gzip": 9, "zstd": 22}


def parse_output(text: str) -> Output:
    """An Output from "DIRECTORY", "-" (a tar on standard output) or "type=...,key=value". Raises RequestError (request.bad-output)."""
    if text == "-":
        return Output(OutputKind.TAR, "-")
    parts = split_fields(text)
    if len(parts) == 1 and not text.startswith("type=") and text:
        return Output(OutputKind.LOCAL, os.path.abspath(text))
    fields: dict[str, str] = {}
    for part in parts:
        key, equals, item = part.partition("=")
        if not equals:
            raise _bad(text, f"{part!r} is not KEY=VALUE", "write type=local,dest=PATH")
        fields[key.strip().lower()] = item
    name = fields.pop("type", "")
    if name not in _KINDS:
        raise _bad(text, f"unknown type {name!r}" if name else "there is no type=", f"the types are {', '.join(_KINDS)}")
    return _checked(text, name, fields)


def split_fields(text: str) -> list[str]:
    """The fields of one line of CSV, as buildx splits its flags: quotes keep a comma ('type=image,"name=a,b"')."""
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise RequestError(f"{text!r} has quotes that don't match", code="request.usage", hint='quote whole fields: "name=a,b"') from error


def _checked(text: str, name: str, fields: dict[str, str]) -> Output:
    kind = _KINDS[name]
    for key, item in fields.items():
        _check_option(text, key, item)
    compression = fields.get("compression", "gzip")
    if compression not in COMPRESSIONS:
        raise _bad(text, f"unknown compression {compression!r}", f"compressions are {', '.join(COMPRESSIONS)}")
    level, highest = fields.get("compression-level", "0"), _HIGHEST_LEVELS[compression]
    if not level.isdecimal() or int(level) > max(highest, 9):
        raise _bad(text, f"{compression} has no level {level}", f"write a number up to {highest}")
    if name == "registry":
        fields["push"] = "true"
    destination = fields.pop("dest", "")
    if not destination and kind in (OutputKind.TAR, OutputKind.OCI):
        destination = "-"
    if kind is OutputKind.LOCAL and destination in ("", "-"):
        raise _bad(text, "a directory can't go to standard output" if destination else "type=local needs dest=", "write type=local,dest=PATH")
    return Output(kind, destination if destination in ("", "-") else os.path.abspath(destination), tuple(sorted(fields.items())))


def _check_option(text: str, key: str, item: str) -> None:
    if key.startswith("annotation"):
        raise _bad(text, "annotations come with a later release", "leave them away")
    if key not in _OPTIONS:
        raise _bad(text, f"unknown option {key!r}", f"options are {', '.join(sorted(_OPTIONS))}")
    if key in _BOOLEANS and item.lower() not in ("true", "1", "false", "0"):
        raise _bad(text, f"{key} takes true or false, not {item!r}", f"write {key}=true")
    if key in _ONLY and item.lower() not in _ONLY[key]:
        raise _bad(text, f"{key}={item} comes with a later release", "leave it away")


def _bad(text: str, problem: str, hint: str) -> RequestError:
    return RequestError(f"--output {text!r}: {problem}", code="request.bad-output", hint=hint)

"""`--output`: one specification, as buildx reads it, to an Output."""

import os

from chandlery.engine.request import Output, OutputKind
from chandlery.errors import RequestError

_KINDS = {
    "local": OutputKind.LOCAL, "tar": OutputKind.TAR, "oci": OutputKind.OCI, "docker": OutputKind.DOCKER, "image": OutputKind.IMAGE,
    "registry": OutputKind.IMAGE, "cacheonly": OutputKind.CACHE_ONLY,
}  # fmt: skip
_IMAGE_OPTIONS = frozenset(
    {"name", "push", "push-by-digest", "oci-mediatypes", "compression", "compression-level", "force-compression", "rewrite-timestamp", "unpack", "store",
     "registry.insecure", "name-canonical", "dangling-name-prefix"}
)  # fmt: skip
_FILE_OPTIONS = frozenset({"dest", "mode", "platform-split", "tar"})
_NEED_DESTINATION = (OutputKind.LOCAL, OutputKind.TAR, OutputKind.OCI)
COMPRESSIONS = ("uncompressed", "gzip", "zstd")


def parse_output(text: str) -> Output:
    """An Output from "DIRECTORY", "-" (a tar on standard output) or "type=...,key=value". Raises RequestError (request.bad-output)."""
    if text == "-":
        return Output(OutputKind.TAR, "-")
    if "=" not in text:
        return Output(OutputKind.LOCAL, os.path.abspath(text))
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, equals, item = part.partition("=")
        fields[key.strip().lower()] = item if equals else "true"
    name = fields.pop("type", "")
    if name not in _KINDS:
        raise _bad(text, f"unknown type {name!r}" if name else "there is no type=", f"the types are {', '.join(_KINDS)}")
    return _checked(text, name, fields)


def _checked(text: str, name: str, fields: dict[str, str]) -> Output:
    kind = _KINDS[name]
    unknown = sorted(key for key in fields if key not in _IMAGE_OPTIONS | _FILE_OPTIONS and not key.startswith("annotation"))
    if unknown:
        raise _bad(text, f"unknown option {unknown[0]!r}", f"options are {', '.join(sorted(_IMAGE_OPTIONS | _FILE_OPTIONS))}")
    if any(key.startswith("annotation") for key in fields) or fields.get("mode", "copy") != "copy":
        raise _bad(text, "annotations and mode=delete come with a later release", "leave them away")
    if fields.get("compression", "gzip") not in COMPRESSIONS:
        raise _bad(text, f"unknown compression {fields['compression']!r}", f"compressions are {', '.join(COMPRESSIONS)}")
    if not fields.get("compression-level", "0").isdigit():
        raise _bad(text, "compression-level is not a number", "write compression-level=3")
    if name == "registry":
        fields["push"] = "true"
    destination = fields.pop("dest", "")
    if kind in _NEED_DESTINATION and not destination:
        raise _bad(text, f"type={name} needs dest=", f"write type={name},dest=PATH")
    if kind is OutputKind.LOCAL and destination == "-":
        raise _bad(text, "a directory can't go to standard output", "use type=tar,dest=-")
    return Output(kind, destination if destination in ("", "-") else os.path.abspath(destination), tuple(sorted(fields.items())))


def _bad(text: str, problem: str, hint: str) -> RequestError:
    return RequestError(f"--output {text!r}: {problem}", code="request.bad-output", hint=hint)

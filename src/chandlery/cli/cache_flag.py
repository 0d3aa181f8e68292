"""`--cache-from` and `--cache-to`: specifications as buildx reads them, to CacheSpecs."""

import os

from chandlery.cli.output_flag import COMPRESSIONS, split_fields
from chandlery.engine.request import CacheKind, CacheSpec
from chandlery.errors import RequestError
from chandlery.oci import reference

_CODE = "request.bad-cache"
_COMMON = frozenset({"mode", "ignore-error", "image-manifest", "oci-mediatypes", "compression", "compression-level", "force-compression"})
_OPTIONS = {
    ("--cache-from", CacheKind.REGISTRY): frozenset({"ref", "registry.insecure"}),
    ("--cache-from", CacheKind.LOCAL): frozenset({"src", "digest", "tag"}),
    ("--cache-to", CacheKind.REGISTRY): _COMMON | {"ref", "registry.insecure"},
    ("--cache-to", CacheKind.LOCAL): _COMMON | {"dest", "tag"},
    ("--cache-to", CacheKind.INLINE): frozenset({"mode", "ignore-error"}),
}
_BOOLEANS = frozenset({"ignore-error", "image-manifest", "oci-mediatypes", "force-compression", "registry.insecure"})
_NEEDED = {("--cache-from", "local"): "src", ("--cache-to", "local"): "dest", ("--cache-from", "registry"): "ref", ("--cache-to", "registry"): "ref"}
# services that need their provider's own client and token
_ELSEWHERE = ("gha", "s3", "azblob")
_HIGHEST_LEVELS = {"uncompressed": 0, "gzip": 9, "zstd": 22}


def parse_cache(flag: str, text: str) -> tuple[CacheSpec, ...]:
    """The caches of one flag: "type=...,key=value", or names of images alone. Raises RequestError (request.bad-cache, request.unsupported-cache)."""
    parts = split_fields(text)
    if "=" not in text:
        return tuple(_checked(flag, text, "registry", {"ref": part}) for part in parts if part)
    fields: dict[str, str] = {}
    for part in parts:
        key, equals, item = part.partition("=")
        if not equals:
            raise _bad(flag, text, f"{part!r} is not KEY=VALUE", "write type=registry,ref=HOST/NAME:TAG")
        fields[key.strip().lower()] = item
    return (_checked(flag, text, fields.pop("type", ""), fields),)


def _checked(flag: str, text: str, kind: str, fields: dict[str, str]) -> CacheSpec:
    if kind in _ELSEWHERE:
        hint = "use type=registry,ref=HOST/NAME:TAG, type=local,dest=DIRECTORY on a disk that is kept, or --cache-remote"
        raise RequestError(f"{flag} type={kind} is not supported: it speaks to one provider's service", code="request.unsupported-cache", hint=hint)
    if kind == "inline" and flag == "--cache-from":
        raise _bad(flag, text, "an image's inline cache is read from its registry", "write type=registry,ref=HOST/NAME:TAG, or the image's name alone")
    if kind not in tuple(CacheKind):
        raise _bad(flag, text, f"unknown type {kind!r}" if kind else "there is no type=", "the types are registry, local and, for --cache-to, inline")
    found = CacheKind(kind)
    for key, item in fields.items():
        _check_option(flag, text, found, key, item)
    needed = _NEEDED.get((flag, kind), "")
    if needed and not fields.get(needed):
        raise _bad(flag, text, f"type={kind} needs {needed}=", f"write type={kind},{needed}=...")
    if needed == "ref":
        reference.parse(fields["ref"])
    elif needed:
        fields[needed] = os.path.abspath(fields[needed])
    _check_forms(flag, text, fields)
    return CacheSpec(found, tuple(sorted(fields.items())))


def _check_option(flag: str, text: str, kind: CacheKind, key: str, item: str) -> None:
    known = _OPTIONS[flag, kind]
    if key not in known:
        raise _bad(flag, text, f"type={kind} has no option {key!r}", f"options are {', '.join(sorted(known))}")
    if key in _BOOLEANS and item.lower() not in ("true", "1", "false", "0"):
        raise _bad(flag, text, f"{key} takes true or false, not {item!r}", f"write {key}=true")
    if key == "mode" and item not in ("min", "max"):
        raise _bad(flag, text, f"mode is min or max, not {item!r}", "min: the layers of the result; max: those of all steps")
    if key == "digest" and not item.startswith("sha256:"):
        raise _bad(flag, text, f"{item!r} is not a digest", "write digest=sha256:...")


def _check_forms(flag: str, text: str, fields: dict[str, str]) -> None:
    compression, level = fields.get("compression", "gzip"), fields.get("compression-level", "0")
    if compression not in COMPRESSIONS:
        raise _bad(flag, text, f"unknown compression {compression!r}", f"compressions are {', '.join(COMPRESSIONS)}")
    if not level.isdecimal() or int(level) > max(_HIGHEST_LEVELS[compression], 9):
        raise _bad(flag, text, f"{compression} has no level {level}", f"write a number up to {_HIGHEST_LEVELS[compression]}")
    if fields.get("oci-mediatypes", "true").lower() in ("false", "0"):
        if fields.get("image-manifest", "false").lower() in ("true", "1"):
            raise _bad(flag, text, "an image manifest needs OCI media types", "leave one of the two options away")
        if compression == "zstd":
            raise _bad(flag, text, "Docker's media types know no zstd", "leave one of the two options away")


def _bad(flag: str, text: str, problem: str, hint: str) -> RequestError:
    return RequestError(f"{flag} {text!r}: {problem}", code=_CODE, hint=hint)

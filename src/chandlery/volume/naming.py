"""Which volume somebody means: NAME, SCOPE:NAME, or the beginning of an id, as `chandlery volume ls` shows them. Pure."""

from chandlery.errors import RequestError
from chandlery.volume.key import VolumeKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.head import VolumeRow

_SHORTEST_ID = 4


def find(rows: "Iterable[VolumeRow]", text: str, *, scope: str = "", platform: str = "") -> VolumeKey:
    """The one volume that `text` names among `rows`. Raises RequestError volume.unknown, volume.ambiguous."""
    known = list(rows)
    keys = {row.key for row in known}
    named = {key for key in keys if text in (key.name, f"{key.scope}:{key.name}")}
    found = named or {row.key for row in known if len(text) >= _SHORTEST_ID and row.id.startswith(text)}
    chosen = {key for key in found if scope in ("", key.scope) and platform in ("", key.platform)}
    if len(chosen) == 1:
        return chosen.pop()
    if chosen:
        candidates = ", ".join(sorted(full_name(key, keys) for key in chosen))
        raise RequestError(f"{text!r} names {len(chosen)} cache volumes: {candidates}", code="volume.ambiguous", hint="give one of those, or more of its id")
    raise RequestError(
        f"there is no cache volume {text!r} here", code="volume.unknown", hint=_near(text, keys) or "`chandlery volume ls` shows those that there are"
    )


def full_name(key: VolumeKey, among: "Iterable[VolumeKey]") -> str:
    """SCOPE:NAME, with the platform where that alone tells it from others."""
    name = f"{key.scope}:{key.name}"
    is_one_of_many = any((other.scope, other.name) == (key.scope, key.name) and other.platform != key.platform for other in among)
    return f"{name} (--platform {key.platform})" if is_one_of_many else name


def path_in(key: VolumeKey, text: str) -> str:
    """A path in a volume from what somebody typed: relative to the volume, or as a step sees it where the volume is named for its place."""
    if key.name.startswith("/") and text.startswith(key.name.rstrip("/") + "/"):
        text = text.removeprefix(key.name.rstrip("/"))
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise RequestError(f"{text!r} is no path inside a cache volume", code="volume.bad-path", hint="`chandlery volume show VOLUME --files` lists the paths")
    return "/".join(parts)


def _near(text: str, keys: "Iterable[VolumeKey]") -> str:
    from difflib import get_close_matches

    names = {name for key in keys for name in (key.name, f"{key.scope}:{key.name}")}
    near = get_close_matches(text, sorted(names), 1, 0.6)
    return f"did you mean {near[0]}?" if near else ""

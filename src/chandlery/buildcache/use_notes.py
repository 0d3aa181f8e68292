"""What builds tell a registry of the steps they used, since registries note no use themselves: tags u1-<day>-<hash> beside the entries.

A note's manifest names the entries that one build found on a day; builds that found the same write the same tag, so there are as many a day as there are
different finds, not builds. Statistics: who loses one loses an order of pruning, and what another version wrote says nothing. Names are the beginnings of
entries' names: an accidental equal keeps something longer.
"""

import json
import time

from chandlery.oci import descriptor as descriptors
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.oci.manifest import Manifest
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DAY_S = 86400
SHORT = 20
_PREFIX, _ANNOTATION = "u1-", "chandlery.step.used"
_ARTIFACT_TYPE = "application/vnd.chandlery.used.v1+json"
_MOST_NAMES = 2000
_LONGEST_KEPT_DAYS = 400


@value
class UseNote:
    """`used_s` is the end of the day, seconds since the epoch; `place` says where the note is."""

    place: str
    used_s: float
    names: frozenset[str]


def is_note(tag: str) -> bool:
    return tag.startswith(_PREFIX) and _day(tag) is not None


def made(names: "Iterable[str]", config: Descriptor, now_s: float) -> tuple[str, Manifest]:
    """The tag and the manifest that tell of these entries."""
    day, told = int(now_s) // DAY_S, " ".join(sorted({name[:SHORT] for name in names})[:_MOST_NAMES])
    document = {
        "schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "artifactType": _ARTIFACT_TYPE, "config": descriptors.encode(config), "layers": [],
        "annotations": {_ANNOTATION: told, "chandlery.step.day": str(day)},
    }  # fmt: skip
    raw = json.dumps(document, separators=(",", ":")).encode()
    return f"{_PREFIX}{day}-{sha256(told.encode()).hex[:16]}", Manifest(types.OCI_MANIFEST, config, (), raw, (), _ARTIFACT_TYPE)


def read(place: str, tag: str, raw: bytes) -> UseNote:
    """A note of which nothing is believed but that somebody used something, and not later than now."""
    try:
        names = frozenset(str(json.loads(raw)["annotations"][_ANNOTATION]).split(" ")[:_MOST_NAMES])
    except (ValueError, KeyError, TypeError, RecursionError):
        names = frozenset()
    return UseNote(place, min((_day(tag) or 0) * DAY_S + DAY_S - 1.0, time.time()), names)


def last_uses(notes: "Iterable[UseNote]") -> dict[str, float]:
    """By the beginning of an entry's name."""
    found: dict[str, float] = {}
    for note in notes:
        for name in note.names:
            found[name] = max(note.used_s, found.get(name, 0.0))
    return found


def superfluous(notes: "Iterable[UseNote]", left: "Iterable[str]", *, now_s: float) -> list[UseNote]:
    """The notes that say nothing of the entries `left` which a later one doesn't say."""
    untold = {name[:SHORT] for name in left}
    gone = []
    for note in sorted(notes, key=lambda note: (-note.used_s, note.place)):
        if not untold & note.names or now_s - note.used_s > _LONGEST_KEPT_DAYS * DAY_S:
            gone.append(note)
        untold -= note.names
    return gone


def _day(tag: str) -> int | None:
    day = tag.removeprefix(_PREFIX).partition("-")[0]
    return int(day) if day.isascii() and day.isdigit() and len(day) < 7 else None

"""`chandlery cache ls`: the steps of shared caches."""

import json
import time

from chandlery.cli.amounts import age_text, size_text, table
from chandlery.cli.cache.places import add_place_arguments, inventories
from chandlery.cli.display.output_text import harmless
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.buildcache.inventory import Held, Inventory
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "List the steps of shared caches: whose they are, what they take, what they cost to make, and when they were last used."
_WIDTH = 60


def add_arguments(parser: "Parser") -> None:
    add_place_arguments(parser)
    parser.one("--format", help="table or json", default="table")


def run(arguments: "Arguments", settings: "Settings") -> int:
    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r} is unknown", code="request.bad-format", hint="use table or json")
    for place in inventories(arguments, settings):
        held = sorted(place.entries(), key=lambda item: -item.last_used_s)
        if arguments.format == "json":
            for item in held:
                print(json.dumps(_object(place, item)))
        else:
            _print(place, held)
    return 0


def _print(place: "Inventory", held: "list[Held]") -> None:
    from chandlery.buildcache.retention import total_bytes

    now, known = time.time(), [item for item in held if item.is_known]
    print(table(("KEY", "STEP", "SCOPE", "WRITER", "MADE", "SIZE", "COST", "LAST USED"), [_row(place, item, now) for item in known]))
    print(f"\n{place.name}: {len(known)} steps, {size_text(total_bytes(known))}")
    if len(held) > len(known):
        print(f"{len(held) - len(known)} entries of other versions, which are left alone")
    volumes = place.volume_bytes()
    if volumes:
        print(f"Cache volumes beside them: {size_text(volumes)}")


def _row(place: "Inventory", item: "Held", now: float) -> tuple[str, ...]:
    entry = item.entry
    assert entry is not None
    name = harmless(entry.name)
    used = age_text(now - item.last_used_s) if place.notes_use else "unknown"
    return (
        entry.key.hex[:12], name if len(name) <= _WIDTH else name[: _WIDTH - 1] + "…", harmless(entry.scope), harmless(entry.writer),
        age_text(now - entry.created_at_s), size_text(sum(size for _, size in item.blobs)), f"{entry.duration_s:.1f}s", used,
    )  # fmt: skip


def _object(place: "Inventory", item: "Held") -> "dict[str, object]":
    entry = item.entry
    document: dict[str, object] = {"remote": place.name, "place": item.place, "size": sum(size for _, size in item.blobs)}
    document["last_used"] = item.last_used_s if place.notes_use else None
    if entry is None:
        return document | {"key": None}
    return document | {
        "key": str(entry.key), "step": entry.name, "scope": entry.scope, "writer": entry.writer, "created_at": entry.created_at_s, "cost_s": entry.duration_s,
        "layers": [str(blob.digest) for blob in entry.blobs], "observed": [{"kind": seen.kind, "url": seen.url} for seen in entry.observed],
    }  # fmt: skip

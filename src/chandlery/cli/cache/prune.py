"""`chandlery cache prune`: make shared caches smaller. Safe beside running builds: what goes under one is a miss."""

import time

from chandlery.cli.amounts import size_text
from chandlery.cli.cache.places import add_place_arguments, inventories
from chandlery.cli.display.output_text import harmless
from chandlery.errors import RequestError
from chandlery.quantities import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.buildcache.inventory import Inventory
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Delete steps of shared caches: what was not used for long, and what is too much, the cheapest and longest unused first."
_DEFAULT_GRACE = "1d"


def add_arguments(parser: "Parser") -> None:
    add_place_arguments(parser)
    parser.one("--max-size", help="keep at most this much", metavar="BYTES")
    parser.one("--older-than", help="delete what was last used longer ago", metavar="TIME")
    parser.one("--grace", help="keep layers that no step names for so long: somebody may be about to", metavar="TIME", default=_DEFAULT_GRACE)
    parser.flag("--dry-run", help="say what would go, and keep it")
    parser.flag("--verbose", help="name everything that goes")


def run(arguments: "Arguments", settings: "Settings") -> int:
    if not arguments.max_size and not arguments.older_than:
        raise RequestError("cache prune needs a bound", code="request.usage", hint="give --max-size, --older-than or both")
    for place in inventories(arguments, settings):
        _prune(place, arguments)
    return 0


def _prune(place: "Inventory", arguments: "Arguments") -> None:
    """Raises what refuses: the first refusal ends it, since the others would be the same."""
    from chandlery.buildcache.retention import chosen, total_bytes

    held = place.entries()
    gone = chosen(
        held,
        now_s=time.time(),
        max_bytes=parse_size(arguments.max_size, "--max-size") if arguments.max_size else None,
        older_than_s=parse_duration(arguments.older_than, "--older-than") if arguments.older_than else None,
    )
    if not arguments.dry_run:
        gone = [item for item in gone if place.delete(item)]
    if arguments.verbose:
        for item in gone:
            if item.entry is not None:
                print(f"{item.entry.key.hex[:12]}\t{harmless(item.entry.name)}")
    taken = set(gone)
    left = [item for item in held if item not in taken]
    freed = place.sweep(left, grace_s=parse_duration(arguments.grace, "--grace"), dry_run=arguments.dry_run)
    what = "Would delete" if arguments.dry_run else "Deleted"
    kept = [item for item in left if item.is_known]
    swept = f" and {size_text(freed)} of layers" if freed else ""
    print(f"{place.name}: {what.lower()} {len(gone)} steps{swept}; {len(kept)} steps with {size_text(total_bytes(kept))} are left")

"""`chandlery prune`: free space in the store; never what a running build uses, nor what a named image needs."""

import os
import sys

from chandlery.cli.amounts import size_text
from chandlery.cli.open_shelf import add_store_arguments
from chandlery.cli.settings import apply
from chandlery.quantities import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Free space in the store: never what a running build uses, nor what a named image needs."


def add_arguments(parser: "Parser") -> None:
    parser.flag("-a", "--all", help="accepted for docker's sake: all that is unused goes anyway", dest="all")
    parser.flag("-f", "--force", help="don't ask", dest="force")
    parser.many("--filter", help="only what matches: type=, id=, until=, unused-for=", metavar="KEY=VALUE")
    parser.one("--max-used-space", help="keep at most this much", metavar="BYTES")
    parser.one("--min-free-space", help="go on until this much of the disk is free", metavar="BYTES")
    parser.one("--reserved-space", help="always keep this much", metavar="BYTES")
    parser.one("--keep-duration", help="keep what was used in the last so long (24h)", metavar="DURATION")
    parser.flag("--dry-run", help="say what would go, and keep it")
    parser.flag("--verbose", help="name everything that goes")
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.content.policy import PrunePolicy
    from chandlery.content.store import Store
    from chandlery.wiring import prune

    policy = PrunePolicy(
        max_used_bytes=parse_size(arguments.max_used_space, "--max-used-space") if arguments.max_used_space else None,
        min_free_bytes=parse_size(arguments.min_free_space, "--min-free-space") if arguments.min_free_space else None,
        reserved_bytes=parse_size(arguments.reserved_space, "--reserved-space") if arguments.reserved_space else 0,
        keep_duration_s=parse_duration(arguments.keep_duration, "--keep-duration") if arguments.keep_duration else 0.0,
        filters=tuple(arguments.filter),
    )
    if not (arguments.force or arguments.dry_run or _is_agreed()):
        return 1
    with Store.open(apply(arguments, settings).root) as store:
        report = prune(store, policy, dry_run=arguments.dry_run)
    if arguments.verbose:
        for row in report.removed:
            print(f"{row.kind}\t{row.id[:19]}\t{size_text(row.size_bytes)}\t{row.description}")
    print(f"{'Would free' if arguments.dry_run else 'Freed'}: {size_text(report.freed_bytes)} in {len(report.removed)} items")
    return 0


def _is_agreed() -> bool:
    """Ask on a terminal; a script says --force."""
    if not os.isatty(sys.stdin.fileno()):
        return True
    answer = input("This removes all cache that nothing uses. Go on? [y/N] ")
    return answer.strip().lower() in ("y", "yes")

"""`chandlery du`: what takes space in the store."""

import json
import time

from chandlery.cli.amounts import age_text, size_text, table
from chandlery.cli.open_shelf import add_store_arguments
from chandlery.cli.settings import apply
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Show what takes space in the store, and what could go."
_WIDTH = 60


def add_arguments(parser: "Parser") -> None:
    parser.many("--filter", help="only what matches: type=, id=, until=, unused-for=, inuse=, shared=", metavar="KEY=VALUE")
    parser.flag("--verbose", help="whole descriptions")
    parser.one("--format", help="table or json", default="table")
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r} is unknown", code="request.bad-format", hint="use table or json")
    from chandlery.content.filters import parse_filters
    from chandlery.content.store import Store
    from chandlery.content.usage import usage

    filters = parse_filters(tuple(arguments.filter))
    with Store.open(apply(arguments, settings).root) as store:
        rows = [row for row in usage(store) if filters.match(row)]
    if arguments.format == "json":
        for row in rows:
            print(json.dumps({"id": row.id, "type": row.kind, "size": row.size_bytes, "in_use": row.is_in_use, "shared": row.is_shared,
                              "created": row.created_at, "last_used": row.last_used_at, "description": row.description}))  # fmt: skip
        return 0
    now = time.time()
    rows.sort(key=lambda row: -row.size_bytes)
    cells = [
        (
            row.id[:19], str(row.kind), "no" if row.is_in_use else "yes", size_text(row.size_bytes), age_text(now - row.last_used_at),
            row.description if arguments.verbose or len(row.description) <= _WIDTH else row.description[: _WIDTH - 1] + "…",
        )
        for row in rows
    ]  # fmt: skip
    print(table(("ID", "TYPE", "RECLAIMABLE", "SIZE", "LAST USED", "DESCRIPTION"), cells))
    free = sum(row.size_bytes for row in rows if not row.is_in_use)
    print(f"\nReclaimable: {size_text(free)}\nTotal: {size_text(sum(row.size_bytes for row in rows))}")
    return 0

"""`chandlery volume trim`: take out of volumes what no build has read for a while."""

import json
import sys

from chandlery.cli.amounts import count_text, size_text
from chandlery.cli.options import OPTIONAL
from chandlery.cli.volume.open_volumes import NAMING, Opened, add_volume_arguments, open_volumes, shown
from chandlery.cli.volume.remote_side import Published, add_remote_arguments, is_shared, published, shared
from chandlery.errors import RequestError
from chandlery.quantities import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.trimming import TrimPlan, Use

SUMMARY = "Remove from cache volumes what no build has read for a while."


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", kind=OPTIONAL, help=NAMING)
    parser.flag("--all", help="every volume")
    parser.one("--unused-for", help="how long nobody must have read it: 30d", metavar="TIME")
    parser.many("--read-by", help="keep what builds of this scope read, too: of a branch that begins with the volume", metavar="SCOPE")
    parser.flag("--dry-run", help="say what would go, and keep it")
    parser.flag("--verbose", help="name every path that goes")
    add_remote_arguments(parser)
    add_volume_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    if bool(arguments.volume) == arguments.all:
        raise RequestError("trim takes a volume, or --all", code="request.usage", hint="chandlery volume trim VOLUME --unused-for 30d")
    if not arguments.unused_for:
        raise RequestError("how long must nobody have read what goes?", code="request.usage", hint="write --unused-for 30d")
    from chandlery.volume import reads

    day = reads.day_before(parse_duration(arguments.unused_for, "--unused-for"))
    status = 0
    with open_volumes(arguments, settings) as opened:
        keys = [opened.find(arguments.volume)] if arguments.volume else [row.key for row in opened.volumes.rows() if row.instance == 0]
        for key in keys:
            plan, outcome = _trim(opened, arguments, settings, key, day)
            _print(key, plan, arguments, outcome)
            status = status or (outcome.exit_status if outcome is not None else 0)
        if not arguments.dry_run:
            opened.volumes.free()
    return status


def _trim(opened: Opened, arguments: "Arguments", settings: "Settings", key: "VolumeKey", day: int) -> "tuple[TrimPlan, Published | None]":
    """What goes, and whether others know it; nobody is asked where nothing goes."""
    from chandlery.volume import trimming

    def choose(uses: "Mapping[str, Use]") -> "TrimPlan":
        return trimming.unused_since(uses, day)

    if arguments.read_by and is_shared(key, arguments, settings):
        with shared(opened, arguments, settings, key) as volume:
            for scope in volume.volumes.hear(key, tuple(arguments.read_by)):
                print(f"WARNING: {shown(scope)} has no cache volume {shown(key.name)} where it was looked for", file=sys.stderr)
    planned = opened.volumes.trim(key, choose, dry_run=True)
    if arguments.dry_run or not planned.files:
        return planned, None
    with published(opened, arguments, settings, key) as outcome:
        plan = opened.volumes.trim(key, choose)
    return plan, outcome


def _print(key: "VolumeKey", plan: "TrimPlan", arguments: "Arguments", outcome: "Published | None") -> None:
    why_not = outcome.why_not if outcome is not None else ""
    if arguments.format == "json":
        print(json.dumps({"name": key.name, "scope": key.scope, "platform": key.platform, "files": plan.files, "size": plan.size_bytes,
                          "paths": list(plan.paths), "dry_run": arguments.dry_run, "not_published": why_not}))  # fmt: skip
        return
    word = "would remove" if arguments.dry_run else "removed"
    print(f"{key.scope}:{key.name}: {word} {count_text(plan.files, 'file')}, {size_text(plan.size_bytes)}" + (outcome.text() if outcome is not None else ""))
    if arguments.verbose:
        print("".join(f"  {shown(path)}\n" for path in plan.paths), end="")

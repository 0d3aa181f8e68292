"""`chandlery volume trim`: take out of volumes what no build has read for a while."""

import json

from chandlery.cli.amounts import size_text
from chandlery.cli.options import OPTIONAL
from chandlery.cli.volume.open_volumes import NAMING, add_volume_arguments, open_volumes
from chandlery.errors import RequestError
from chandlery.quantities import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.trimming import TrimPlan

SUMMARY = "Remove from cache volumes what no build of this machine has read for a while."


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", kind=OPTIONAL, help=NAMING)
    parser.flag("--all", help="every volume")
    parser.one("--unused-for", help="how long nobody must have read it: 30d", metavar="TIME")
    parser.flag("--dry-run", help="say what would go, and keep it")
    parser.flag("--verbose", help="name every path that goes")
    add_volume_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    if bool(arguments.volume) == arguments.all:
        raise RequestError("trim takes a volume, or --all", code="request.usage", hint="chandlery volume trim VOLUME --unused-for 30d")
    if not arguments.unused_for:
        raise RequestError("how long must nobody have read what goes?", code="request.usage", hint="write --unused-for 30d")
    from chandlery.volume import reads, trimming

    day = reads.day_before(parse_duration(arguments.unused_for, "--unused-for"))
    with open_volumes(arguments, settings) as opened:
        keys = [opened.find(arguments.volume)] if arguments.volume else [row.key for row in opened.volumes.rows() if row.instance == 0]
        plans = [(key, opened.volumes.trim(key, lambda uses: trimming.unused_since(uses, day), dry_run=arguments.dry_run)) for key in keys]
        if not arguments.dry_run and any(plan.files for _, plan in plans):
            opened.volumes.free()
    for key, plan in plans:
        _print(key, plan, arguments)
    return 0


def _print(key: "VolumeKey", plan: "TrimPlan", arguments: "Arguments") -> None:
    if arguments.format == "json":
        print(json.dumps({"name": key.name, "scope": key.scope, "platform": key.platform, "files": plan.files, "size": plan.size_bytes,
                          "paths": list(plan.paths), "dry_run": arguments.dry_run}))  # fmt: skip
        return
    word = "would remove" if arguments.dry_run else "removed"
    print(f"{key.scope}:{key.name}: {word} {plan.files} files, {size_text(plan.size_bytes)}")
    if arguments.verbose:
        print("".join(f"  {path.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')}\n" for path in plan.paths), end="")

"""`chandlery volume pull`: what others added to a volume."""

from chandlery.cli.amounts import count_text, size_text
from chandlery.cli.volume.open_volumes import NAMING, add_volume_arguments, open_volumes
from chandlery.cli.volume.remote_side import add_remote_arguments, add_scope_argument, chosen_key, need_remote, shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Fetch what others added to a cache volume, as a build does before a step that uses it."


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", help=f"{NAMING}; or the name of one that is not here yet")
    add_remote_arguments(parser)
    add_scope_argument(parser)
    add_volume_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    need_remote(arguments, settings)
    with open_volumes(arguments, settings) as opened:
        key = chosen_key(opened, arguments, settings)
        with shared(opened, arguments, settings, key) as volume:
            report = volume.fetch()
    if arguments.format == "json":
        import json

        print(json.dumps({"name": key.name, "scope": key.scope, "platform": key.platform, "files": report.files_fetched, "size": report.bytes_fetched,
                          "sources": [{"remote": remote, "scope": scope} for remote, scope in report.sources]}))  # fmt: skip
    elif report.sources:
        print(f"{key.scope}:{key.name}: fetched {count_text(report.files_fetched, 'file')}, {size_text(report.bytes_fetched)}")
    else:
        print(f"{key.scope}:{key.name}: nobody has published anything of it")
    return 0

"""`chandlery volume fork`: start a scope's volume from another scope's."""

import json

from chandlery.cli.amounts import count_text, size_text
from chandlery.cli.volume.open_volumes import add_volume_arguments, open_volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Start a scope's cache volume from another scope's; the files are shared, not copied."


def add_arguments(parser: "Parser") -> None:
    parser.word("source", help="the scope that has the volume", metavar="FROM-SCOPE")
    parser.word("target", help="the scope that gets one", metavar="TO-SCOPE")
    parser.word("volume", help="its name")
    add_volume_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    with open_volumes(arguments, settings) as opened:
        key = opened.find(arguments.volume, scope=arguments.source)
        made = opened.volumes.fork(key, arguments.target)
    if arguments.format == "json":
        print(json.dumps({"name": key.name, "scope": arguments.target, "platform": key.platform, "files": made.files, "size": made.size_bytes,
                          "kept_back": made.kept_back}))  # fmt: skip
        return 0
    kept = f"; {count_text(made.kept_back, 'file')} that the project installed itself stayed with {key.scope}" if made.kept_back else ""
    print(f"{arguments.target}:{key.name} begins with {count_text(made.files, 'file')}, {size_text(made.size_bytes)} of {key.scope}'s{kept}")
    return 0

"""`chandlery rmi`: take names from images. What nothing else keeps goes with the next prune."""

from chandlery.cli.open_shelf import add_store_arguments, open_shelf
from chandlery.cli.options import SOME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Take names from images; layers that nothing else keeps go with the next prune."


def add_arguments(parser: "Parser") -> None:
    parser.word("image", kind=SOME, help="a name, or an id: then all its names")
    parser.flag("-f", "--force", help="accepted for docker's sake: nothing refuses", dest="force")
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    with open_shelf(arguments, settings) as shelf:
        for text in arguments.image:
            removed = shelf.remove(text)
            print(f"Untagged: {removed.familiar if removed.familiar != '<none>' else removed.config_digest}")
    return 0

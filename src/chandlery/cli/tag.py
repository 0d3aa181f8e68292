"""`chandlery tag`: one more name for an image."""

from chandlery.cli.open_shelf import add_store_arguments, open_shelf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Give an image one more name."


def add_arguments(parser: "Parser") -> None:
    parser.word("source", help="a name, an id, or the beginning of an id")
    parser.word("target", help="the new name: [REGISTRY/]REPOSITORY[:TAG]")
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    with open_shelf(arguments, settings) as shelf:
        shelf.tag(arguments.source, arguments.target)
    return 0

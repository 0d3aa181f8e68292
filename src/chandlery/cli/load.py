"""`chandlery load`: images from an archive or an OCI layout into the store."""

import os
import sys

from chandlery.cli.open_shelf import add_store_arguments, open_shelf
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Read images from an archive (docker save, OCI layout) or an OCI layout directory."


def add_arguments(parser: "Parser") -> None:
    parser.one("-i", "--input", help="the file or directory to read (default: standard input)", metavar="FILE", dest="input")
    parser.flag("-q", "--quiet", help="print nothing but errors", dest="quiet")
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    if not arguments.input and os.isatty(sys.stdin.fileno()):
        raise RequestError("there is nothing to load", code="request.terminal", hint="use -i FILE, or pipe an archive in")
    with open_shelf(arguments, settings) as shelf:
        for name in shelf.load(arguments.input or "/proc/self/fd/0"):
            if not arguments.quiet:
                print(f"Loaded image: {name}")
    return 0

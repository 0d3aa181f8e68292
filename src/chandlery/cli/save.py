"""`chandlery save`: images to one archive that docker, skopeo and buildah read."""

import os
import sys

from chandlery.cli.open_shelf import add_store_arguments, open_shelf
from chandlery.cli.options import SOME
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Write images to one archive."


def add_arguments(parser: "Parser") -> None:
    parser.word("image", kind=SOME, help="names or ids")
    parser.one("-o", "--output", help="the file to write (default: standard output)", metavar="FILE", dest="output")
    parser.one("--format", help="docker (what docker load reads; an OCI layout too) or oci", default="docker")
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.engine.destination import Destination

    if arguments.format not in ("docker", "oci"):
        raise RequestError(f"--format {arguments.format!r} is unknown", code="request.bad-format", hint="use docker or oci")
    if not arguments.output and os.isatty(sys.stdout.fileno()):
        raise RequestError("an archive isn't written to a terminal", code="request.terminal", hint="use -o FILE, or redirect standard output")
    with open_shelf(arguments, settings) as shelf, Destination(os.path.abspath(arguments.output) if arguments.output else "-") as out:
        shelf.save(arguments.image, out, is_oci=arguments.format == "oci")
    return 0

"""`chandlery volume push`: what cache volumes hold, as an image."""

from chandlery.cli.open_shelf import add_registry_arguments
from chandlery.cli.volume.as_image import add_image_arguments, push_image
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Push what cache volumes hold as an image, for COPY --from or as a base image. Where little has changed, little moves."


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", help="NAME, SCOPE:NAME or the beginning of an id, as `chandlery volume ls` shows them")
    add_image_arguments(parser)
    parser.one("--platform", help="the platform of the volume (default: this machine's)", metavar="OS/ARCH")
    add_registry_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    if not arguments.as_image:
        raise RequestError("where should the volume go?", code="request.usage", hint="write --as-image REGISTRY/NAME")
    return push_image(arguments, settings)

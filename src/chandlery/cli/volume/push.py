"""`chandlery volume push`: what a cache volume holds, for other machines; or what volumes hold, as an image."""

from chandlery.cli.amounts import count_text, size_text
from chandlery.cli.open_shelf import add_registry_arguments
from chandlery.cli.volume.as_image import add_image_arguments, push_image
from chandlery.cli.volume.open_volumes import NAMING, add_format, open_volumes
from chandlery.cli.volume.remote_side import add_scope_argument, need_remote, shared
from chandlery.errors import RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Share what a cache volume holds; or push what volumes hold as an image, for COPY --from or as a base image. Where little has changed, little moves."


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", help=NAMING)
    add_image_arguments(parser)
    add_scope_argument(parser)
    parser.one("--platform", help="the platform of the volume (default: this machine's)", metavar="OS/ARCH")
    add_format(parser)
    add_registry_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    return push_image(arguments, settings) if arguments.as_image else _share(arguments, settings)


def _share(arguments: "Arguments", settings: "Settings") -> int:
    need_remote(arguments, settings)
    with open_volumes(arguments, settings) as opened:
        key = opened.find(arguments.volume, scope=arguments.cache_scope)
        with shared(opened, arguments, settings, key) as volume:
            report = volume.publish()
    if report.not_published:
        hint = "check the address, the credentials and the network; then push again"
        raise RegistryError(f"{key.scope}:{key.name} was not published: {report.not_published}", code="volume.not-published", hint=hint)
    if arguments.format == "json":
        import json

        print(json.dumps({"name": key.name, "scope": key.scope, "platform": key.platform, "files": report.files_published, "size": report.bytes_published,
                          "left_out": list(report.left_out)}))  # fmt: skip
    elif report.files_published or report.bytes_published:
        print(f"{key.scope}:{key.name}: published {count_text(report.files_published, 'file')}, {size_text(report.bytes_published)}")
    else:
        print(f"{key.scope}:{key.name}: others have all of it")
    return 0

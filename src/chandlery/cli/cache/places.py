"""The cache commands' way in: which shared caches, and which of their scopes."""

from chandlery.cli.settings import apply
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.buildcache.inventory import Inventory
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings


def add_place_arguments(parser: "Parser") -> None:
    parser.many("--cache-remote", help="a shared cache, as for build (default: the one that builds use by their configuration)", metavar="ADDRESS")
    parser.one("--cache-scope", help="one scope alone (default: all)", metavar="SCOPE")
    parser.many("--insecure-registry", help="a registry to reach by plain HTTP or with an unknown certificate", metavar="HOST:PORT")


def inventories(arguments: "Arguments", settings: "Settings") -> "tuple[Inventory, ...]":
    """What is looked after. Raises RequestError."""
    from chandlery.wiring import connect
    from chandlery.wiring_caches import inventory

    named = arguments.cache_remote or [text for key, text in settings.defaults("build") if key == "cache-remote"]
    if not named:
        hint = "give --cache-remote, or set CHANDLERY_CACHE_REMOTE"
        raise RequestError("no shared cache is named", code="request.no-cache-remote", hint=hint)
    chosen = apply(arguments, settings)
    return tuple(inventory(text, arguments.cache_scope, lambda: connect(chosen)) for text in dict.fromkeys(named))

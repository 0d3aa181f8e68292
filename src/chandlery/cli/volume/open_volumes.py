"""The volume commands' way in: the store opened, its volumes, and the one that was named."""

import contextlib

from chandlery.cli.open_shelf import add_store_arguments
from chandlery.cli.settings import apply
from chandlery.cli.signals import as_cancelled
from chandlery.errors import RequestError
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.content.store import Store
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.volumes import Volumes

NAMING = "NAME, SCOPE:NAME or the beginning of an id, as `chandlery volume ls` shows them"


@value
class Opened:
    """`volumes` are those of `store`; `platform` is what --platform said."""

    store: "Store"
    volumes: "Volumes"
    platform: str = ""

    def find(self, text: str, *, scope: str = "") -> "VolumeKey":
        """The volume that somebody named. Raises RequestError volume.unknown, volume.ambiguous."""
        from chandlery.volume.naming import find

        return find(self.volumes.rows(), text, scope=scope, platform=self.platform)


def shown(text: str) -> str:
    """A name that a step or a stranger chose, in one line: bytes that aren't UTF-8 and control characters are escaped."""
    plain = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return plain if plain.isprintable() else "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in plain)


def add_volume_arguments(parser: "Parser") -> None:
    parser.one("--platform", help="the platform of the volume, where several have one of that name", metavar="OS/ARCH")
    add_format(parser)
    add_store_arguments(parser)


def add_format(parser: "Parser") -> None:
    parser.one("--format", help="table or json", default="table")


@contextlib.contextmanager
def open_volumes(arguments: "Arguments", settings: "Settings") -> "Iterator[Opened]":
    """Raises RequestError request.bad-format, and what opening a store raises."""
    if getattr(arguments, "format", "table") not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r} is unknown", code="request.bad-format", hint="use table or json")
    from chandlery.content.store import Store
    from chandlery.volume.volumes import Volumes

    with as_cancelled(), Store.open(apply(arguments, settings).root) as store:
        yield Opened(store, Volumes(store), getattr(arguments, "platform", ""))

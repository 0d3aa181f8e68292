"""The image commands' way in: the store opened, a session begun, a shelf to work with; everything given back at the end."""

import contextlib

from chandlery.cli.settings import apply
from chandlery.cli.signals import as_cancelled
from chandlery.errors import Lost, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.engine.shelf import ImageShelf


def add_store_arguments(parser: "Parser") -> None:
    parser.one("--root", help="the store's directory", metavar="DIR")


def add_registry_arguments(parser: "Parser") -> None:
    add_store_arguments(parser)
    parser.many("--insecure-registry", help="a registry to reach by plain HTTP or with an unknown certificate", metavar="HOST:PORT")


@contextlib.contextmanager
def open_shelf(arguments: "Arguments", settings: "Settings") -> "Iterator[ImageShelf]":
    """A shelf for one command; what it warns of goes to standard error."""
    import sys

    from chandlery.content.store import Store
    from chandlery.engine.shelf import ImageShelf
    from chandlery.events import Event, Warned
    from chandlery.wiring import tools

    def warn(event: Event) -> None:
        if isinstance(event, Warned):
            print(f"WARNING: {event.message}", file=sys.stderr)

    chosen = apply(arguments, settings)
    with as_cancelled(), Store.open(chosen.root) as store, store.begin() as session:
        try:
            yield ImageShelf(tools(chosen, store, session, warn))
        except Lost as lost:
            raise StoreError(f"a part of the image is gone from the store: {lost.message}", code=lost.code, hint="build or pull the image again") from lost

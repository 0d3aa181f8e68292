"""`chandlery verify`: check every record and blob of the store."""

from chandlery.cli.open_shelf import add_store_arguments
from chandlery.cli.settings import apply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Check every record, snapshot, blob and image of the store; exit status 1 if something is wrong."


def add_arguments(parser: "Parser") -> None:
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.content.store import Store
    from chandlery.content.verify import verify

    with Store.open(apply(arguments, settings).root) as store:
        problems = verify(store)
    print("\n".join(problems) if problems else "The store is in order.")
    return 1 if problems else 0

"""`chandlery pull`: an image from a registry into the store."""

from chandlery.cli.amounts import size_text
from chandlery.cli.open_shelf import add_registry_arguments, open_shelf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.source.layer_fetch import LayerProgress

SUMMARY = "Fetch an image from a registry; what is here already isn't moved."


def add_arguments(parser: "Parser") -> None:
    parser.word("image", help="[REGISTRY/]REPOSITORY[:TAG|@DIGEST]")
    parser.flag("-q", "--quiet", help="print the image's name alone", dest="quiet")
    add_registry_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.cli.display.transfers import TransferProgress

    shown = TransferProgress("pulling")

    def report(progress: "LayerProgress") -> None:
        shown.update(progress.layer, progress.done_bytes, progress.total_bytes)

    with open_shelf(arguments, settings) as shelf:
        try:
            receipt = shelf.pull(arguments.image, on_progress=report)
        finally:
            shown.end()
    name = receipt.image.reference.familiar
    print(name if arguments.quiet else f"{name}\nDigest: {receipt.image.manifest_digest}\nMoved: {size_text(receipt.bytes_moved)}")
    return 0

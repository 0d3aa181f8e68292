"""`chandlery push`: an image of the store to the registry that its name says."""

from chandlery.cli.amounts import size_text
from chandlery.cli.open_shelf import add_registry_arguments, open_shelf
from chandlery.cli.output_flag import COMPRESSIONS
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "Send an image to a registry; blobs that are there already aren't moved."


def add_arguments(parser: "Parser") -> None:
    parser.word("image", help="[REGISTRY/]REPOSITORY[:TAG]")
    parser.one("--compression", help="of layers that were never packed: gzip, zstd or uncompressed", default="gzip")
    parser.flag("-q", "--quiet", help="print the digest alone", dest="quiet")
    add_registry_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.cli.display.transfers import TransferProgress

    if arguments.compression not in COMPRESSIONS:
        hint = f"use one of {', '.join(COMPRESSIONS)}"
        raise RequestError(f"--compression {arguments.compression!r} is unknown", code="request.bad-compression", hint=hint)
    shown = TransferProgress("pushing")
    with open_shelf(arguments, settings) as shelf:
        try:
            name, receipt = shelf.push(arguments.image, compression=arguments.compression, on_progress=lambda done, total: shown.update("image", done, total))
        finally:
            shown.end()
    blobs = f"{receipt.blobs_sent} blobs sent, {receipt.blobs_mounted} mounted, {receipt.blobs_skipped} there"
    print(receipt.digest if arguments.quiet else f"{name.familiar}\nDigest: {receipt.digest}\nMoved: {size_text(receipt.bytes_moved)} ({blobs})")
    return 0

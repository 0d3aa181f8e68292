"""`chandlery images`: the images of the store."""

import json
import time

from chandlery.cli.amounts import age_text, size_text, table
from chandlery.cli.open_shelf import add_store_arguments, open_shelf
from chandlery.cli.options import OPTIONAL
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings

SUMMARY = "List the images of the store."


def add_arguments(parser: "Parser") -> None:
    parser.word("repository", kind=OPTIONAL, help="only names that begin so")
    parser.flag("-q", "--quiet", help="print ids alone", dest="quiet")
    parser.flag("--no-trunc", help="print whole digests")
    parser.one("--format", help="table or json", default="table")
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    if arguments.format not in ("table", "json"):
        raise RequestError(f"--format {arguments.format!r} is unknown", code="request.bad-format", hint="use table or json")
    with open_shelf(arguments, settings) as shelf:
        found = [image for image in shelf.all() if image.familiar.startswith(arguments.repository)]
    ids = [str(image.config_digest) if arguments.no_trunc else image.config_digest.hex[:12] for image in found]
    if arguments.quiet:
        for image_id in dict.fromkeys(ids):
            print(image_id)
    elif arguments.format == "json":
        for image in found:
            print(json.dumps({"name": image.familiar, "id": image.config_digest, "digest": image.manifest_digest, "size": image.size_bytes}))
    else:
        now = time.time()
        rows = [
            (*_name_and_tag(image.familiar), image_id, age_text(now - image.created_at_s), size_text(image.size_bytes))
            for image, image_id in zip(found, ids, strict=True)
        ]
        print(table(("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"), rows))
    return 0


def _name_and_tag(familiar: str) -> tuple[str, str]:
    if familiar == "<none>":
        return familiar, familiar
    name = familiar.partition("@")[0]
    head, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    return head + slash + repository, tag or "<none>"

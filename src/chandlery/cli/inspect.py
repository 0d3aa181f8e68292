"""`chandlery inspect`: an image's configuration, layers and digests as JSON."""

import json

from chandlery.cli.open_shelf import add_store_arguments, open_shelf
from chandlery.cli.options import SOME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.engine.shelf import ImageShelf, StoredImage

SUMMARY = "Show images' configurations, layers and digests as JSON."


def add_arguments(parser: "Parser") -> None:
    parser.word("image", kind=SOME, help="a name, an id, or the beginning of an id")
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    with open_shelf(arguments, settings) as shelf:
        documents = [_document(shelf, shelf.find(text)) for text in arguments.image]
    print(json.dumps(documents, indent=2, ensure_ascii=False))
    return 0


def _document(shelf: "ImageShelf", image: "StoredImage") -> dict[str, object]:
    """With docker's names where docker has them."""
    config = shelf.config(image)
    names = [other.familiar for other in shelf.all() if other.config_digest == image.config_digest and other.familiar != "<none>"]
    digest = f"{_repository(image)}@{image.manifest_digest}" if image.manifest_digest and not image.name.startswith("sha256:") else ""
    return {
        "Id": image.config_digest,
        "RepoTags": names,
        "RepoDigests": [digest] if digest else [],
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": image.size_bytes,
        "Config": config.runtime,
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "History": [
            {"created": entry.created, "created_by": entry.created_by, "comment": entry.comment, "empty_layer": entry.is_empty_layer}
            for entry in config.history
        ],
    }


def _repository(image: "StoredImage") -> str:
    """The name without tag and digest."""
    from chandlery.oci import reference
    from chandlery.values import replace

    return replace(reference.parse(image.name), tag="", digest=None).familiar

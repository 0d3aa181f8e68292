"""`chandlery volume ls`: the cache volumes of the store."""

import json
import time

from chandlery.cli.amounts import age_text, size_text, table
from chandlery.cli.open_shelf import add_store_arguments
from chandlery.cli.options import OPTIONAL
from chandlery.cli.volume.open_volumes import add_format, open_volumes, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.volume.history import StepUse
    from chandlery.volume.inventory import VolumeListing

SUMMARY = "List the cache volumes of the store."
_SHOWN_STEPS = 10


def add_arguments(parser: "Parser") -> None:
    parser.word("name", kind=OPTIONAL, help="only volumes whose name or scope begins so")
    parser.flag("-q", "--quiet", help="print ids alone", dest="quiet")
    add_format(parser)
    add_store_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.volume import history
    from chandlery.volume.inventory import count_files

    with open_volumes(arguments, settings) as opened:
        found = [volume for volume in opened.volumes.list() if arguments.name in ("", volume.id) or _begins(volume, arguments.name)]
        files = {volume.id: count_files(volume) for volume in found if not arguments.quiet}
        uses = {volume.id: history.load(volume.directory)[-_SHOWN_STEPS:] for volume in found}
    if arguments.quiet:
        print("\n".join(volume.id for volume in found), end="\n" if found else "")
    elif arguments.format == "json":
        for volume in found:
            print(json.dumps(as_object(volume, files[volume.id], uses[volume.id])))
    else:
        now = time.time()
        rows = [_row(volume, files[volume.id], uses[volume.id], now) for volume in found]
        print(table(("ID", "NAME", "SCOPE", "PLATFORM", "SIZE", "FILES", "GENERATION", "WRITERS", "LAST USED", "SERVED"), rows))
    return 0


def as_object(volume: "VolumeListing", files: int, uses: "tuple[StepUse, ...]") -> "dict[str, object]":
    from chandlery.volume.history import share_served

    share = share_served(uses)
    return {
        "id": volume.id, "name": volume.key.name, "scope": volume.key.scope, "platform": volume.key.platform, "kind": kind_of(volume),
        "size": volume.size_bytes, "files": files, "generation": volume.generation, "writers": volume.writers, "last_used": volume.last_used_at,
        "served": None if share is None else round(share, 4),
    }  # fmt: skip


def kind_of(volume: "VolumeListing") -> str:
    """`shared`, a concurrent step's `private` one, or a `plain` directory."""
    return "shared" if volume.instance == 0 else "plain" if volume.instance < 0 else "private"


def served_text(uses: "tuple[StepUse, ...]") -> str:
    """ "98% in 10 steps": how much of the bytes that steps wanted was there."""
    from chandlery.volume.history import share_served

    share = share_served(uses)
    return "-" if share is None else f"{int(share * 100)}% in {len(uses)} {'step' if len(uses) == 1 else 'steps'}"


def _row(volume: "VolumeListing", files: int, uses: "tuple[StepUse, ...]", now: float) -> tuple[str, ...]:
    is_plain = volume.instance < 0
    name = shown(volume.key.name) + (f" ({kind_of(volume)})" if volume.instance else "")
    return (
        volume.id, name, shown(volume.key.scope), volume.key.platform, "-" if is_plain else size_text(volume.size_bytes), "-" if is_plain else str(files),
        str(volume.generation), str(volume.writers), age_text(now - volume.last_used_at), served_text(uses),
    )  # fmt: skip


def _begins(volume: "VolumeListing", text: str) -> bool:
    return any(name.startswith(text) for name in (volume.key.name, volume.key.scope, f"{volume.key.scope}:{volume.key.name}"))

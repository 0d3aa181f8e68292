"""`chandlery volume rm`: a whole volume on this machine, or a path in it everywhere."""

import json

from chandlery.cli.amounts import count_text, size_text
from chandlery.cli.options import OPTIONAL
from chandlery.cli.volume.open_volumes import NAMING, Opened, add_volume_arguments, open_volumes, shown
from chandlery.cli.volume.remote_side import add_remote_arguments, published
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.removing import Removed

SUMMARY = "Remove a cache volume here; or, with a path, that file or directory from the volume wherever it is shared."


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", help=NAMING)
    parser.word("path", kind=OPTIONAL, help="what to take out of the volume, for everybody", default=None)
    add_remote_arguments(parser)
    add_volume_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.volume.naming import path_in

    with open_volumes(arguments, settings) as opened:
        key = opened.find(arguments.volume)
        name = {"name": key.name, "scope": key.scope, "platform": key.platform}
        if arguments.path is None:
            freed = opened.volumes.remove(key)
            opened.volumes.free()
            text = f"Removed {key.scope}:{key.name} from this machine, {size_text(freed)}; what was shared of it stays shared"
            print(json.dumps(name | {"size": freed}) if arguments.format == "json" else text)
            return 0
        path = path_in(key, arguments.path)
        removed: list[Removed] = []
        with published(opened, arguments, settings, key) as outcome:
            # what others have of it is known now, so that it goes there as well
            _check(opened, key, path)
            removed.append(opened.volumes.remove_path(key, path))
        opened.volumes.free()
    text = f"Removed {shown(path)} from {key.scope}:{key.name}, {count_text(removed[0].files, 'file')}, {size_text(removed[0].size_bytes)}{outcome.text()}"
    document = name | {"path": path, "files": removed[0].files, "size": removed[0].size_bytes, "not_published": outcome.why_not}
    print(json.dumps(document) if arguments.format == "json" else text)
    return outcome.exit_status


def _check(opened: Opened, key: "VolumeKey", path: str) -> None:
    paths = {entry.path for entry in opened.volumes.show(key)}
    if path not in paths:
        from difflib import get_close_matches

        near = get_close_matches(path, sorted(paths), 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else f"`chandlery volume show {key.scope}:{key.name} --files` lists what it holds"
        raise RequestError(f"cache volume {key.name} has no {path}", code="volume.no-path", hint=hint)

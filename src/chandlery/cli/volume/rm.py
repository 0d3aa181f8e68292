"""`chandlery volume rm`: a whole volume on this machine, or a path in it everywhere."""

from chandlery.cli.amounts import size_text
from chandlery.cli.options import OPTIONAL
from chandlery.cli.volume.open_volumes import NAMING, Opened, add_volume_arguments, open_volumes
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.volume.key import VolumeKey

SUMMARY = "Remove a cache volume here; or, with a path, that file or directory from the volume wherever it is shared."


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", help=NAMING)
    parser.word("path", kind=OPTIONAL, help="what to take out of the volume, for everybody", default=None)
    add_volume_arguments(parser, has_format=False)


def run(arguments: "Arguments", settings: "Settings") -> int:
    with open_volumes(arguments, settings) as opened:
        key = opened.find(arguments.volume)
        if arguments.path is None:
            freed = opened.volumes.remove(key)
            opened.volumes.free()
            print(f"Removed {key.scope}:{key.name} from this machine, {size_text(freed)}; what was shared of it stays shared")
            return 0
        return _remove_path(opened, key, arguments.path)


def _remove_path(opened: Opened, key: "VolumeKey", text: str) -> int:
    from chandlery.volume.naming import path_in

    path = path_in(key, text)
    paths = {entry.path for entry in opened.volumes.show(key)}
    if path not in paths:
        from difflib import get_close_matches

        near = get_close_matches(path, sorted(paths), 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else f"`chandlery volume show {key.scope}:{key.name} --files` lists what it holds"
        raise RequestError(f"cache volume {key.name} has no {path}", code="volume.no-path", hint=hint)
    removed = opened.volumes.remove_path(key, path)
    opened.volumes.free()
    print(f"Removed {path} from {key.scope}:{key.name}, {removed.files} files, {size_text(removed.size_bytes)}")
    return 0

"""`chandlery volume verify`: read every file of volumes, and repair what is damaged."""

import json
import sys

from chandlery.cli.amounts import count_text
from chandlery.cli.options import OPTIONAL
from chandlery.cli.volume.open_volumes import NAMING, Opened, add_volume_arguments, open_volumes, shown
from chandlery.cli.volume.remote_side import add_remote_arguments, is_shared, shared
from chandlery.errors import RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.volume.inventory import Damage
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.repairing import Repaired

SUMMARY = "Read every file of the cache volumes, and fetch again or drop what is damaged; exit status 1 if damage remains."
_SHOWN = 20


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", kind=OPTIONAL, help=NAMING + "; all of them if none is given")
    parser.flag("--dry-run", help="report damage, and leave it")
    add_remote_arguments(parser)
    add_volume_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    remains = False
    with open_volumes(arguments, settings) as opened:
        keys = [opened.find(arguments.volume)] if arguments.volume else list(dict.fromkeys(row.key for row in opened.volumes.rows() if row.instance >= 0))
        for key in keys:
            damage = opened.volumes.verify(key)
            repaired = _repair(opened, damage) if damage and not arguments.dry_run else None
            fetched = _fetch_again(opened, arguments, settings, key, repaired.dropped) if repaired is not None else frozenset()
            left = opened.volumes.verify(key) if repaired is not None else damage
            _print(key, damage, repaired, fetched, left, is_json=arguments.format == "json")
            remains = remains or bool(left)
        if not arguments.dry_run:
            opened.volumes.free()
    return 1 if remains else 0


def _repair(opened: Opened, damage: "tuple[Damage, ...]") -> "Repaired":
    from chandlery.volume.repairing import Repaired

    volumes = dict.fromkeys(item.volume_id for item in damage)
    done = [opened.volumes.repair(volume, tuple(item for item in damage if item.volume_id == volume)) for volume in volumes]
    return Repaired(frozenset().union(*[one.dropped for one in done]), sum(one.layers for one in done))


def _fetch_again(opened: Opened, arguments: "Arguments", settings: "Settings", key: "VolumeKey", dropped: frozenset[str]) -> frozenset[str]:
    """Those of the dropped paths that others had."""
    if is_shared(key, arguments, settings):
        with shared(opened, arguments, settings, key) as volume:
            try:
                volume.fetch()
            except RegistryError as failure:
                print(f"WARNING: {failure.message}", file=sys.stderr)
    return dropped & {entry.path for entry in opened.volumes.show(key)}


def _print(
    key: "VolumeKey", damage: "tuple[Damage, ...]", repaired: "Repaired | None", fetched: frozenset[str], left: "tuple[Damage, ...]", *, is_json: bool
) -> None:
    dropped = (repaired.dropped if repaired is not None else frozenset()) - fetched
    layers = repaired.layers if repaired is not None else 0
    if is_json:
        print(json.dumps({"name": key.name, "scope": key.scope, "platform": key.platform, "damaged": sorted({item.path for item in damage if item.path}),
                          "fetched": sorted(fetched), "dropped": sorted(dropped), "lost_layers": layers, "remaining": len(left)}))  # fmt: skip
        return
    name = f"{shown(key.scope)}:{shown(key.name)}"
    if not damage:
        print(f"{name}: in order")
        return
    whole = sum(1 for item in damage if item.is_whole_layer)
    paths = sorted({item.path for item in damage if not item.is_whole_layer})
    print(f"{name}: {count_text(len(paths), 'damaged file')}" + (f", {count_text(whole, 'lost layer')}" if whole else ""))
    print("".join(f"  {shown(path)}\n" for path in paths[:_SHOWN]) + (f"  and {len(paths) - _SHOWN} more\n" if len(paths) > _SHOWN else ""), end="")
    if repaired is not None:
        print(f"  {len(fetched)} fetched again, {len(dropped)} dropped, {count_text(layers, 'layer')} dropped; {len(left)} damaged")

"""`chandlery volume show`: what a volume holds, who wrote it, what it was good for, and what a trim would remove."""

import json
import time

from chandlery.cli.amounts import age_text, count_text, size_text, table
from chandlery.cli.volume.open_volumes import NAMING, Opened, add_volume_arguments, open_volumes, shown
from chandlery.quantities import parse_duration
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.volume.history import StepUse
    from chandlery.volume.inventory import VolumeListing
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.tree import Entry
    from chandlery.volume.trimming import TrimPlan

SUMMARY = "Show what a cache volume holds, who wrote it, what it was good for, and what a trim would remove."
_SHOWN_STEPS = 10


@value
class Writer:
    """What one store's steps wrote of what the volume shows; `machine` is what that calls itself, "" if it didn't say. `scope` is the scope that alone may
    see it, "" where everybody may who reads the volume."""

    slot: str
    machine: str
    scope: str
    files: int
    size_bytes: int
    is_here: bool


def add_arguments(parser: "Parser") -> None:
    parser.word("volume", help=NAMING)
    parser.flag("--files", help="list the files instead")
    parser.one("--unused-for", help="what a trim would remove that no build read for so long", metavar="TIME", default="30d")
    add_volume_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.scope import machine_name
    from chandlery.volume import history, notes

    unused_s = parse_duration(arguments.unused_for, "--unused-for")
    with open_volumes(arguments, settings) as opened:
        key = opened.find(arguments.volume)
        # before the entries are held as well
        plan = _would_trim(opened, key, unused_s) if not arguments.files else None
        entries = [entry for entry in opened.volumes.show(key) if entry.path]
        if plan is None:
            return _print_files(entries, is_json=arguments.format == "json")
        instances = [volume for volume in opened.volumes.list() if volume.key == key]
        shared = next((volume for volume in instances if volume.instance == 0), instances[0])
        uses = history.load(shared.directory)
        machines = notes.load(shared.directory).machines
        writers = _writers(opened, key, entries, machines, machine_name(settings.environment))
    if arguments.format == "json":
        print(json.dumps(_as_object(shared, entries, writers, uses, plan)))
    else:
        _print(shared, instances, entries, writers, uses)
        what = f"{count_text(plan.files, 'file')}, {size_text(plan.size_bytes)}" if plan.files else "nothing"
        print(f"A trim would remove what no build read for {arguments.unused_for}: {what}")
    return 0


def _would_trim(opened: Opened, key: "VolumeKey", unused_s: float) -> "TrimPlan":
    from chandlery.volume import reads, trimming

    if not any(row.key == key and row.instance == 0 for row in opened.volumes.rows()):
        return trimming.TrimPlan()
    return opened.volumes.trim(key, lambda uses: trimming.unused_since(uses, reads.day_before(unused_s)), dry_run=True)


def _writers(opened: Opened, key: "VolumeKey", entries: "list[Entry]", machines: "Mapping[str, str]", here: str) -> list[Writer]:
    """Who wrote what, most bytes first; `machines` are the names of others, `here` is this one's."""
    own = next((row.head.slot for row in opened.volumes.rows() if row.key == key and row.instance == 0), "")
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    for entry in entries:
        if not entry.is_directory:
            by = entry.version.slot, entry.only_in
            files, size = totals.get(by, (0, 0))
            totals[by] = files + 1, size + entry.size
    made = [Writer(slot, here if slot == own else machines.get(slot, ""), scope, files, size, slot == own) for (slot, scope), (files, size) in totals.items()]
    return sorted(made, key=lambda writer: (-writer.size_bytes, writer.slot, writer.scope))


def _since(slot: str) -> str:
    """The first day of the week in which a store drew the name under which it writes ("w2026-48-..."), "" if it doesn't tell."""
    try:
        return time.strftime("%Y-%m-%d", time.strptime(f"{slot[:8]} 1", "w%G-%V %u"))
    except ValueError:
        return ""


def _as_object(volume: "VolumeListing", entries: "list[Entry]", writers: list[Writer], uses: "tuple[StepUse, ...]", plan: "TrimPlan") -> "dict[str, object]":
    from chandlery.cli.volume.ls import as_object
    from chandlery.volume import history

    files = [entry for entry in entries if not entry.is_directory]
    return as_object(volume, len(files), uses[-_SHOWN_STEPS:]) | {
        "size": sum(entry.size for entry in files),
        "layers": len(volume.directories),
        "by": [
            {"machine": writer.machine, "slot": writer.slot, "since": _since(writer.slot), "only_in": writer.scope, "files": writer.files,
             "size": writer.size_bytes, "here": writer.is_here}
            for writer in writers
        ],
        "history": [history.as_object(use) for use in uses],
        "trim": {"paths": list(plan.paths), "files": plan.files, "size": plan.size_bytes},
    }  # fmt: skip


def _print_files(entries: "list[Entry]", *, is_json: bool) -> int:
    for entry in entries:
        if is_json:
            print(json.dumps({"path": entry.path, "type": str(entry.type), "size": entry.size, "mode": f"{entry.mode:o}", "sha256": entry.sha256,
                              "by": entry.version.slot}))  # fmt: skip
        elif not entry.is_directory:
            print(f"{size_text(entry.size):>7}  {entry.version.slot}  {shown(entry.path)}")
    return 0


def _print(volume: "VolumeListing", instances: "list[VolumeListing]", entries: "list[Entry]", writers: list[Writer], uses: "tuple[StepUse, ...]") -> None:
    from chandlery.cli.volume.ls import kind_of

    now = time.time()
    files = [entry for entry in entries if not entry.is_directory]
    print(f"{shown(volume.key.name)}, scope {shown(volume.key.scope)}, {volume.key.platform}, id {volume.id}")
    holds = f"{size_text(sum(entry.size for entry in files))} in {count_text(len(files), 'file')}"
    print(f"{holds}, generation {volume.generation}, {count_text(len(volume.directories), 'layer')}")
    print(f"Last used {age_text(now - volume.last_used_at)}")
    for other in instances:
        if other is not volume:
            print(f"Also a {kind_of(other)} instance, id {other.id}, {size_text(other.size_bytes)}, last used {age_text(now - other.last_used_at)}")
    if writers:
        rows = [
            ((shown(writer.machine) or "-") + (" (this machine)" if writer.is_here else ""), writer.slot, _since(writer.slot) or "-",
             shown(writer.scope) or "all", str(writer.files), size_text(writer.size_bytes))
            for writer in writers
        ]  # fmt: skip
        print("\n" + table(("WRITTEN BY", "AS", "SINCE WEEK OF", "FOR SCOPE", "FILES", "SIZE"), rows))
    if uses:
        print("\n" + table(("STEP", "WHEN", "SERVED", "FETCHED", "ADDED"), [_use_row(use, now) for use in uses[-_SHOWN_STEPS:]]))
    print()


def _use_row(use: "StepUse", now: float) -> tuple[str, ...]:
    # a RUN's flags are long, and alike in all steps that use the volume
    name = " ".join(word for word in use.step.partition("] ")[2].split() or use.step.split() if not word.startswith("--mount="))
    name = name if len(name) <= 50 else name[:49] + "…"
    served = "?" if use.served_files < 0 else _amount(use.served_files, use.served_bytes)
    ended = "" if use.succeeded else " (failed)"
    return shown(name) + ended, age_text(now - use.at_s), served, _amount(use.fetched_files, use.fetched_bytes), _amount(use.added_files, use.added_bytes)


def _amount(files: int, size_bytes: int) -> str:
    return f"{count_text(files, 'file')}, {size_text(size_bytes)}" if files else "-"

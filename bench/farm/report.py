"""What a run says: one row for each schedule, kind of commit and strategy, and the bars beside them."""

import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bench.farm import strategies
from bench.farm.history import Kind
from bench.farm.options import Options
from bench.farm.run import FLOOR, Built
from bench.farm.statistics import Estimate, estimate

OURS = "ours"
CHANGES = {
    Kind.EDIT: "one Java line edited",
    Kind.DEPENDENCY: "a dependency added",
    Kind.SNAPSHOT: "a SNAPSHOT moved",
    Kind.MODULE: "a module added",
    Kind.FIRST: "first build of all",
}
_MACHINES = {"fresh": "Fresh machine", "random": "One of three machines", "aged": "Fresh machine, aged volume"}
_HEAD = ("way", "builds", "rebuild, s", "above the floor, s", "all published, above the floor, s", "MB moved", "MB stored", "right")
_NOTE = """Medians, with 95 % bootstrap intervals where there are several builds. The floor is the same command in the base image's root file system with a hot
local repository and no builder; "above the floor" is the median of the differences of each build from its own commit's floor, the push of the new layer at link
speed included. "MB moved" is what crossed the machine's link, both ways, until all was published; "MB stored" what the registry and the share held in the end
beside the base image. Where a way's cache is written by a command of its own (dependencies image, cache image, fat base), that runs after each build that
changed a pom.xml, and counts as published then. `make bench-farm FARM_DOCS=1` writes this."""


class Row(NamedTuple):
    schedule: str
    change: Kind
    strategy: str
    builds: int
    right: int
    rebuild_s: Estimate | None
    above_s: Estimate | None
    """Seconds above the floor, paired by commit."""
    cached_above_s: Estimate | None
    """The same, of machines that had all the commit needs."""
    published_above_s: Estimate | None
    moved_bytes: float
    stored_bytes: int


class Floors:
    """For each build of a commit what it would have taken without a builder: the same command, and the new layer at link speed."""

    def __init__(self, built: list[Built], link_bytes_s: float) -> None:
        self._seconds = {_commit(item): item.returned_s for item in built if item.strategy == FLOOR}
        layers: dict[tuple[str, str, int], list[int]] = {}
        for item in built:
            if item.layer_bytes:
                layers.setdefault(_commit(item), []).append(item.layer_bytes)
        self._push = {key: min(sizes) / link_bytes_s for key, sizes in layers.items()}

    def has(self, item: Built) -> bool:
        return _commit(item) in self._seconds

    def of(self, item: Built) -> float:
        return self._seconds[_commit(item)] + self._push.get(_commit(item), 0.0)


def _commit(item: Built) -> tuple[str, str, int]:
    return (item.run, item.schedule, item.commit)


def rows(built: list[Built], options: Options) -> list[Row]:
    floors = Floors(built, options.link_bytes_s)
    groups: dict[tuple[str, Kind, str], list[Built]] = {}
    # a run that was stopped may have come to no floor of its last commit
    for item in filter(floors.has, built):
        groups.setdefault((item.schedule, Kind(item.kind), item.strategy), []).append(item)
    schedules, changes = list(_MACHINES), list(CHANGES)
    ordered = sorted(groups, key=lambda key: (schedules.index(key[0]), changes.index(key[1]), _order(key[2])))
    return [_row(*key, groups[key], floors) for key in ordered]


def _row(schedule: str, change: Kind, strategy: str, mine: list[Built], floors: Floors) -> Row:
    done = [item for item in mine if not item.failure]

    def above(item: Built) -> float:
        return item.returned_s - floors.of(item)

    return Row(
        schedule,
        change,
        strategy,
        len(mine),
        sum(item.is_right for item in mine),
        _estimate(done, lambda item: item.returned_s),
        _estimate(done, above),
        _estimate([item for item in done if item.has_cache], above),
        _estimate(done, lambda item: item.published_s - floors.of(item)),
        _median(item.bytes_moved for item in done),
        max((item.bytes_stored for item in done), default=0),
    )


def sections(found: list[Row]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """A title and a table's lines for each schedule and kind of commit."""
    grouped: dict[str, list[tuple[str, ...]]] = {}
    for row in found:
        grouped.setdefault(f"{_MACHINES[row.schedule]}: {CHANGES[row.change]}", [_HEAD]).append(_cells(row))
    return list(grouped.items())


def _cells(row: Row) -> tuple[str, ...]:
    title = strategies.titles().get(row.strategy, row.strategy)
    if row.strategy == FLOOR:
        return (title, str(row.builds), _text(row.rebuild_s), "", "", "", "", "")
    times = [_text(item) for item in (row.rebuild_s, row.above_s, row.published_above_s)]
    return (title, str(row.builds), *times, f"{row.moved_bytes / 1e6:.0f}", f"{row.stored_bytes / 1e6:.0f}", f"{row.right}/{row.builds}")


def bars(found: list[Row], link_bytes_s: float) -> list[str]:
    """Ours against the best way of a peer's in the same run, a sentence each; and of machines that have the cache, the paired difference from the floor."""
    said = []
    for row in found:
        if row.strategy != OURS or row.above_s is None:
            continue
        where = f"{_MACHINES[row.schedule]}, {CHANGES[row.change]}"
        if row.cached_above_s is not None and row.change is Kind.EDIT:
            pairs = f"{row.cached_above_s.count} pair{'s' * (row.cached_above_s.count > 1)}"
            said.append(f"{where}, all it needs there already: ours {row.cached_above_s.text(2)} s above the floor with the push, {pairs} (bar 0.5 s)")
        if row.schedule == "random" or row.change not in (Kind.EDIT, Kind.DEPENDENCY):
            continue
        link = f"its {row.moved_bytes / 1e6:.0f} MB take {row.moved_bytes / link_bytes_s:.1f} s at link speed"
        said.append(f"{where}: ours {row.above_s.median:.1f} s above the floor, {link}" + _against_peers(row, found))
    return said


def _against_peers(ours: Row, found: list[Row]) -> str:
    same = [row for row in found if (row.schedule, row.change) == (ours.schedule, ours.change) and strategies.is_peer(row.strategy)]
    peers = [(row.above_s.median, row.strategy) for row in same if row.above_s is not None]
    if not peers or ours.above_s is None:
        return ""
    seconds, name = min(peers)
    bar = {Kind.EDIT: " (bar 0.35x)", Kind.DEPENDENCY: " (bar 0.4x)"}[ours.change] if ours.schedule == "fresh" else ""
    return f"; the best peer ({name}) {seconds:.1f} s: {ours.above_s.median / seconds:.2f}x{bar}"


def show(built: list[Built], options: Options) -> None:
    found = rows(built, options)
    for title, lines in sections(found):
        widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
        print(f"\n{title}")
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print()
    for text in (*bars(found, options.link_bytes_s), *options.left_out):
        print(text)


def markdown(built: list[Built], options: Options, machine: str) -> str:
    found = rows(built, options)
    commits = len({_commit(item) for item in built})
    text = ["# The farm, measured", "", f"Link {options.link}, round trip {options.rtt_s * 1000:g} ms, {commits} commits. {machine}", ""]
    text += ["![Seconds above the floor and bytes moved](plot.png)", "", *[f"* {said}" for said in (*bars(found, options.link_bytes_s), *options.left_out)], ""]
    for title, lines in sections(found):
        text += [f"## {title}", "", f"| {' | '.join(lines[0])} |", "|" + "---|" * len(_HEAD), *[f"| {' | '.join(line)} |" for line in lines[1:]], ""]
    return "\n".join([*text, _NOTE]) + "\n"


def _order(strategy: str) -> tuple[int, int]:
    known = strategies.known()
    return ((FLOOR, OURS).index(strategy) if strategy in (FLOOR, OURS) else 2, known.index(strategy) if strategy in known else 0)


def _estimate(items: list[Built], value: Callable[[Built], float]) -> Estimate | None:
    return estimate([value(item) for item in items]) if items else None


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.median(found) if found else 0.0


def _text(found: Estimate | None) -> str:
    return found.text() if found else "-"

"""What a run says: one row for each schedule and strategy, and the bars beside them."""

import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bench.farm.history import Kind
from bench.farm.options import Options
from bench.farm.run import FLOOR, Built
from bench.farm.statistics import Estimate, estimate

OURS = "ours"
_HEAD = ("schedule", "strategy", "first build, s", "edit, s", "edit, above floor", "dependency, above floor", "all published, above floor",
         "MB moved: edit", "dependency", "MB stored", "right")  # fmt: skip
_EDITS = (Kind.EDIT, Kind.SNAPSHOT, Kind.MODULE)
"""What changes a line and no dependency (a new module has none of its own)."""


_NOTE = """Medians, with 95 % bootstrap intervals where there are several builds. The floor is the same command in the base image's root file system with a hot
local repository and no builder; in the columns "above the floor" it includes the push of the new layer at link speed.
`make bench-farm FARM_DOCS=1` writes this."""


class Row(NamedTuple):
    schedule: str
    strategy: str
    first_s: float
    edit_s: Estimate | None
    edit_above_s: Estimate | None
    dependency_above_s: Estimate | None
    published_above_s: Estimate | None
    edit_bytes: float
    dependency_bytes: float
    stored_bytes: int
    right: int
    builds: int


class Floors:
    """For each build of a commit what it would have taken without a builder: the same command, and the new layer at link speed."""

    def __init__(self, built: list[Built], link_bytes_s: float) -> None:
        self._seconds = {(item.schedule, item.commit): item.returned_s for item in built if item.strategy == FLOOR}
        layers: dict[tuple[str, int], list[int]] = {}
        for item in built:
            if item.layer_bytes:
                layers.setdefault((item.schedule, item.commit), []).append(item.layer_bytes)
        self._push = {key: min(sizes) / link_bytes_s for key, sizes in layers.items()}

    def of(self, item: Built) -> float:
        key = (item.schedule, item.commit)
        return self._seconds[key] + self._push.get(key, 0.0)


def rows(built: list[Built], options: Options) -> list[Row]:
    floors = Floors(built, options.link_bytes_s)
    found = []
    for schedule in dict.fromkeys(item.schedule for item in built):
        for strategy in dict.fromkeys(sorted((item.strategy for item in built if item.schedule == schedule), key=_order)):
            mine = [item for item in built if (item.schedule, item.strategy) == (schedule, strategy)]
            found.append(_row(schedule, strategy, mine, floors))
    return found


def _row(schedule: str, strategy: str, mine: list[Built], floors: Floors) -> Row:
    done = [item for item in mine if not item.failure]
    edits = [item for item in done if item.kind in _EDITS and item.commit]
    additions = [item for item in done if item.kind == Kind.DEPENDENCY]
    return Row(
        schedule,
        strategy,
        next((item.returned_s for item in done if item.commit == 0), 0.0),
        _estimate(edits, lambda item: item.returned_s),
        _estimate(edits, lambda item: item.returned_s - floors.of(item)),
        _estimate(additions, lambda item: item.returned_s - floors.of(item)),
        _estimate([*edits, *additions], lambda item: item.published_s - floors.of(item)),
        _median(item.bytes_moved for item in edits),
        _median(item.bytes_moved for item in additions),
        max((item.bytes_stored for item in done), default=0),
        sum(item.is_right for item in mine),
        len(mine),
    )


def table(found: list[Row]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [_HEAD]
    for row in found:
        times = [_text(item) for item in (row.edit_s, row.edit_above_s, row.dependency_above_s, row.published_above_s)]
        if row.strategy == FLOOR:
            times[1:] = ["", "", ""]
            lines.append((row.schedule, row.strategy, f"{row.first_s:.1f}", *times, "", "", "", ""))
            continue
        sizes = [f"{size / 1e6:.0f}" for size in (row.edit_bytes, row.dependency_bytes, row.stored_bytes)]
        lines.append((row.schedule, row.strategy, f"{row.first_s:.1f}", *times, *sizes, f"{row.right}/{row.builds}"))
    return lines


def bars(found: list[Row]) -> list[str]:
    """Ours against the best way of a peer's in the same run, a sentence each."""
    said = []
    for schedule in dict.fromkeys(row.schedule for row in found):
        here = {row.strategy: row for row in found if row.schedule == schedule}
        ours = here.get(OURS)
        peers = [row for name, row in here.items() if name.startswith("bk-")]
        if ours is None:
            continue
        for what, pick, bar in (("edit", _edit_above, 0.35), ("dependency", _dependency_above, 0.4)):
            mine = pick(ours)
            theirs = min(((pick(row), row.strategy) for row in peers if pick(row) is not None), default=(None, ""), key=lambda pair: pair[0] or 0.0)
            if mine is None:
                continue
            text = f"{schedule}, {what}: ours {mine:.1f} s above the floor"
            if theirs[0]:
                text += f", the best peer ({theirs[1]}) {theirs[0]:.1f} s: {mine / theirs[0]:.2f}x" + (f" (bar {bar}x)" if schedule == "fresh" else "")
            said.append(text)
    return said


def show(built: list[Built], options: Options) -> None:
    found = rows(built, options)
    lines = table(found)
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print()
    for text in bars(found):
        print(text)


def markdown(built: list[Built], options: Options, machine: str) -> str:
    found = rows(built, options)
    lines = table(found)
    text = ["# The farm, measured", "", f"Link {options.link}, round trip {options.rtt_s * 1000:g} ms, {options.commits} commits. {machine}", ""]
    text += [f"| {' | '.join(lines[0])} |", "|" + "---|" * len(_HEAD), *[f"| {' | '.join(line)} |" for line in lines[1:]], ""]
    text += [*[f"* {said}" for said in bars(found)], "", _NOTE]
    return "\n".join(text) + "\n"


def _edit_above(row: Row) -> float | None:
    return row.edit_above_s.median if row.edit_above_s else None


def _dependency_above(row: Row) -> float | None:
    return row.dependency_above_s.median if row.dependency_above_s else None


def _order(strategy: str) -> tuple[int, str]:
    return ((FLOOR, OURS).index(strategy) if strategy in (FLOOR, OURS) else 2, strategy)


def _estimate(items: list[Built], value: Callable[[Built], float]) -> Estimate | None:
    return estimate([value(item) for item in items]) if items else None


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.median(found) if found else 0.0


def _text(found: Estimate | None) -> str:
    return found.text() if found else "-"

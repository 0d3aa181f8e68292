"""The plot: for each schedule and kind of commit, a bar for each strategy: seconds above the floor with their interval, and bytes moved.

The only module that needs matplotlib.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from bench.farm import strategies
from bench.farm.history import Kind
from bench.farm.report import CHANGES, OURS, Row
from bench.farm.run import FLOOR

_MACHINES = {"fresh": "fresh machine", "random": "one of three machines", "aged": "fresh machine, aged volume"}
_OURS_COLOUR, _PEER_COLOUR, _OTHER_COLOUR = "#e07b39", "#2a6f97", "#9db4c0"
_INCHES_A_BAR = 0.27


def draw(rows: list[Row], directory: Path) -> list[Path]:
    groups: dict[tuple[str, Kind], list[Row]] = {}
    for row in rows:
        if row.strategy != FLOOR and row.above_s is not None and row.change in (Kind.EDIT, Kind.DEPENDENCY):
            groups.setdefault((row.schedule, row.change), []).append(row)
    if not groups:
        return []
    heights = [len(group) * _INCHES_A_BAR + 0.9 for group in groups.values()]
    figure, panels = pyplot.subplots(
        len(groups), 2, figsize=(13, sum(heights) + 0.6), squeeze=False, gridspec_kw={"height_ratios": heights, "width_ratios": [3, 2]}, layout="constrained"
    )
    for (left, right), ((schedule, change), group) in zip(panels, groups.items(), strict=True):
        ordered = sorted(group, key=_seconds, reverse=True)
        _seconds_panel(left, ordered, f"{_MACHINES[schedule]}, {CHANGES[change]}")
        _bytes_panel(right, ordered)
    figure.suptitle("Left: seconds above the floor (median, 95 % interval). Right: MB over the machine's link (median).", fontsize=10)
    directory.mkdir(parents=True, exist_ok=True)
    made = [directory / "plot.png", directory / "plot.svg"]
    for path in made:
        figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return made


def _seconds_panel(panel: Axes, ordered: list[Row], title: str) -> None:
    estimates = [row.above_s for row in ordered if row.above_s is not None]
    values = [found.median for found in estimates]
    spread = [[max(0.0, found.median - found.low) for found in estimates], [max(0.0, found.high - found.median) for found in estimates]]
    panel.barh(range(len(ordered)), values, color=_colours(ordered), xerr=spread, error_kw={"capsize": 2.5, "elinewidth": 1})
    for place, found in enumerate(estimates):
        panel.annotate(f"{found.median:.1f}", (max(found.high, 0.0), place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
    panel.set_yticks(range(len(ordered)), [strategies.titles().get(row.strategy, row.strategy) for row in ordered], fontsize=8)
    for label, row in zip(panel.get_yticklabels(), ordered, strict=True):
        label.set_fontweight("bold" if row.strategy == OURS else "normal")
    panel.set_title(title, fontsize=10, loc="left")
    panel.axvline(0, color="black", linewidth=0.8)
    panel.margins(x=0.1)


def _bytes_panel(panel: Axes, ordered: list[Row]) -> None:
    values = [row.moved_bytes / 1e6 for row in ordered]
    panel.barh(range(len(ordered)), values, color=_colours(ordered))
    for place, value in enumerate(values):
        panel.annotate(f"{value:.0f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    panel.set_yticks([])
    panel.set_title("MB moved", fontsize=10, loc="left")
    panel.margins(x=0.12)


def _colours(ordered: list[Row]) -> list[str]:
    return [_OURS_COLOUR if row.strategy == OURS else _PEER_COLOUR if strategies.is_peer(row.strategy) else _OTHER_COLOUR for row in ordered]


def _seconds(row: Row) -> float:
    return row.above_s.median if row.above_s else 0.0

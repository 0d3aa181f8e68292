"""The plot: seconds above the floor, one bar for each strategy, with its interval; a panel for each schedule. The only module that needs matplotlib."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from bench.farm.report import OURS, Row
from bench.farm.run import FLOOR
from bench.farm.statistics import Estimate

_COLOURS = {"edit": "#2a6f97", "dependency": "#e09f3e"}


def draw(rows: list[Row], directory: Path) -> list[Path]:
    schedules = list(dict.fromkeys(row.schedule for row in rows))
    figure, panels = pyplot.subplots(1, len(schedules), figsize=(1 + 5 * len(schedules), 5), sharey=True, squeeze=False)
    for panel, schedule in zip(panels[0], schedules, strict=True):
        here = [row for row in rows if row.schedule == schedule and row.strategy != FLOOR]
        for offset, (what, colour) in enumerate(_COLOURS.items()):
            for place, row in enumerate(here):
                found: Estimate | None = row.edit_above_s if what == "edit" else row.dependency_above_s
                if found is not None:
                    spread = [[max(0.0, found.median - found.low)], [max(0.0, found.high - found.median)]]
                    panel.bar(place + (offset - 0.5) * 0.4, found.median, 0.38, color=colour, yerr=spread, capsize=3, label=what if place == 0 else None)
        panel.set_title(f"{schedule} machine")
        panel.set_xticks(range(len(here)), [row.strategy for row in here], rotation=30, ha="right")
        for label in panel.get_xticklabels():
            label.set_fontweight("bold" if label.get_text() == OURS else "normal")
    panels[0][0].set_ylabel("seconds above the floor, median and 95 % interval")
    panels[0][0].legend()
    figure.tight_layout()
    directory.mkdir(parents=True, exist_ok=True)
    made = [directory / "plot.png", directory / "plot.svg"]
    for path in made:
        figure.savefig(path, dpi=120)
    return made

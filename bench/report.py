"""The table on the terminal and the document beside it."""

import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.row import Samples

RESULTS = Path(__file__).parent / "results"


def show(rows: Sequence[Samples], sides: Sequence[str]) -> None:
    """Medians with their spread (least..most), ratios pair by pair, and the peak memory of our builds."""
    others = [name for name in sides if name != "chandlery"]
    head = ["work", "chandlery", *others, *[f"ratio to {name}" for name in others], "bar", "", "peak MB"]
    table = [head, *[_cells(samples, others) for samples in rows]]
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for samples in rows:
        for side, failure in samples.failures.items():
            print(f"\n{samples.row.name}: {side} was not measured: {failure}")


def save(rows: Sequence[Samples]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "kernel": os.uname().release, "machine": os.uname().machine}
    document = {"made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine, "rows": [samples.document() for samples in rows]}
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def _cells(samples: Samples, others: Sequence[str]) -> list[str]:
    unit = samples.row.unit
    ours = samples.by_side.get("chandlery", [])
    peak = f"{max(item.peak_bytes for item in ours) / 1e6:.0f}" if ours else "-"
    cells = [samples.row.title, spread(samples.values("chandlery"), unit)]
    cells += [spread(samples.values(name), unit) for name in others]
    cells += [spread(samples.ratios(name), "x") for name in others]
    return [*cells, str(samples.row.bar) + ("" if samples.row.bar.of else f" {unit}"), samples.verdict, peak]


def spread(numbers: Sequence[float], unit: str) -> str:
    if not numbers:
        return "-"
    digits = 1 if unit == "ms" else 3 if max(numbers) < 1 else 2
    median, least, most = statistics.median(numbers), min(numbers), max(numbers)
    return f"{median:.{digits}f}{unit if unit == 'x' else ' ' + unit} ({least:.{digits}f}..{most:.{digits}f})"

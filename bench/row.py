"""What a row of the table is: one piece of work, the bar it has to meet, and how its sides are measured against each other."""

import itertools
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from bench.registry import Registry
from bench.sides import Side

_numbers = itertools.count(1)


def unique() -> str:
    """A word that no build of this run has seen."""
    return f"n{next(_numbers):04d}"


class Bar(NamedTuple):
    """`ratio` of our median pair to `of`'s, or, where there is no `of`, an absolute `value` in the row's unit."""

    limit: float
    of: str = ""

    def __str__(self) -> str:
        return f"<= {self.limit:g}x {self.of}" if self.of else f"<= {self.limit:g}"


class Measured(NamedTuple):
    value: float
    """In the row's unit."""
    peak_bytes: int


class Row:
    """One kind of work. `prepare` brings a side to the state that the work starts from, untimed, once; `measure` does the work once."""

    name = ""
    title = ""
    unit = "s"
    bar = Bar(1.0, "docker")
    runs = 7
    only_ours = False

    def __init__(self, registry: Registry, base: str, scratch: Path) -> None:
        self.registry = registry
        self.base = base
        self.scratch = scratch

    def prepare(self, side: Side) -> None:
        """Nothing, unless the row needs it."""

    def measure(self, side: Side, run: int) -> Measured:
        raise NotImplementedError


class Samples:
    """The measurements of one row, by side, in the order of the pairs."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.by_side: dict[str, list[Measured]] = {}
        self.failures: dict[str, str] = {}

    def values(self, side: str) -> list[float]:
        return [sample.value for sample in self.by_side.get(side, ())]

    def ratios(self, other: str) -> list[float]:
        """Ours over theirs, pair by pair."""
        return [ours / theirs for ours, theirs in zip(self.values("chandlery"), self.values(other), strict=False) if theirs > 0]

    @property
    def verdict(self) -> str:
        """ "met", "missed", or "" where a side is missing."""
        bar = self.row.bar
        of = bar.of if bar.of in self.by_side else "docker"
        numbers = self.ratios(of) if bar.of else self.values("chandlery")
        if not numbers:
            return ""
        return "met" if statistics.median(numbers) <= bar.limit else "missed"

    def document(self) -> dict[str, Any]:
        sides = {
            name: {"values": self.values(name), "median": statistics.median(self.values(name)), "peak_bytes": max(item.peak_bytes for item in samples)}
            for name, samples in self.by_side.items()
            if samples
        }
        ratios = {name: self.ratios(name) for name in self.by_side if name != "chandlery"}
        row = self.row
        return {"row": row.name, "title": row.title, "unit": row.unit, "bar": str(row.bar), "verdict": self.verdict, "sides": sides, "ratios": ratios} | (
            {"failures": self.failures} if self.failures else {}
        )

"""What a run of the farm does, from the environment; `make bench-farm` alone ends within twenty minutes on two cores."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from bench.farm import history, strategies

AGED = "aged"
"""A fresh machine, too, and a cache volume that many others have written to; for cache volumes only."""
SCHEDULES = ("fresh", "random", AGED)
_DEFAULT_SCHEDULES = ("fresh", "random")
_DEFAULT_STRATEGIES = ("ours", "bk-mount", "bk-split", "bk-copy")


class Options(NamedTuple):
    commits: int
    kinds: dict[history.Kind, int]
    """How many commits of which kind, instead of a history's first `commits`."""
    strategies: tuple[str, ...]
    schedules: tuple[str, ...]
    link: str
    """As tc spells a rate."""
    rtt_s: float
    seed: int
    keep: bool
    """Put the table and the plot into docs/bench-farm."""
    results: tuple[str, ...]
    """Show these recorded results together, and measure nothing."""
    left_out: tuple[str, ...] = ()
    """Which ways took no part though they were asked for, and why: a sentence each."""

    @property
    def link_bytes_s(self) -> float:
        units = {"gbit": 1e9, "mbit": 1e6, "kbit": 1e3}
        unit = next((unit for unit in units if self.link.endswith(unit)), "")
        return float(self.link.removesuffix(unit)) * units.get(unit, 1) / 8


def read(environment: Mapping[str, str] = os.environ) -> Options:
    """Raises SystemExit with a sentence where a value isn't one."""
    get = environment.get
    chosen = Options(
        commits=int(get("FARM_COMMITS", "7")),
        kinds=_kinds(get("FARM_KINDS", "")),
        strategies=_names("FARM_STRATEGIES", get("FARM_STRATEGIES", ""), _DEFAULT_STRATEGIES, strategies.known()),
        schedules=_names("FARM_SCHEDULES", get("FARM_SCHEDULES", ""), _DEFAULT_SCHEDULES, SCHEDULES),
        link=get("FARM_LINK", "1gbit"),
        rtt_s=float(get("FARM_RTT", "10")) / 1000,
        seed=int(get("FARM_SEED", "1")),
        keep=get("FARM_DOCS", "") not in ("", "0"),
        results=tuple(get("FARM_RESULTS", "").split()),
    )
    if not 2 <= chosen.commits <= 10 * history.COMMITS:
        raise SystemExit("FARM_COMMITS: at least 2, since the first one is the first build of all")
    return chosen


def _kinds(given: str) -> dict[history.Kind, int]:
    """Of "edit:7,dependency:3"."""
    known = [kind for kind in history.Kind if kind is not history.Kind.FIRST]
    chosen: dict[history.Kind, int] = {}
    for item in filter(None, given.split(",")):
        name, _, count = item.partition(":")
        if name not in known or not (count or "1").isdigit():
            raise SystemExit(f"FARM_KINDS: {item} is not one of {', '.join(known)}, with a number behind a colon")
        kind = history.Kind(name)
        chosen[kind] = int(count or 1)
        if chosen[kind] > history.AT_MOST.get(kind, chosen[kind]):
            raise SystemExit(f"FARM_KINDS: the project has {history.AT_MOST[kind]} of {name} at most")
    return chosen


def _names(option: str, given: str, default: tuple[str, ...], known: "tuple[str, ...] | list[str]") -> tuple[str, ...]:
    if given == "all":
        return tuple(known)
    chosen = tuple(name for name in given.split(",") if name) or default
    for name in chosen:
        if name not in known:
            raise SystemExit(f"{option}: {name} is none of {', '.join(known)}, all")
    return chosen

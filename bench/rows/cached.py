"""Rebuilds in which nothing changed: what every save of a file in an editor pays before its own work begins."""

from pathlib import Path

from bench import fixtures
from bench.row import Bar, Measured, Row
from bench.sides import Side


class CachedRebuild(Row):
    name = "cached-small"
    title = "fully cached rebuild, 50-file context, local base"
    bar = Bar(0.75, "docker")
    runs = 15

    def prepare(self, side: Side) -> None:
        self.measure(side, 0)

    def measure(self, side: Side, run: int) -> Measured:
        built = side.build(self.context(run), f"FROM {self.origin(side)}\nWORKDIR /app\nCOPY . .\nRUN true\nENV READY=1\n", network="host")
        return Measured(built.seconds, built.peak_bytes)

    def context(self, run: int) -> Path:
        return fixtures.small_context()

    def origin(self, side: Side) -> str:
        return side.base


class CachedFromRegistry(CachedRebuild):
    name = "cached-registry"
    title = "the same, FROM a registry tag"
    bar = Bar(1.0, "docker")

    def origin(self, side: Side) -> str:
        return self.base


class CachedLarge(CachedRebuild):
    name = "cached-large"
    title = "fully cached rebuild, 20,000-file/200 MB context"
    bar = Bar(0.75, "docker")
    runs = 7

    def context(self, run: int) -> Path:
        return fixtures.large_context()


class CachedFreshClone(CachedLarge):
    """Each run sees a copy that this side has never seen; two sides may share one, since neither tells the other."""

    name = "cached-clone"
    title = "the same from a fresh clone (new inodes and mtimes)"
    bar = Bar(1.0, "docker")
    runs = 3

    def prepare(self, side: Side) -> None:
        super().measure(side, -1)

    def context(self, run: int) -> Path:
        return fixtures.large_context() if run < 0 else fixtures.large_copy(f"clone-{run}")

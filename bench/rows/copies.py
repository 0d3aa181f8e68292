"""COPY of many files, and pushing and pulling the layer it makes."""

from pathlib import Path

from bench import fixtures
from bench.row import Bar, Measured, Row, unique
from bench.sides import Side


class CopyCold(Row):
    """A context never seen, at a destination never used: everything is read, copied and made into a layer."""

    name = "copy-cold"
    title = "COPY of the 20,000 files, cold"
    bar = Bar(0.6, "docker")
    runs = 3

    def measure(self, side: Side, run: int) -> Measured:
        built = side.build(fixtures.large_copy(f"cold-{run}"), f"FROM {side.base}\nCOPY . /{unique()}\n")
        return Measured(built.seconds, built.peak_bytes)


class CopyChanged(Row):
    name = "copy-changed"
    title = "the same after one file changed"
    bar = Bar(0.35, "docker")
    runs = 3

    def prepare(self, side: Side) -> None:
        self._build(side)

    def measure(self, side: Side, run: int) -> Measured:
        changed = sorted((self._context(side) / "package-100").glob("*/*"))[0]
        changed.write_text(f"changed {unique()}\n")
        return self._build(side)

    def _build(self, side: Side) -> Measured:
        built = side.build(self._context(side), f"FROM {side.base}\nCOPY . /data\n")
        return Measured(built.seconds, built.peak_bytes)

    def _context(self, side: Side) -> Path:
        return fixtures.large_copy(f"edited-{side.name}")


class Push(Row):
    """The layer is new each time, so that it must be compressed and sent; building it is not part of the time."""

    name = "push"
    title = "push of it to a local registry, compression included"
    bar = Bar(0.3, "docker")
    runs = 3

    def measure(self, side: Side, run: int) -> Measured:
        word = unique()
        tag = f"{self.registry.host}/push-{side.name}:{word}"
        side.build(fixtures.large_context(), f"FROM {side.base}\nCOPY . /{word}\n", tag=tag)
        pushed = side.push(tag)
        return Measured(pushed.seconds, pushed.peak_bytes)


class ColdPull(Row):
    """FROM an image never seen, over the base that is there; the build ends when a step has run on it."""

    name = "pull"
    title = "cold pull of it until a step can run on it"
    bar = Bar(0.5, "docker")
    runs = 3

    def measure(self, side: Side, run: int) -> Measured:
        reference = self.registry.put_image(f"pull-{run}", [fixtures.base_layer(), fixtures.large_layer(run)])
        pulled = side.build(fixtures.small_context(), f"FROM {reference}\nRUN true {unique()}\n", network="host")
        return Measured(pulled.seconds, pulled.peak_bytes)


class CacheMount(Row):
    """A 1 GB cache mount attached, ten files of it rewritten and kept, less the same step on a tmpfs."""

    name = "cache-mount"
    title = "1 GB, 20,000-file cache mount, 10 files changed, less the same with tmpfs"
    unit = "ms"
    bar = Bar(20)
    runs = 7

    def prepare(self, side: Side) -> None:
        fill = "for d in $(seq 1 100); do mkdir -p /c/$d && head -c 10000000 /dev/urandom | split -b 50000 -a 3 -d - /c/$d/f; done"
        side.build(fixtures.small_context(), f"FROM {side.base}\nRUN --mount=type=cache,target=/c,id=bench {fill}\n", network="host")
        self.measure(side, 0)

    def measure(self, side: Side, run: int) -> Measured:
        cached, cached_peak = self._step(side, "cache,target=/c,id=bench")
        empty, empty_peak = self._step(side, "tmpfs,target=/c")
        return Measured((cached - empty) * 1000, max(cached_peak, empty_peak))

    def _step(self, side: Side, mount: str) -> tuple[float, int]:
        change = f"for d in $(seq 1 10); do mkdir -p /c/$d; echo {unique()} > /c/$d/f000; done"
        built = side.build(fixtures.small_context(), f"FROM {side.base}\nRUN --mount=type={mount} {change}\n", network="host")
        return built.seconds, built.peak_bytes

"""What cache volumes cost that follow the build: a large one attached, one file added and shared, all of it had by a machine that has nothing."""

from pathlib import Path

from bench import fixtures
from bench.process import Timed
from bench.row import Bar, Measured, Row, unique
from bench.sides import Chandlery, Side

FILES = 40_000
FILE_BYTES = 50_000
JAR_BYTES = 5_000_000
_FILL = f"for d in $(seq 1 100); do mkdir -p /c/$d && head -c {FILES * FILE_BYTES // 100} /dev/urandom | split -b {FILE_BYTES} -a 3 -d - /c/$d/f; done"
_WAIT = ("--cache-publish-timeout", "600s")


class _Shared(Row):
    """The 2 GB volume is made and published by the first row that needs it."""

    only_ours = True

    def prepare(self, side: Side) -> None:
        # another row's work is not done again: the step is then a hit
        self.build(side, _FILL)

    def build(self, side: Side, command: str, *, store: str = "store", mount: str = "cache,target=/c,id=volume", remote: bool = True) -> Timed:
        assert isinstance(side, Chandlery)
        shared = ("--cache-remote", f"registry://{self.registry.host}/cache", "--cache-scope", "bench", *_WAIT) if remote else ("--cache-scope", "bench")
        text = f"FROM {side.base}\nRUN --mount=type={mount} {command}\n"
        return side.build(fixtures.small_context(), text, network="host", options=shared, store=store)

    def published_bytes(self) -> int:
        """What the registry keeps of volumes."""
        data = Path(self.scratch / "registry" / "data")
        return sum(path.stat().st_size for path in data.glob("**/blobs/**/data"))


class VolumeAttach(_Shared):
    """The step with the volume, less the same with an empty directory in memory; nothing is asked of a remote."""

    name = "volume-attach"
    title = "2 GB, 40,000-file volume attached where it is, less the same with tmpfs"
    unit = "ms"
    bar = Bar(50)

    def measure(self, side: Side, run: int) -> Measured:
        attached = self.build(side, f"true {unique()}", remote=False)
        empty = self.build(side, f"true {unique()}", mount="tmpfs,target=/c", remote=False)
        return Measured((attached.seconds - empty.seconds) * 1000, attached.peak_bytes)


class VolumeAdd(_Shared):
    """A step that adds one jar with the remote on, all published, less the same with it off."""

    name = "volume-add"
    title = "one 5 MB jar added to that volume: captured and published, less the same unshared"
    unit = "ms"
    bar = Bar(300)

    def measure(self, side: Side, run: int) -> Measured:
        shared = self.build(side, _add())
        alone = self.build(side, _add(), remote=False)
        return Measured((shared.seconds - alone.seconds) * 1000, shared.peak_bytes)


class VolumeAddBytes(_Shared):
    name = "volume-add-bytes"
    title = "the same: bytes kept by the registry, less 256 KiB, by the jar's"
    unit = "x"
    bar = Bar(1.05)
    runs = 3

    def prepare(self, side: Side) -> None:
        super().prepare(side)
        # what the other rows added with the remote off goes first
        self.build(side, _add())

    def measure(self, side: Side, run: int) -> Measured:
        before = self.published_bytes()
        done = self.build(side, _add())
        return Measured((self.published_bytes() - before - (256 << 10)) / JAR_BYTES, done.peak_bytes)


class VolumeFetch(_Shared):
    """A store that has the base image alone."""

    name = "volume-fetch"
    title = "that volume fetched by an empty machine, loopback"
    bar = Bar(60)
    runs = 2

    def measure(self, side: Side, run: int) -> Measured:
        assert isinstance(side, Chandlery)
        store = f"store-{unique()}"
        side.pull(self.base, store=store)
        fetched = self.build(side, f"test $(ls /c/7 | wc -l) -ge {FILES // 100} # {unique()}", store=store)
        return Measured(fetched.seconds, fetched.peak_bytes)


class VolumeMemory(VolumeFetch):
    name = "volume-memory"
    title = "the same: the largest resident set"
    unit = "MB"
    bar = Bar(300)

    def measure(self, side: Side, run: int) -> Measured:
        done = super().measure(side, run)
        return Measured(done.peak_bytes / 1e6, done.peak_bytes)


def _add() -> str:
    return f"head -c {JAR_BYTES} /dev/urandom > /c/{unique()}.jar"

"""A run of the farm: for each schedule, every commit by every strategy, in an order drawn anew for each commit, and what each build cost."""

import contextlib
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import process
from bench.farm import addresses, aged, company, floor, history, network, results, servers
from bench.farm.builders import Builder
from bench.farm.fixtures import Ground
from bench.farm.jobs import Job, Strategy, beside
from bench.farm.options import AGED, Options
from bench.farm.scripts import Volumes
from bench.farm.servers import Servers

FLOOR = "floor"
_LONG_LIVED = 3
_CHANGE_DEPENDENCIES = (history.Kind.FIRST, history.Kind.DEPENDENCY, history.Kind.SNAPSHOT)


class Built(NamedTuple):
    """One build of one commit."""

    schedule: str
    strategy: str
    commit: int
    kind: str
    returned_s: float
    published_s: float
    bytes_moved: int
    bytes_stored: int
    layer_bytes: int
    is_right: bool
    failure: str = ""
    has_cache: bool = False
    """The machine had built by this strategy since dependencies last changed: it lacks nothing that the commit needs."""
    run: str = ""
    """Tells runs apart whose results are shown together."""


class Farm:
    """`built` takes the results as they come."""

    def __init__(self, options: Options, servers: Servers, chosen: list[Strategy], ground: Ground, work: Path, built: list[Built]) -> None:
        self._options = options
        self._servers = servers
        self._strategies = chosen
        self._ground = ground
        self._work = work
        self._disk = work / "disk"
        self._commits = history.history(options.seed, options.commits, options.kinds)
        self._built_last: dict[tuple[str, int], int] = {}
        self._base = set(servers.blobs.of("base"))
        self._machines: dict[int, network.Machine] = {}
        self.built = built

    def run(self) -> list[Built]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_disk(self._disk))
            # one network for each machine that lives on, and one that fresh machines are plugged into, one after another
            for place in range(1 + _LONG_LIVED):
                self._machines[place] = stack.enter_context(network.machine(place + 1, self._options.link))
            for builder in {strategy.builder.name: strategy.builder for strategy in self._strategies}.values():
                builder.make_template(self._template(builder), self._machines[0])
            for schedule in self._options.schedules:
                self._schedule(schedule)
        return self.built

    def _schedule(self, schedule: str) -> None:
        order = random.Random(f"{self._options.seed} {schedule}")
        for commit in self._commits:
            moves = history.moves(self._commits, commit.number)
            self._servers.publish(moves)
            context = self._work / "checkout"
            shutil.rmtree(context, ignore_errors=True)
            context.mkdir()
            history.write(context, history.sources(self._commits, commit.number, addresses.COMPANY))
            place = 1 + order.randrange(_LONG_LIVED) if schedule == "random" else 0
            turns: list[Strategy | None] = [None, *(strategy for strategy in self._strategies if schedule != AGED or isinstance(strategy, Volumes))]
            order.shuffle(turns)
            for strategy in turns:
                built = self._floor(schedule, commit, context) if strategy is None else self._build(schedule, strategy, commit, context, place)
                self.built.append(built)
                print(_line(built), flush=True)
            self._built_last[schedule, place] = commit.number
            if schedule == AGED and commit.number == 0:
                self._age()

    def _age(self) -> None:
        """What is measured from here on finds the volume as many others left it."""
        own = sum(path.stat().st_size for path in self._ground.warm.rglob("*") if path.is_file())
        scratch = self._disk / "writers"
        scratch.mkdir()
        remote = f"registry://{servers.DIRECT_REGISTRY}/{AGED}/{Volumes.name}/cache"
        aged.age(remote, Volumes.scope, Volumes.volume, own, scratch)
        print(f"{AGED}: {aged.WRITERS} writers have made the volume {aged.TIMES} times as large", flush=True)

    def _floor(self, schedule: str, commit: history.Commit, context: Path) -> Built:
        scratch = self._disk / "floor"
        scratch.mkdir(exist_ok=True)
        taken_s = floor.seconds(self._machines[0], context, self._ground, scratch)
        return Built(schedule, FLOOR, commit.number, commit.kind, taken_s, taken_s, 0, 0, 0, True)

    def _build(self, schedule: str, strategy: Strategy, commit: history.Commit, context: Path, place: int) -> Built:
        machine = self._machines[place]
        path = f"{schedule}/{strategy.name}"
        tag = f"c{commit.number:02d}"
        moves = history.moves(self._commits, commit.number)
        with self._store(schedule, strategy, place) as store:
            before = machine.bytes_moved()
            poms_changed = commit.kind not in (history.Kind.EDIT, history.Kind.SNAPSHOT)
            log = self._work / f"{schedule}-{strategy.name}-{tag}.log"
            share = self._servers.share(path)
            job = Job(machine, store, self._ground.root, context, f"{addresses.REGISTRY}/{path}", str(share), tag, commit.number == 0, poms_changed, log)
            with strategy.builder.running(store, machine):
                before = machine.bytes_moved()
                try:
                    times = strategy.build(job)
                    answer = results.read(self._servers.blobs, f"{path}/app", tag, commit.motto)
                except (process.Failed, results.NoResult) as failed:
                    return Built(schedule, strategy.name, commit.number, commit.kind, 0, 0, 0, 0, 0, False, str(failed))
                moved = machine.bytes_moved() - before
        stored = sum(size for digest, size in self._servers.blobs.of(path).items() if digest not in self._base)
        stored += sum(file.stat().st_size for file in share.rglob("*") if file.is_file() and not file.is_symlink())
        is_right = answer.motto and answer.signals == company.signals_text(moves)
        return Built(
            schedule,
            strategy.name,
            commit.number,
            commit.kind,
            *times,
            moved,
            stored,
            answer.layer_bytes,
            is_right,
            "",
            self._has_cache(schedule, commit, place),
        )

    def _has_cache(self, schedule: str, commit: history.Commit, place: int) -> bool:
        changed = max((other.number for other in self._commits[: commit.number + 1] if other.kind in _CHANGE_DEPENDENCIES), default=0)
        return place != 0 and self._built_last.get((schedule, place), -1) >= changed

    @contextlib.contextmanager
    def _store(self, schedule: str, strategy: Strategy, place: int) -> Iterator[Path]:
        """A machine's store: one that was used before, or a fresh one, which goes again."""
        is_fresh = place == 0
        store = (self._disk if is_fresh else self._work) / f"{schedule}-{strategy.name}-m{place}"
        if is_fresh or not store.exists():
            strategy.builder.copy(self._template(strategy.builder), store)
        try:
            yield store
        finally:
            if is_fresh:
                shutil.rmtree(store)
                shutil.rmtree(beside(store), ignore_errors=True)

    def _template(self, builder: Builder) -> Path:
        return self._disk / f"template-{builder.name}"


@contextlib.contextmanager
def _disk(directory: Path) -> Iterator[None]:
    """A disk for fresh machines, which come and go: an ext4 with a journal, in memory. Without a journal it makes files several times slower for minutes
    after many were deleted, and no machine of a farm begins by deleting another one."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=75%", "disk", str(directory)], check=True)
    image = directory / "image"
    subprocess.run(["truncate", "-s", "32G", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard,lazy_itable_init=1", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop,discard,noinit_itable", str(image), str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
        subprocess.run(["umount", "-l", str(directory)], check=True)


def _line(built: Built) -> str:
    head = f"{built.schedule} {built.strategy:10} commit {built.commit:2} {built.kind:10}"
    if built.failure:
        return f"{head} FAILED: {built.failure}"
    right = "" if built.is_right else "  WRONG RESULT"
    return f"{head} {built.returned_s:6.1f} s, published {built.published_s:6.1f} s, {built.bytes_moved / 1e6:6.1f} MB{right}"

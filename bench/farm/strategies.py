"""The ways to build that are compared: what each runs for one commit on one machine, and which of its seconds a user waits for.

The ways of Chandlery are the scripts of examples/strategies, as they are; the ways of BuildKit do what its users do, with Dockerfiles from there or from here.
"""

import time
from pathlib import Path
from typing import NamedTuple

from bench import process
from bench.farm import addresses
from bench.farm.builders import CHANDLERY, Builder, Buildkit, Chandlery
from bench.farm.network import Machine

EXAMPLES = Path(__file__).parents[2] / "examples" / "strategies"
DOCKERFILES = Path(__file__).parent / "dockerfiles"


class Job(NamedTuple):
    """One commit to build on one machine."""

    machine: Machine
    store: Path
    context: Path
    prefix: str
    """Host and path under which the strategy keeps everything in the registry."""
    tag: str
    is_first: bool
    poms_changed: bool
    log: Path

    @property
    def image(self) -> str:
        return f"{self.prefix}/app:{self.tag}"


class Times(NamedTuple):
    returned_s: float
    """The build's command has ended: the image is in the registry."""
    published_s: float
    """So has whatever leaves something for the next machine."""


class Strategy:
    name = ""
    title = ""
    is_peer = False

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def build(self, job: Job) -> Times:
        raise NotImplementedError


class Script(Strategy):
    """A script of examples/strategies, with an image that it pushes."""

    directory = ""
    refresh = ""
    """A script to run after a build whose poms changed, where the strategy has one."""

    def build(self, job: Job) -> Times:
        start = time.perf_counter()
        self._run(job, "run", "--push")
        returned_s = time.perf_counter() - start
        if self.refresh and job.poms_changed:
            self._run(job, self.refresh)
        return Times(returned_s, time.perf_counter() - start)

    def _run(self, job: Job, script: str, *arguments: str) -> None:
        assert isinstance(self.builder, Chandlery)
        bin_directory = job.store.with_suffix(".bin")
        bin_directory.mkdir(exist_ok=True)
        command = bin_directory / "chandlery"
        if not command.exists():
            command.write_text(f'#!/bin/sh\nexec {" ".join(CHANDLERY)} "$@"\n')
            command.chmod(0o755)
        settings = {"BASE": addresses.BASE, "IMAGE": job.image, "APP": str(job.context), "JAR": addresses.JAR, "REGISTRY": job.prefix}
        settings["REMOTE"] = f"registry://{job.prefix}/cache"
        settings["PATH"] = f"{bin_directory}:/usr/sbin:/usr/bin:/sbin:/bin"
        process.timed(
            [*job.machine.command, str(EXAMPLES / self.directory / script), *arguments],
            log=job.log,
            env=self.builder.environment(job.store) | settings,
        )


class Volumes(Script):
    name = "ours"
    title = "(9) cache volumes"
    directory = "9-cache-volumes"
    scope, volume = "strategies/9", "/root/.m2"


class MultiStage(Script):
    name = "multi-stage"
    title = "(2) multi-stage"
    directory = "2-multi-stage"


class Peer(Strategy):
    """One way of BuildKit's."""

    is_peer = True

    def build(self, job: Job) -> Times:
        start = time.perf_counter()
        self._image(job)
        returned_s = time.perf_counter() - start
        self._afterwards(job)
        return Times(returned_s, time.perf_counter() - start)

    def _image(self, job: Job) -> None:
        raise NotImplementedError

    def _afterwards(self, job: Job) -> None:
        """Nothing, unless the way keeps something that the build doesn't write."""

    def _build(self, job: Job, dockerfile: Path, *options: str, push: str) -> None:
        assert isinstance(self.builder, Buildkit)
        arguments = [f"--build-arg=BASE={addresses.BASE}", f"--build-arg=JAR={addresses.JAR}", "-f", str(dockerfile), *options]
        output = f'--output=type=image,"name={push}",push=true'
        command = [*job.machine.command, *self.builder.build, *arguments, output, str(job.context)]
        process.timed(command, log=job.log, env=self.builder.environment(job.store))


class PeerCacheMount(Peer):
    name = "bk-mount"
    title = "BuildKit: cache mount"

    def _image(self, job: Job) -> None:
        self._build(job, EXAMPLES / "9-cache-volumes" / "Dockerfile", push=job.image)


class PeerSplit(Peer):
    name = "bk-split"
    title = "BuildKit: split layers, registry cache"

    def _image(self, job: Job) -> None:
        cache = f"type=registry,ref={job.prefix}/cache"
        self._build(job, DOCKERFILES / "split", f"--cache-from={cache}", f"--cache-to={cache},mode=max", push=job.image)


class PeerInline(Peer):
    name = "bk-inline"
    title = "BuildKit: split layers, inline cache"

    def _image(self, job: Job) -> None:
        options = [f"--cache-from=type=registry,ref={job.prefix}/app:latest", "--cache-to=type=inline"]
        self._build(job, DOCKERFILES / "split", *options, push=f"{job.image},{job.prefix}/app:latest")


class PeerCopy(Peer):
    """The dependencies from a cache image, copied in; the new cache image is pushed from the same build."""

    name = "bk-copy"
    title = "BuildKit: cache image, COPY --from"
    dockerfile = "copy"

    def _image(self, job: Job) -> None:
        self._build(job, DOCKERFILES / self.dockerfile, *self._from(job), push=job.image)

    def _afterwards(self, job: Job) -> None:
        if job.poms_changed:
            self._build(job, DOCKERFILES / self.dockerfile, *self._from(job), "--target=m2", push=f"{job.prefix}/m2:latest")

    def _from(self, job: Job) -> list[str]:
        return [] if job.is_first else [f"--build-context=m2cache=docker-image://{job.prefix}/m2:latest"]


class PeerBind(PeerCopy):
    """The same, mounted instead of copied; the new one is made from what the step wrote on top."""

    name = "bk-bind"
    title = "BuildKit: cache image, bind mount"
    dockerfile = "bind"


OURS: tuple[type[Script], ...] = (Volumes, MultiStage)
PEERS: tuple[type[Peer], ...] = (PeerCacheMount, PeerSplit, PeerInline, PeerCopy, PeerBind)


def titles() -> dict[str, str]:
    return {kind.name: kind.title for kind in (*OURS, *PEERS)}


def known() -> list[str]:
    return [kind.name for kind in (*OURS, *PEERS)]


def make(names: list[str], builders: dict[str, Builder]) -> list[Strategy]:
    """Those of `names` that a builder is there for."""
    made: list[Strategy] = [kind(builders["chandlery"]) for kind in OURS if kind.name in names]
    if "buildkit" in builders:
        made += [kind(builders["buildkit"]) for kind in PEERS if kind.name in names]
    return made

"""The ways to build that are compared: Chandlery's, which are the scripts of examples/strategies, those of BuildKit, and docker's.

A peer's way does what its users do, with a Dockerfile from the examples or from here.
"""

from pathlib import Path

from bench import process
from bench.farm import addresses
from bench.farm.builders import Builder, Buildkit
from bench.farm.docker_ways import DOCKER_PEERS, DOCKERFILES
from bench.farm.jobs import Job, Strategy
from bench.farm.scripts import EXAMPLES, OURS


class BuildkitPeer(Strategy):
    def _build(self, job: Job, dockerfile: Path, *options: str, push: str) -> None:
        assert isinstance(self.builder, Buildkit)
        arguments = [f"--build-arg=BASE={addresses.BASE}", f"--build-arg=JAR={addresses.JAR}", "-f", str(dockerfile), *options]
        output = f'--output=type=image,"name={push}",push=true'
        command = [*job.machine.command, *self.builder.build, *arguments, output, str(job.context)]
        process.timed(command, log=job.log, env=self.builder.environment(job.store))


class PeerCacheMount(BuildkitPeer):
    name = "bk-mount"
    title = "BuildKit: cache mount"

    def _image(self, job: Job) -> None:
        self._build(job, EXAMPLES / "9-cache-volumes" / "Dockerfile", push=job.image)


class PeerSplit(BuildkitPeer):
    name = "bk-split"
    title = "BuildKit: split layers, registry cache"

    def _image(self, job: Job) -> None:
        cache = f"type=registry,ref={job.prefix}/cache"
        self._build(job, DOCKERFILES / "split", f"--cache-from={cache}", f"--cache-to={cache},mode=max", push=job.image)


class PeerInline(BuildkitPeer):
    name = "bk-inline"
    title = "BuildKit: split layers, inline cache"

    def _image(self, job: Job) -> None:
        options = [f"--cache-from=type=registry,ref={job.prefix}/app:latest", "--cache-to=type=inline"]
        self._build(job, DOCKERFILES / "split", *options, push=f"{job.image},{job.prefix}/app:latest")


class PeerCopy(BuildkitPeer):
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


BUILDKIT_PEERS: tuple[type[BuildkitPeer], ...] = (PeerCacheMount, PeerSplit, PeerInline, PeerCopy, PeerBind)


KINDS: tuple[type[Strategy], ...] = (*OURS, *BUILDKIT_PEERS, *DOCKER_PEERS)
_BUILDERS = {"chandlery": OURS, "buildkit": BUILDKIT_PEERS, "docker": DOCKER_PEERS}


def titles() -> dict[str, str]:
    return {kind.name: kind.title for kind in KINDS}


def known() -> list[str]:
    return [kind.name for kind in KINDS]


def is_peer(name: str) -> bool:
    return name.startswith(("bk-", "docker-"))


def make(names: list[str], builders: dict[str, Builder]) -> tuple[list[Strategy], list[str]]:
    """Those of `names` that can take part here, and for each of the others a sentence that says why not. Where the newest BuildKit is missing, docker's
    ways of the same name take the place of its."""
    made: list[Strategy] = []
    left_out: list[str] = []
    if "buildkit" not in builders:
        names = [*names, *(name.replace("bk-", "docker-") for name in names if name.startswith("bk-"))]
    for builder, kinds in _BUILDERS.items():
        for kind in kinds:
            if kind.name in names:
                lacking = kind.lacks() if builder in builders else builder
                if lacking:
                    left_out.append(f"{kind.title} takes no part: {lacking} is not installed.")
                else:
                    made.append(kind(builders[builder]))
    return made, left_out

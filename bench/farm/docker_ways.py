"""The ways of Debian's docker.io with BuildKit on: what its users do, who have no build contexts and no caches but what images carry."""

from pathlib import Path

from bench import process
from bench.farm import addresses
from bench.farm.builders import Docker
from bench.farm.jobs import Job, Strategy
from bench.farm.scripts import EXAMPLES

DOCKERFILES = Path(__file__).parent / "dockerfiles"


class DockerPeer(Strategy):
    def _build(self, job: Job, dockerfile: Path, *options: str, push: str) -> None:
        arguments = [f"--build-arg=BASE={addresses.BASE}", f"--build-arg=JAR={addresses.JAR}", "-f", str(dockerfile), *options]
        self._docker(job, "build", "--progress=plain", "--network=host", *arguments, "-t", push, str(job.context))
        self._docker(job, "push", push)

    def _docker(self, job: Job, *arguments: str) -> None:
        assert isinstance(self.builder, Docker)
        command = [*job.machine.command, *self.builder.command(job.store), *arguments]
        process.timed(command, log=job.log, env={"DOCKER_BUILDKIT": "1"})


class DockerCacheMount(DockerPeer):
    name = "docker-mount"
    title = "docker 20.10: cache mount"

    def _image(self, job: Job) -> None:
        self._build(job, EXAMPLES / "9-cache-volumes" / "Dockerfile", push=job.image)


class DockerInline(DockerPeer):
    """An image carries the cache of its own layers alone, so the stage with the dependencies is pushed as an image, too."""

    name = "docker-inline"
    title = "docker 20.10: split layers, inline cache"

    def _image(self, job: Job) -> None:
        self._build(job, DOCKERFILES / "split", *self._from(job), push=job.image)

    def _afterwards(self, job: Job) -> None:
        if job.poms_changed:
            self._build(job, DOCKERFILES / "split", *self._from(job), "--target=build", "--build-arg=BUILDKIT_INLINE_CACHE=1", push=f"{job.prefix}/build")

    def _from(self, job: Job) -> list[str]:
        return [] if job.is_first else [f"--cache-from={job.prefix}/build"]


class DockerCopy(DockerPeer):
    name = "docker-copy"
    title = "docker 20.10: cache image, COPY --from"
    dockerfile = "copy"

    def _image(self, job: Job) -> None:
        self._build(job, DOCKERFILES / self.dockerfile, *self._from(job), push=job.image)

    def _afterwards(self, job: Job) -> None:
        if job.poms_changed:
            self._build(job, DOCKERFILES / self.dockerfile, *self._from(job), "--target=m2", push=f"{job.prefix}/m2")

    def _from(self, job: Job) -> list[str]:
        return [] if job.is_first else [f"--build-arg=M2CACHE={job.prefix}/m2"]


class DockerBind(DockerCopy):
    name = "docker-bind"
    title = "docker 20.10: cache image, bind mount"
    dockerfile = "bind"


DOCKER_PEERS: tuple[type[DockerPeer], ...] = (DockerCacheMount, DockerInline, DockerCopy, DockerBind)

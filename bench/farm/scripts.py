"""The ways of Chandlery: the scripts of examples/strategies, as they are, on the farm's machines."""

from pathlib import Path

from bench import process
from bench.farm import addresses, host, share
from bench.farm.builders import CHANDLERY, Chandlery
from bench.farm.jobs import Job, Strategy, Times

EXAMPLES = Path(__file__).parents[2] / "examples" / "strategies"


class Script(Strategy):
    """A script of examples/strategies, with an image that it pushes."""

    directory = ""
    refresh = ""
    """A script to run after a build whose poms changed, where the strategy has one."""

    def _image(self, job: Job) -> None:
        self._run(job, "run", "--push")

    def _afterwards(self, job: Job) -> None:
        if self.refresh and job.poms_changed:
            self._run(job, self.refresh)

    def _run(self, job: Job, script: str, *arguments: str, directory: str = "", image: str = "") -> None:
        command = str(EXAMPLES / (directory or self.directory) / script)
        self._command(job, command, *arguments, settings=self._settings(job) | ({"IMAGE": image} if image else {}))

    def _command(self, job: Job, *command: str, settings: dict[str, str]) -> None:
        assert isinstance(self.builder, Chandlery)
        process.timed([*job.machine.command, *command], log=job.log, env=self.builder.environment(job.store) | settings)

    def _settings(self, job: Job) -> dict[str, str]:
        programs = job.beside / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        executable(programs / "chandlery", f'#!/bin/sh\nexec {" ".join(CHANDLERY)} "$@"\n')
        settings = {"BASE": addresses.BASE, "IMAGE": job.image, "APP": str(job.context), "JAR": addresses.JAR, "REGISTRY": job.prefix}
        return settings | {"REMOTE": f"registry://{job.prefix}/cache", "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"}


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


class Host(Script):
    """The machine's own Maven is that of the base image, whose root file system it has."""

    name = "host"
    title = "(0) host build"
    directory = "0-host-build"

    def _settings(self, job: Job) -> dict[str, str]:
        settings = super()._settings(job)
        executable(job.beside / "bin" / "mvn", host.maven(job.root, job.beside / "host"))
        return settings


class TwoDockerfiles(Script):
    name = "two-files"
    title = "(1) two Dockerfiles"
    directory = "1-two-dockerfiles"

    def _image(self, job: Job) -> None:
        # the image in between is nobody's: what is given to the script goes to both builds
        self._run(job, "run")
        settings = self._settings(job)
        self._command(job, str(job.beside / "bin" / "chandlery"), "push", "-q", job.image, settings=settings)


class MultiStage(Script):
    name = "multi-stage"
    title = "(2) multi-stage"
    directory = "2-multi-stage"


class Split(Script):
    name = "split"
    title = "(3) split layers"
    directory = "3-split-layer"


class SplitShared(Split):
    name = "split-remote"
    title = "(3) split layers, --cache-remote"

    def _image(self, job: Job) -> None:
        self._run(job, "run", "--push", "--cache-remote", f"registry://{job.prefix}/cache", "--cache-scope", "strategies/3")


class Shared(Script):
    """A script that finds a share on the machine."""

    @classmethod
    def lacks(cls) -> str:
        return share.lacks()

    def build(self, job: Job) -> Times:
        with share.mounted(job.machine, job.share, job.beside / "share"):
            return super().build(job)

    def _settings(self, job: Job) -> dict[str, str]:
        return super()._settings(job) | {"SHARE": str(job.beside / "share")}


class TarOnShare(Shared):
    name = "tar"
    title = "(4) tar on a share"
    directory = "4-tar-on-a-share"


class DirectoryOnShare(Shared):
    """The first build of all runs on the file server itself: to fill a local repository over such a link, with a round trip for each of many thousand calls,
    takes longer than everything else together."""

    name = "directory"
    title = "(5) directory on a share"
    directory = "5-directory-on-a-share"

    def build(self, job: Job) -> Times:
        return Script.build(self, job) if job.is_first else super().build(job)

    def _settings(self, job: Job) -> dict[str, str]:
        return super()._settings(job) | ({"SHARE": job.share} if job.is_first else {})


class DependenciesImage(Script):
    name = "deps-image"
    title = "(6) dependencies image as base"
    directory = "6-dependencies-image"
    refresh = "refresh"

    def _afterwards(self, job: Job) -> None:
        # the first build of all has made the image itself
        if not job.is_first:
            super()._afterwards(job)


class CacheImage(Script):
    name = "cache-image"
    title = "(7) cache image, COPY --from"
    directory = "7-cache-image"
    refresh = "refresh"


class CacheImageSplit(CacheImage):
    name = "cache-split"
    title = "(7) with (3), cache image and split layers"

    def _settings(self, job: Job) -> dict[str, str]:
        return super()._settings(job) | {"DOCKERFILE": "Dockerfile.split"}


class FatBase(Script):
    """What is in the base was left in a cache volume by builds of (9), here of the same project."""

    name = "fat-base"
    title = "(8) fat base image"
    directory = "8-fat-base"
    refresh = "refresh"

    def _image(self, job: Job) -> None:
        if job.is_first:
            self._refresh(job)
        super()._image(job)

    def _afterwards(self, job: Job) -> None:
        if job.poms_changed and not job.is_first:
            self._refresh(job)

    def _refresh(self, job: Job) -> None:
        self._run(job, "run", directory=Volumes.directory, image=f"{job.prefix}/filling:{job.tag}")
        self._run(job, self.refresh)


class Volumes(Script):
    name = "ours"
    title = "(9) cache volumes"
    directory = "9-cache-volumes"
    scope, volume = "strategies/9", "/root/.m2"


OURS: tuple[type[Script], ...] = (
    Volumes,
    Host,
    TwoDockerfiles,
    MultiStage,
    Split,
    SplitShared,
    TarOnShare,
    DirectoryOnShare,
    DependenciesImage,
    CacheImage,
    CacheImageSplit,
    FatBase,
)

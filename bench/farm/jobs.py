"""One commit to build on one machine, and what a way to build it must be able to say and do."""

import time
from pathlib import Path
from typing import NamedTuple

from bench.farm.builders import Builder
from bench.farm.network import Machine


class Job(NamedTuple):
    """One commit to build on one machine."""

    machine: Machine
    store: Path
    root: Path
    """The base image's root file system, which a machine with tools of its own has."""
    context: Path
    prefix: str
    """Host and path under which the strategy keeps everything in the registry."""
    share: str
    """The same for the file server."""
    tag: str
    is_first: bool
    poms_changed: bool
    log: Path

    @property
    def image(self) -> str:
        return f"{self.prefix}/app:{self.tag}"

    @property
    def beside(self) -> Path:
        """What the machine has beside the builder's store; goes with it."""
        return beside(self.store)


def beside(store: Path) -> Path:
    return store.with_suffix(".machine")


class Times(NamedTuple):
    returned_s: float
    """The build's command has ended: the image is in the registry."""
    published_s: float
    """So has whatever leaves something for the next machine."""


class Strategy:
    name = ""
    title = ""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

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

    @classmethod
    def lacks(cls) -> str:
        """What isn't installed here and must be; nothing where the way can take part."""
        return ""

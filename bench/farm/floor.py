"""The floor: the measured command in the base image's root file system with a hot local repository, and no builder around it."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench import process
from bench.farm import addresses
from bench.farm.fixtures import Ground
from bench.farm.network import Machine


def seconds(machine: Machine, context: Path, ground: Ground, scratch: Path) -> float:
    """Of one build of `context` on `machine`."""
    with _root(ground, scratch) as root:
        shutil.copytree(context, root / "src", dirs_exist_ok=True)
        command = [*machine.command, "chroot", str(root), "/bin/sh", "-c", f"cd /src && exec {addresses.MAVEN}"]
        environment = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return process.timed(command, log=scratch / "floor.log", env=environment).seconds


@contextlib.contextmanager
def _root(ground: Ground, scratch: Path) -> Iterator[Path]:
    """A writable root of the base image with the local repository that every commit finds its dependencies in."""
    root = scratch / "root"
    with contextlib.ExitStack() as stack:
        for name, lower, at in (("r", ground.root, root), ("m", ground.warm, root / "root/.m2/repository")):
            upper, work = scratch / f"{name}-upper", scratch / f"{name}-work"
            for directory in (upper, work, at):
                directory.mkdir(parents=True, exist_ok=True)
            options = f"lowerdir={lower},upperdir={upper},workdir={work}"
            _mount(stack, at, "-t", "overlay", "-o", options, "overlay")
        _mount(stack, root / "proc", "-t", "proc", "proc")
        _mount(stack, root / "dev", "--rbind", "/dev")
        yield root
    for name in ("r", "m"):
        shutil.rmtree(scratch / f"{name}-upper")
        shutil.rmtree(scratch / f"{name}-work")


def _mount(stack: contextlib.ExitStack, at: Path, *arguments: str) -> None:
    subprocess.run(["mount", *arguments, str(at)], check=True)
    stack.callback(subprocess.run, ["umount", "-R" if "--rbind" in arguments else "-l", os.fspath(at)], check=True)

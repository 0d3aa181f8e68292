"""The builders that are compared, each with a store of its own: ours, the newest BuildKit, and Debian's Docker."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import bases
from tests.conformance.model import Case

from chandlery.cli import build as build_command
from chandlery.cli.arguments import parse
from chandlery.cli.build_request import to_request
from chandlery.cli.main import main
from chandlery.config import load
from chandlery.errors import ChandleryError
from chandlery.values import replace
from chandlery.wiring import build

START_TIMEOUT_S = 30.0
BUILD_TIMEOUT_S = 90.0
CANT_SAVE = "Docker can't save an image without layers"


@dataclass
class Built:
    """`archive` is there unless the build failed: `error` then is our code, or what the reference said. `cached` are the steps that did nothing."""

    archive: Path | None
    error: str = ""
    cached: frozenset[str] = frozenset()


class Ours:
    """In this process, through the command's own argument parser."""

    def __init__(self, directory: Path, *, mount: str = "") -> None:
        self.contexts: tuple[str, ...] = ()
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "CHANDLERY_ROOT": str(directory / "store"), "CHANDLERY_CONFIG": "/none"}
        self._settings = replace(load(self._environment, "/"), mount=mount)
        for name in bases.CONFIGS:
            bases.write_archive(directory / f"{name}.tar", name)
            if main(["load", "-q", "--root", str(directory / "store"), "-i", str(directory / f"{name}.tar")]) != 0:
                raise RuntimeError(f"the base image {name} can't be loaded")

    def _run(self, arguments: list[str]) -> frozenset[str]:
        result = build(to_request(parse("build", build_command, arguments, self._settings), self._settings), settings=self._settings)
        return frozenset(step.name for step in result.steps if step.outcome == "cached")

    def build(self, case: Case, directory: Path, archive: Path, args: tuple[str, ...]) -> Built:
        output = f"type=oci,dest={archive},compression=uncompressed"
        try:
            return Built(
                archive, cached=_steps(self._run([*_arguments(case, directory, args), *self.contexts, "--output", output, str(directory / "context")]))
            )
        except ChandleryError as failure:
            return Built(None, failure.code)


class Buildkit:
    """A buildkitd of our own, driven by buildx."""

    name = "buildkit"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._env = os.environ | {"BUILDX_CONFIG": str(directory / "buildx"), "SOURCE_DATE_EPOCH": ""}
        self._contexts: list[str] = []

    @contextlib.contextmanager
    def running(self) -> Iterator["Buildkit"]:
        at = self._directory
        address = f"unix://{at}/s"
        command = [program("buildkitd"), "--root", f"{at}/data", "--addr", address, "--containerd-worker=false", "--oci-worker-net=host"]
        for name in bases.CONFIGS:
            bases.write_layout(at / name, name)
            self._contexts.append(f"--build-context={name}=oci-layout://{at / name}:latest")
        with _service(command, at / "log", lambda: os.path.exists(f"{at}/s")):
            subprocess.run([program("buildx"), "create", "--name", "reference", "--driver", "remote", address], env=self._env, check=True, capture_output=True)
            yield self

    def build(self, case: Case, directory: Path, archive: Path, args: tuple[str, ...]) -> Built:
        output = f"--output=type=oci,dest={archive},compression=uncompressed"
        command = [program("buildx"), "build", "--builder", "reference", "--progress=plain", "--provenance=false", output, *self._contexts]
        return _built([*command, *_arguments(case, directory, args), str(directory / "context")], self._env, archive)


class Docker:
    """Debian's dockerd, privately."""

    name = "docker"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._docker = ["/usr/bin/docker", "-H", f"unix://{directory}/s"]
        self._env = os.environ | {"DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(directory / "config")}

    @contextlib.contextmanager
    def running(self) -> Iterator["Docker"]:
        at = self._directory
        command = ["/usr/sbin/dockerd", "--data-root", f"{at}/data", "--exec-root", f"{at}/exec", "--pidfile", f"{at}/pid", "-H", f"unix://{at}/s"]
        command += ["--iptables=false", "--ip-masq=false", "--bridge=none", "--config-file", f"{at}/daemon.json"]
        (at / "daemon.json").write_text("{}")
        with _service(command, at / "log", lambda: subprocess.run([*self._docker, "version"], capture_output=True, check=False).returncode == 0):
            for name in bases.CONFIGS:
                bases.write_archive(at / f"{name}.tar", name)
                subprocess.run([*self._docker, "load", "-i", str(at / f"{name}.tar")], check=True, capture_output=True)
            yield self

    def build(self, case: Case, directory: Path, archive: Path, args: tuple[str, ...]) -> Built:
        command = [*self._docker, "build", "--progress=plain", "-t", "case", "--network=host"]
        built = _built([*command, *_arguments(case, directory, args), str(directory / "context")], self._env, archive)
        if not built.error:
            saved = subprocess.run([*self._docker, "save", "-o", str(archive), "case"], capture_output=True, check=False)
            return built if saved.returncode == 0 else Built(None, CANT_SAVE)
        return built


def program(name: str) -> str:
    """The path of a program, on the PATH or where `go install` puts it; "" where there is none."""
    return shutil.which(name) or shutil.which(name, path=str(Path.home() / "go" / "bin")) or ""


def _arguments(case: Case, directory: Path, args: tuple[str, ...]) -> list[str]:
    named = [f"--build-context={name}={directory / name}" for name in case.contexts]
    return [*args, *named, "-f", str(directory / "context" / case.file)]


def _built(command: list[str], env: dict[str, str], archive: Path) -> Built:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    if done.returncode != 0:
        return Built(None, done.stderr or "failed without a word")
    names = dict(re.findall(r"^#(\d+) (\[.*)$", done.stderr, re.MULTILINE))
    cached = re.findall(r"^#(\d+) CACHED$", done.stderr, re.MULTILINE)
    return Built(archive, cached=_steps(names.get(number, "") for number in cached))


def _steps(names: Iterable[str]) -> frozenset[str]:
    """An image's own steps, without the base, and without the numbers in front of them."""
    found = (re.match(r"\[(?:(?!internal|auth|context)[^\]]* )?\d+/\d+\] (?!FROM |WORKDIR /case-)(.*)", name) for name in names)
    return frozenset(match[1] for match in found if match)


@contextlib.contextmanager
def _service(command: list[str], log: Path, is_ready: "object") -> Iterator[None]:
    """A daemon for the length of the block; ended by its id, with its process group."""
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not is_ready():  # type: ignore[operator]
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} does not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

"""The builders that are compared, behind one interface: Chandlery, Debian's Docker, and a newer BuildKit where the machine has one."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench import process
from bench.process import Timed
from bench.registry import Registry


class Side:
    """One builder with a store of its own in `directory`. Every call is one command of its user's, timed from start to end."""

    name = ""
    base = "bench-base"
    """What FROM names for the local base image."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = 0

    @contextlib.contextmanager
    def running(self, registry: Registry, base: str) -> Iterator[None]:
        """Ready to build, with the base image `base` of the registry pulled, for the length of the block."""
        raise NotImplementedError

    def build(self, context: Path, dockerfile: str, *, tag: str = "bench-result", network: str = "") -> Timed:
        raise NotImplementedError

    def push(self, tag: str) -> Timed:
        raise NotImplementedError

    def _run(self, command: list[str], env: dict[str, str] | None = None) -> Timed:
        self._count += 1
        return process.timed(command, log=self.directory / f"{self._count:04d}.log", env=env)

    def _flags(self, dockerfile: str, tag: str, network: str) -> list[str]:
        file = self.directory / "Dockerfile"
        file.write_text(dockerfile)
        return ["-f", str(file), "-t", tag, "--progress=plain", *([f"--network={network}"] if network else [])]


class Chandlery(Side):
    """`program` is the command as a wheel installs it."""

    name = "chandlery"

    def __init__(self, directory: Path, program: Path) -> None:
        super().__init__(directory)
        self.program = str(program)

    @contextlib.contextmanager
    def running(self, registry: Registry, base: str) -> Iterator[None]:
        self._chandlery("pull", base)
        self._chandlery("tag", base, self.base)
        yield

    def build(
        self, context: Path, dockerfile: str, *, tag: str = "bench-result", network: str = "", options: tuple[str, ...] = (), store: str = "store"
    ) -> Timed:
        return self._chandlery("build", *self._flags(dockerfile, tag, network), *options, str(context), store=store)

    def pull(self, base: str, *, store: str) -> None:
        """The base image in another store, as on another machine."""
        self._chandlery("pull", base, store=store)
        self._chandlery("tag", base, self.base, store=store)

    def push(self, tag: str) -> Timed:
        return self._chandlery("push", tag)

    def version(self) -> Timed:
        return self._chandlery("--version")

    def _chandlery(self, *arguments: str, store: str = "store") -> Timed:
        return self._run([self.program, *arguments], env={"CHANDLERY_ROOT": str(self.directory / store)})


class Docker(Side):
    """Debian's docker.io with BuildKit on: a dockerd of our own, with everything it writes in `directory`."""

    name = "docker"

    @contextlib.contextmanager
    def running(self, registry: Registry, base: str) -> Iterator[None]:
        at = self.directory
        daemon = ["/usr/sbin/dockerd", "--data-root", f"{at}/data", "--exec-root", f"{at}/exec", "--pidfile", f"{at}/pid", "-H", self._host]
        daemon += ["--config-file", "/dev/null"] if os.path.exists("/etc/docker/daemon.json") else []
        with process.service(daemon, log=at / "dockerd.log", ready=[*self._docker, "version"]):
            self._run([*self._docker, "pull", base])
            self._run([*self._docker, "tag", base, self.base])
            yield

    def build(self, context: Path, dockerfile: str, *, tag: str = "bench-result", network: str = "") -> Timed:
        return self._run([*self._docker, "build", *self._flags(dockerfile, tag, network), str(context)], env={"DOCKER_BUILDKIT": "1"})

    def push(self, tag: str) -> Timed:
        return self._run([*self._docker, "push", tag])

    @property
    def _host(self) -> str:
        return f"unix://{self.directory}/docker.sock"

    @property
    def _docker(self) -> list[str]:
        return ["/usr/bin/docker", "-H", self._host]


class Buildkit(Side):
    """The newest BuildKit: a buildkitd with the runc worker, driven by buildx. It has no image store, so its base is the registry's."""

    name = "buildkit"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._last: list[str] = []

    @contextlib.contextmanager
    def running(self, registry: Registry, base: str) -> Iterator[None]:
        at = self.directory
        address = f"unix://{at}/buildkitd.sock"
        config = at / "buildkitd.toml"
        config.write_text(f'insecure-entitlements = ["network.host"]\n[registry."{registry.host}"]\n  http = true\n')
        daemon = [program("buildkitd"), "--root", f"{at}/data", "--addr", address, "--config", str(config), "--containerd-worker=false"]
        with process.service(daemon, log=at / "buildkitd.log", ready=["test", "-S", f"{at}/buildkitd.sock"]):
            self._run([program("buildx"), "create", "--name", "bench", "--driver", "remote", address], env=self._env)
            self.base = base
            yield

    def build(self, context: Path, dockerfile: str, *, tag: str = "bench-result", network: str = "") -> Timed:
        self._last = [*self._flags(dockerfile, tag, network), *(["--allow", "network.host"] if network == "host" else []), str(context)]
        return self._buildx([f"--output=type=image,name={tag}"])

    def push(self, tag: str) -> Timed:
        """The last build again, all of it cached, with a push: BuildKit has no other way."""
        return self._buildx([f"--output=type=image,name={tag},push=true"])

    def _buildx(self, output: list[str]) -> Timed:
        return self._run([program("buildx"), "build", "--builder", "bench", *output, *self._last], env=self._env)

    @property
    def _env(self) -> dict[str, str]:
        return {"BUILDX_CONFIG": str(self.directory / "buildx")}


def buildkit_available() -> bool:
    return bool(program("buildkitd") and program("buildx"))


def program(name: str) -> str:
    """The path of a Go program, on the PATH or where `go install` puts it; "" where there is none."""
    return shutil.which(name) or shutil.which(name, path=str(Path.home() / "go" / "bin")) or ""

"""The builders that take part, each with stores that stand for machines: a template that holds the base image alone, copies of it, and a way to run there.

A copy hard-links what a builder never writes twice (layers, blobs) and copies the rest, so a fresh machine costs a second and no page cache.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import process
from bench.farm import addresses
from bench.farm.network import Machine
from bench.sides import buildkit_available, program


class Builder:
    name = ""
    immutable: tuple[str, ...] = ()
    """Directories of a store (by name) whose files are never written twice."""

    @contextlib.contextmanager
    def running(self, store: Path, machine: Machine) -> Iterator[None]:
        """Ready to build on `machine` with what `store` holds."""
        yield

    def pull_base(self, store: Path, machine: Machine) -> None:
        raise NotImplementedError

    def make_template(self, store: Path, machine: Machine) -> None:
        store.mkdir(parents=True)
        with self.running(store, machine):
            self.pull_base(store, machine)

    def copy(self, template: Path, store: Path) -> None:
        """Another machine that has what the template has."""
        if template.stat().st_dev != store.parent.stat().st_dev:
            subprocess.run(["cp", "-a", str(template), str(store)], check=True)
            return
        subprocess.run(["cp", "-al", str(template), str(store)], check=True)
        for directory, names, files in os.walk(store):
            names[:] = [name for name in names if name not in self.immutable]
            for file in files:
                path = Path(directory, file)
                if path.is_file() and not path.is_symlink():
                    copied = path.with_name(path.name + ".copied")
                    shutil.copy2(path, copied)
                    copied.rename(path)


class Chandlery(Builder):
    name = "chandlery"
    immutable = ("fs", "blobs")

    def pull_base(self, store: Path, machine: Machine) -> None:
        log = store.with_suffix(".log")
        process.timed([*machine.command, *CHANDLERY, "pull", "-q", addresses.BASE], log=log, env=self.environment(store))

    def environment(self, store: Path) -> dict[str, str]:
        source = Path(__file__).parents[2] / "src"
        return {
            "CHANDLERY_ROOT": str(store),
            "CHANDLERY_INSECURE_REGISTRIES": f"http://{addresses.REGISTRY}",
            "CHANDLERY_NETWORK": "host",
            "CHANDLERY_PROGRESS": "plain",
            "PYTHONPATH": str(source),
            "CI": "true",
        }


CHANDLERY = [sys.executable, "-m", "chandlery"]


class Buildkit(Builder):
    """A buildkitd for each machine, alive while it builds, and buildx, which talks to it."""

    name = "buildkit"
    immutable = ("fs", "blobs")

    @contextlib.contextmanager
    def running(self, store: Path, machine: Machine) -> Iterator[None]:
        config = store.with_suffix(".toml")
        config.write_text(f'[worker.oci]\n  networkMode = "host"\n  gc = false\n[registry."{addresses.REGISTRY}"]\n  http = true\n')
        socket = store.with_suffix(".sock")
        daemon = [*machine.command, program("buildkitd"), "--root", str(store), "--addr", f"unix://{socket}", "--config", str(config)]
        with process.service([*daemon, "--containerd-worker=false"], log=store.with_suffix(".daemon"), ready=["test", "-S", str(socket)]):
            create = [program("buildx"), "create", "--name", "farm", "--driver", "remote", f"unix://{socket}"]
            process.timed(create, log=store.with_suffix(".log"), env=self.environment(store))
            yield
        socket.unlink(missing_ok=True)
        shutil.rmtree(store.with_suffix(".buildx"), ignore_errors=True)

    def pull_base(self, store: Path, machine: Machine) -> None:
        dockerfile = store.with_suffix(".dockerfile")
        dockerfile.write_text(f"FROM {addresses.BASE}\nRUN true\n")
        command = [*machine.command, *self.build, "-f", str(dockerfile), "--output=type=cacheonly", str(store.parent / "empty")]
        (store.parent / "empty").mkdir(exist_ok=True)
        process.timed(command, log=store.with_suffix(".log"), env=self.environment(store))

    @property
    def build(self) -> list[str]:
        return [program("buildx"), "build", "--builder", "farm", "--progress=plain", "--provenance=false"]

    def environment(self, store: Path) -> dict[str, str]:
        return {"BUILDX_CONFIG": str(store.with_suffix(".buildx"))}


class Docker(Builder):
    """Debian's docker.io: a dockerd for each machine, alive while it builds."""

    name = "docker"
    immutable = ("diff",)

    @contextlib.contextmanager
    def running(self, store: Path, machine: Machine) -> Iterator[None]:
        # short, for it holds sockets
        with tempfile.TemporaryDirectory(prefix="farm-docker-", dir="/run", ignore_cleanup_errors=True) as state:
            socket = store.with_suffix(".docker")
            socket.unlink(missing_ok=True)
            socket.symlink_to(f"{state}/s")
            daemon = [*machine.command, "dockerd", "--data-root", str(store), "--exec-root", f"{state}/x", "--pidfile", f"{state}/p", "-H", f"unix://{state}/s"]
            # this machine's own settings are not those of the farm's
            Path(state, "config").write_text("{}")
            daemon += ["--config-file", f"{state}/config", "--bridge=none", "--iptables=false"]
            # its builder speaks plain HTTP only where the scheme is given, its pushes in either case
            daemon += ["--insecure-registry", f"http://{addresses.REGISTRY}"]
            with process.service(daemon, log=store.with_suffix(".daemon"), ready=[*self.command(store), "version"]):
                yield
            socket.unlink()

    def pull_base(self, store: Path, machine: Machine) -> None:
        process.timed([*machine.command, *self.command(store), "pull", "-q", addresses.BASE], log=store.with_suffix(".log"))

    def command(self, store: Path) -> list[str]:
        """Of Debian's client: it has a builder, while a newer one looks for a plugin."""
        return [_DOCKER, "-H", f"unix://{os.readlink(store.with_suffix('.docker'))}"]


_DOCKER = "/usr/bin/docker"


def available() -> dict[str, Builder]:
    found: list[Builder] = [Chandlery()]
    if buildkit_available():
        found.append(Buildkit())
    if shutil.which("dockerd") and os.access(_DOCKER, os.X_OK):
        found.append(Docker())
    return {builder.name: builder for builder in found}

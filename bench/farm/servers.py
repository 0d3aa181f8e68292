"""What stands behind the links: a registry, the company's Maven repository, Maven Central and a file server, each behind a relay that adds the round trip."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench import process
from bench.farm import addresses, company

_PORTS = {
    addresses.REGISTRY: "127.0.0.1:5001",
    f"{addresses.SERVER}:8081": "127.0.0.1:9081",
    f"{addresses.SERVER}:8082": "127.0.0.1:9082",
    addresses.SHARE: "127.0.0.1:9083",
}
DIRECT_REGISTRY = _PORTS[addresses.REGISTRY]
"""The registry without the relay, for what isn't measured."""


class Servers(NamedTuple):
    directory: Path

    def publish(self, moves: int) -> None:
        """Bring the company's repository to where the SNAPSHOT has moved so often; at once, for whoever asks."""
        state = self.directory / f"company-{moves}"
        if not state.exists():
            company.write(state, moves)
        new = self.directory / "new"
        new.symlink_to(state.name)
        new.rename(self.directory / "company")

    def share(self, path: str) -> Path:
        """A directory of the file server."""
        directory = self.directory / "share" / path
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    @property
    def blobs(self) -> "Blobs":
        return Blobs(self.directory / "registry" / "docker" / "registry" / "v2")


class Blobs(NamedTuple):
    """What a registry keeps, read from its storage."""

    root: Path

    def of(self, prefix: str) -> dict[str, int]:
        """Digests (hex) and sizes of everything that the repositories under `prefix` refer to."""
        links = (self.root / "repositories" / prefix).rglob("sha256/*/link")
        digests = {link.parent.name for link in links}
        return {digest: self.path(digest).stat().st_size for digest in digests if self.path(digest).exists()}

    def path(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / digest[:2] / digest / "data"


@contextlib.contextmanager
def running(directory: Path, registry_data: Path, central: Path, rtt_s: float) -> Iterator[Servers]:
    """All of them, with what they keep in `directory`, for the length of the block."""
    servers = Servers(directory)
    subprocess.run(["cp", "-a", str(registry_data), str(directory / "registry")], check=True)
    servers.publish(0)
    routes = [f"{near}={far}" for near, far in _PORTS.items()]
    python = [sys.executable, "-m"]
    with contextlib.ExitStack() as stack:
        for name, command, ready in (
            ("registry", registry_command(directory / "registry", DIRECT_REGISTRY), DIRECT_REGISTRY),
            ("central", [*python, "bench.farm.files", "127.0.0.1:9081", str(central)], "127.0.0.1:9081"),
            ("company", [*python, "bench.farm.files", "127.0.0.1:9082", str(directory / "company")], "127.0.0.1:9082"),
            ("share", [*python, "bench.farm.share", "127.0.0.1:9083"], "127.0.0.1:9083"),
            ("relay", [*python, "bench.farm.relay", str(rtt_s), *routes], addresses.REGISTRY),
        ):
            host, _, port = ready.rpartition(":")
            stack.enter_context(process.service(command, log=directory / f"{name}.log", ready=(host, int(port))))
        yield servers


def registry_command(data: Path, address: str) -> list[str]:
    data.mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(data)}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    file = data.with_suffix(".yml")
    file.write_text(json.dumps(config))  # JSON is YAML
    return [shutil.which("docker-registry") or "docker-registry", "serve", str(file)]

"""A private docker-registry on the loopback, and the fixtures' images put into it over its HTTP API."""

import contextlib
import hashlib
import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bench import fixtures, process

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_BINARY = "application/octet-stream"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Registry:
    """`host` is what references begin with."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"

    def put_image(self, repository: str, layers: list[Path]) -> str:
        """Upload the image of these layers; its reference."""
        config = fixtures.image_config(layers)
        descriptors = [self._put_file(repository, layer) for layer in layers]
        blob = self._put_blob(repository, io.BytesIO(config), hashlib.sha256(config).hexdigest(), len(config))
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": blob | {"mediaType": _CONFIG}, "layers": descriptors}
        document = json.dumps(manifest).encode()
        self._send("PUT", f"/v2/{repository}/manifests/latest", io.BytesIO(document), len(document), _MANIFEST)
        return f"{self.host}/{repository}:latest"

    def _put_file(self, repository: str, path: Path) -> dict[str, object]:
        """Streamed: what this process takes into memory would count as its children's (process.Timed)."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            return self._put_blob(repository, file, digest, path.stat().st_size) | {"mediaType": _LAYER}

    def _put_blob(self, repository: str, data: BinaryIO, sha256: str, size: int) -> dict[str, object]:
        location = self._send("POST", f"/v2/{repository}/blobs/uploads/", io.BytesIO(), 0, _BINARY)
        path = location.partition(self.host)[2] if self.host in location else location
        self._send("PUT", f"{path}{'&' if '?' in path else '?'}digest=sha256:{sha256}", data, size, _BINARY)
        return {"digest": f"sha256:{sha256}", "size": size}

    def _send(self, method: str, path: str, body: BinaryIO, size: int, kind: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": kind, "Content-Length": str(size)})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 300:
                raise process.Failed(f"the registry answered {answer.status} to {method} {path}: {text[:200]!r}")
            return answer.headers.get("Location", "")
        finally:
            connection.close()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Registry]:
    """A registry with its storage in `directory`, for the length of the block."""
    directory.mkdir(parents=True)
    port = process.free_port()
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    file = directory / "config.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    with process.service(["docker-registry", "serve", str(file)], log=directory / "log", ready=("127.0.0.1", port)):
        yield Registry(port)

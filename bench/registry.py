"""A private docker-registry on the loopback, and the fixtures' images put into it over its HTTP API."""

import contextlib
import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

from bench import fixtures, process

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Registry:
    """`host` is what references begin with."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"

    def put_image(self, repository: str, layers: list[Path]) -> str:
        """Upload the image of these layers; its reference."""
        config = fixtures.image_config(layers)
        descriptors = [self._put_blob(repository, layer.read_bytes()) | {"mediaType": _LAYER} for layer in layers]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": self._put_blob(repository, config) | {"mediaType": _CONFIG}, "layers": descriptors}
        self._send("PUT", f"/v2/{repository}/manifests/latest", json.dumps(manifest).encode(), _MANIFEST)
        return f"{self.host}/{repository}:latest"

    def _put_blob(self, repository: str, data: bytes) -> dict[str, object]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        location = self._send("POST", f"/v2/{repository}/blobs/uploads/", b"", "application/octet-stream")
        path = location.partition(self.host)[2] if self.host in location else location
        self._send("PUT", f"{path}{'&' if '?' in path else '?'}digest={digest}", data, "application/octet-stream")
        return {"digest": digest, "size": len(data)}

    def _send(self, method: str, path: str, body: bytes, kind: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": kind, "Content-Length": str(len(body))})
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

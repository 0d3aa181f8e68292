"""What `docker load` reads: an image of one layer in a tar."""

import hashlib
import io
import json
import tarfile
from pathlib import Path


def write(file: Path, name: str, config: dict[str, object], layer: bytes) -> None:
    encoded = json.dumps(config, sort_keys=True).encode()
    named = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = json.dumps([{"Config": named, "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(file, "w") as archive:
        for member, data in ((named, encoded), ("layer.tar", layer), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

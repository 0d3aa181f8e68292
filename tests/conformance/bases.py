"""The base images of the cases, put together here byte by byte, so that every builder gets the same ones."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

from tests.fakes import docker_archive

BUSYBOX = shutil.which("busybox") or ""
TIME_S = 1_000_000_000
TIME = "2001-09-09T01:46:40Z"
_APPLETS = (
    "sh", "cat", "chgrp", "chmod", "chown", "cp", "cut", "date", "dd", "echo", "env", "false", "find", "grep", "head", "hostname", "id", "ln", "ls",
    "mkdir", "mkfifo", "mount", "mv", "printf", "ps", "pwd", "readlink", "rm", "rmdir", "sed", "sleep", "sort", "stat", "tail", "tar", "test", "touch",
    "tr", "true", "umask", "uname", "wc", "whoami", "xargs",
)  # fmt: skip
_PASSWD = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nalice:x:1000:1001::/home/alice:/bin/sh\nbob:x:1002:1002::/home/bob:/bin/sh\n"
_GROUP = "root:x:0:\ndaemon:x:1:\nstaff:x:50:alice\nalice:x:1001:\nbob:x:1002:\n"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CONFIGS: dict[str, dict[str, object]] = {
    "busybox": {"Env": [_PATH], "Cmd": ["sh"]},
    "configured": {
        "Env": [_PATH, "FROM_BASE=base value", "EMPTY="],
        "Entrypoint": ["/bin/echo", "base"],
        "Cmd": ["from", "base"],
        "WorkingDir": "/home/alice",
        "User": "alice",
        "Labels": {"base": "yes", "shared": "base"},
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000},
        "Shell": ["/bin/sh", "-e", "-c"],
    },
    "triggers": {
        "Env": [_PATH],
        "OnBuild": ["COPY given.txt /given/", "RUN cat /given/given.txt > /seen", "ENV TRIGGERED=yes", "LABEL trigger=$TRIGGERED"],
    },
}


def write_layout(directory: Path, name: str) -> None:
    """An OCI layout with one image, tagged latest."""
    layer = _layer(name)
    config = json.dumps(_config(name, layer), sort_keys=True).encode()
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    encoded = json.dumps(manifest).encode()
    for data in (layer, config, encoded):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    described = _descriptor(str(manifest["mediaType"]), encoded) | {"annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def write_archive(file: Path, name: str) -> None:
    """What `docker load` reads."""
    layer = _layer(name)
    docker_archive.write(file, name, _config(name, layer), layer)


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def _config(name: str, layer: bytes) -> dict[str, object]:
    return {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "created": TIME,
        "config": CONFIGS[name],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": TIME, "created_by": f"base {name}"}],
    }


def _layer(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as layer:
        for path, mode in (("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("opt", 0o755), ("proc", 0o555), ("root", 0o700),
                           ("sys", 0o555), ("tmp", 0o1777), ("usr", 0o755), ("var", 0o755), ("var/deep", 0o750)):  # fmt: skip
            _add(layer, path, tarfile.DIRTYPE, mode)
        _add(layer, "home/alice", tarfile.DIRTYPE, 0o755, owner=(1000, 1001))
        _add(layer, "bin/busybox", tarfile.REGTYPE, 0o755, data=Path(BUSYBOX).read_bytes())
        for applet in _APPLETS:
            _add(layer, f"bin/{applet}", tarfile.SYMTYPE, 0o777, target="busybox")
        _add(layer, "etc/passwd", tarfile.REGTYPE, 0o644, data=_PASSWD.encode())
        _add(layer, "etc/group", tarfile.REGTYPE, 0o644, data=_GROUP.encode())
        _add(layer, "var/deep/one", tarfile.REGTYPE, 0o640, data=b"one\n", owner=(1, 1))
        _add(layer, "var/deep/two", tarfile.LNKTYPE, 0o640, target="var/deep/one", owner=(1, 1))
        _add(layer, "var/to-deep", tarfile.SYMTYPE, 0o777, target="deep")
        _add(layer, "var/to-opt", tarfile.SYMTYPE, 0o777, target="/opt")
        _add(layer, "opt/base", tarfile.REGTYPE, 0o644, data=name.encode())
    return out.getvalue()


def _add(layer: tarfile.TarFile, path: str, kind: bytes, mode: int, *, data: bytes = b"", target: str = "", owner: tuple[int, int] = (0, 0)) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.linkname, info.size, info.mtime = kind, mode, target, len(data), TIME_S
    info.uid, info.gid = owner
    layer.addfile(info, io.BytesIO(data) if data else None)

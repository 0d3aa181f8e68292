"""A Debian base image of packages that this machine has installed, and what they depend on: the files themselves, so that no mirror is needed."""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.fakes import docker_archive

_ESSENTIAL = ("apt", "base-files", "bash", "coreutils", "dash", "diffutils", "dpkg", "findutils", "grep", "gzip", "libc-bin", "sed", "tar")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/.", "/usr/share/i18n/", "/usr/lib/x86_64-linux-gnu/gconv/")
# what is there once packages are installed
_MADE = ("/bin", "/sbin", "/lib", "/lib64", "/etc/passwd", "/etc/group", "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/ssl/certs/ca-certificates.crt")
_MADE_BY_JAVA = "/etc/ssl/certs/java/cacerts"


def write_archive(file: Path, name: str, packages: tuple[str, ...] = (), whole: dict[str, str] | None = None) -> None:
    """What `docker load` reads; `whole` are places of this machine beside them -> where the image has them."""
    if shutil.which("dpkg-query") is None or not Path("/var/lib/dpkg/status").exists():
        pytest.skip("needs a Debian machine")
    layer = _layer(_closure((*_ESSENTIAL, *packages)), whole or {})
    config: dict[str, object] = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {"Env": [_PATH], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    docker_archive.write(file, name, config, layer)


def _closure(packages: tuple[str, ...]) -> list[str]:
    asked = ["dpkg-query", "-W", "-f", "${Package}\t${Pre-Depends}, ${Depends}\t${Provides}\n"]
    needs: dict[str, str] = {}
    provided: dict[str, str] = {}
    for line in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines():
        package, needed, provides = line.split("\t")
        needs[package] = needed
        provided |= dict.fromkeys(map(_name, provides.split(",")), package)
    found: set[str] = set()
    asked_for = list(packages)
    while asked_for:
        package = asked_for.pop()
        package = package if package in needs else provided.get(package, "")
        if not package or package in found:
            continue
        found.add(package)
        for alternatives in needs[package].split(","):
            asked_for.extend([one for one in map(_name, alternatives.split("|")) if one in needs or one in provided][:1])
    missing = set(packages) - found
    if missing:
        pytest.skip(f"not installed on this machine: {' '.join(sorted(missing))}")
    return sorted(found)


def _name(text: str) -> str:
    return text.strip().partition(" ")[0].partition(":")[0]


def _layer(packages: list[str], whole: dict[str, str]) -> bytes:
    listed = set(subprocess.run(["dpkg-query", "-L", *packages], capture_output=True, text=True, check=True).stdout.splitlines())
    # /bin and its like are links into /usr
    paths = {os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)) for path in listed if path.startswith("/")}
    paths |= {os.path.join(os.path.dirname(path), "__pycache__") for path in paths if path.endswith(".py")}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as layer:
        for path, place in whole.items():
            layer.add(path, place.lstrip("/"))
        for path in sorted({*paths, *_MADE, *([_MADE_BY_JAVA] if "ca-certificates-java" in packages else [])}):
            if path != "/" and not path.startswith(tuple(whole)) and os.path.lexists(path) and not path.startswith(_LEFT_OUT):
                layer.add(path, path.lstrip("/"), recursive=path.endswith("__pycache__"))
        _add(layer, "tmp", b"", tarfile.DIRTYPE, 0o1777)
        _add(layer, "var/lib/dpkg/status", _status(packages))
        for directory in ("root", "proc", "sys", "dev", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
            _add(layer, directory, b"", tarfile.DIRTYPE, 0o755)
    return out.getvalue()


def _status(packages: list[str]) -> bytes:
    wanted = {f"Package: {package}" for package in packages}
    listed = Path("/var/lib/dpkg/status").read_text().split("\n\n")
    return "".join(f"{entry.strip()}\n\n" for entry in listed if entry.strip().partition("\n")[0] in wanted).encode()


def _add(layer: tarfile.TarFile, path: str, data: bytes, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size = kind, mode, len(data)
    layer.addfile(info, io.BytesIO(data))

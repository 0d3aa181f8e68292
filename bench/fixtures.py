"""What both sides are given: contexts, a base image, layers to pull. Made once under .cache/bench and kept.

Nothing measured reads a fixture twice from the same store: a row that must meet files it has never seen takes another copy of the tree.
Deleting and recreating tens of thousands of files is the slowest thing a file system does, so copies are kept between runs.
"""

import gzip
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parent.parent / ".cache" / "bench"
SMALL_FILES = 50
LARGE_FILES = 20_000
LARGE_FILE_BYTES = 10_000
_WORDS = b"the quick brown fox jumps over the lazy dog while the harbour master counts ships "


def small_context() -> Path:
    return _made("small-50", lambda path: _write_tree(path, SMALL_FILES, 2_000))


def large_context() -> Path:
    """20,000 files, 200 MB, half of each file random and half text."""
    return _made("large-20000", lambda path: _write_tree(path, LARGE_FILES, LARGE_FILE_BYTES))


def large_copy(name: str) -> Path:
    """Another copy of the large context, with inodes and times of its own, as a fresh clone has; in the page cache, as a fresh clone is."""
    original = large_context()
    copy = _made(f"copies/{name}", lambda path: shutil.copytree(original, path, copy_function=shutil.copyfile))
    for file in copy.glob("*/*/*"):
        file.read_bytes()
    return copy


def base_layer() -> Path:
    """A minimal Debian root as one gzipped layer."""

    def make(path: Path) -> None:
        from chandlery.source.distribution import make_root

        tar = path.with_suffix(".root.tar")
        with tempfile.TemporaryDirectory(dir=CACHE) as root:
            os.chmod(root, 0o755)
            make_root(root)
            subprocess.run(["tar", "--sort=name", "--numeric-owner", "-C", root, "-cf", str(tar), "."], check=True)
        path.with_suffix(".diffid").write_text(_sha256(tar))
        with tar.open("rb") as source, gzip.open(path, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        tar.unlink()

    return _made("base.tar.gz", make)


def large_layer(number: int) -> Path:
    """The large context as a gzipped layer, with a directory name that makes the layer one of a kind."""

    def make(path: Path) -> None:
        tar = path.with_suffix(".data.tar")
        with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(large_context(), arcname=f"data-{number}", filter=_as_root)
        path.with_suffix(".diffid").write_text(_sha256(tar))
        subprocess.run(["gzip", "-1", "-n", str(tar)], check=True)
        Path(f"{tar}.gz").rename(path)

    return _made(f"layers/large-{number}.tar.gz", make)


def image_config(layers: list[Path]) -> bytes:
    config: dict[str, Any] = {"architecture": _architecture(), "os": "linux", "created": "2025-01-01T00:00:00Z"}
    config["config"] = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]}
    config["rootfs"] = {"type": "layers", "diff_ids": [layer.with_suffix(".diffid").read_text() for layer in layers]}
    config["history"] = [{"created": "2025-01-01T00:00:00Z", "created_by": f"layer {number}"} for number in range(len(layers))]
    return json.dumps(config).encode()


def _made(name: str, make: Any) -> Path:
    """The fixture's path; made under another name first, so that an interrupted run leaves nothing half made under this one."""
    path = CACHE / name
    if not path.exists():
        print(f"making fixture {name}", flush=True)
        partial = path.with_name("partial-" + path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        make(partial)
        for beside in partial.parent.glob(f"{partial.stem}.diffid"):
            beside.rename(path.with_suffix(".diffid"))
        partial.rename(path)
    return path


def _write_tree(path: Path, files: int, size: int) -> None:
    numbers = random.Random(files)
    text = _WORDS * (size // 2 // len(_WORDS) + 1)
    for number in range(files):
        directory = path / f"package-{number // 100:03d}" / f"part-{number % 100 // 20}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file-{number:05d}.txt").write_bytes(numbers.randbytes(size // 2) + text[: size - size // 2])


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def wheel() -> None:
    """A clean virtual environment with this checkout's wheel in it, as a user installs it; CACHE/wheel/bin/chandlery."""
    environment = CACHE / "wheel"
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not (environment / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([*pip, "-r", "requirements.lock"], check=True)
    with tempfile.TemporaryDirectory() as built:
        subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", built, "."], check=True)
        subprocess.run([*pip, "--no-deps", "--force-reinstall", *map(str, Path(built).glob("*.whl"))], check=True)

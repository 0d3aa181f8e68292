"""What the engine promises beyond a built image: secrets stay in memory, images stay usable, signals end everything, what is lost is made again."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from tests.leaks import none_left

from chandlery.cli.main import main

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(os.geteuid() != 0 or BUSYBOX is None, reason="needs root and busybox-static")
BASE = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "context"
    directory.mkdir()
    shutil.copy2(str(BUSYBOX), directory / "busybox")
    monkeypatch.setenv("CHANDLERY_ROOT", str(tmp_path / "store"))
    monkeypatch.chdir(directory)
    return directory


def build(context: Path, dockerfile: str, *arguments: str) -> int:
    (context / "Dockerfile").write_text(dockerfile)
    return main(["build", "--progress=plain", *arguments, "."])


def start(context: Path, dockerfile: str, *arguments: str) -> "subprocess.Popen[bytes]":
    (context / "Dockerfile").write_text(dockerfile)
    command = [sys.executable, "-m", "chandlery", "build", "--progress=plain", *arguments, "."]
    return subprocess.Popen(command, cwd=context, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_output(process: "subprocess.Popen[bytes]", text: bytes) -> bytes:
    """Read what a build says until it has said `text` in a step's output; all that it said."""
    assert process.stderr is not None
    seen = b""
    while piece := process.stderr.readline():
        seen += piece
        if text in piece and b"RUN" not in piece:
            return seen
    raise AssertionError(seen.decode())


def occurrences(directory: Path, needle: bytes) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink() and needle in path.read_bytes()]


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_secret_that_is_a_variable_is_on_no_disk_while_its_step_runs(context, tmp_path, monkeypatch, runtime):
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    monkeypatch.setenv("CHANDLERY_RUNTIME", runtime)
    monkeypatch.setenv("TOKEN", "hunter2-the-secret")
    step = 'RUN --network=none --mount=type=secret,id=t,env=TOKEN test "$TOKEN" && echo started && busybox sleep 1\n'
    process = start(context, BASE + step.replace("test ", "busybox test "), "--secret=id=t,env=TOKEN")
    wait_for_output(process, b"started")
    found = occurrences(tmp_path / "store", b"hunter2-the-secret")
    process.communicate(timeout=30)
    assert found == []
    assert process.returncode == 0
    assert occurrences(tmp_path / "store", b"hunter2-the-secret") == []


def test_an_image_with_rewritten_times_can_be_run_and_saved(context, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    assert build(context, BASE + "RUN --network=none busybox touch /made\n", "-t", "epoch") == 0
    capfd.readouterr()
    assert main(["run", "--network=none", "epoch", "/bin/sh", "-c", "busybox stat -c %Y /made"]) == 0
    assert capfd.readouterr().out == "1000\n"
    assert main(["save", "-o", str(tmp_path / "saved.tar"), "epoch"]) == 0
    assert build(context, "FROM epoch\nRUN --network=none busybox true\n") == 0


def foreign_archive(path: Path) -> None:
    """A base image as another tool saves it: a tar that we would never write the same way."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("./bin/busybox", "./bin/sh"):
            tar.add(str(BUSYBOX), name)
    from chandlery.oci import image_config
    from chandlery.oci.digest import sha256
    from chandlery.oci.image_config import ImageConfig
    from chandlery.oci.platform import native

    config = image_config.encode(ImageConfig(native().architecture, "linux", diff_ids=(sha256(layer.getvalue()),)))
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["foreign:1"], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in (("config.json", config), ("layer.tar", layer.getvalue()), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_a_foreign_base_is_compressed_anew_when_that_is_forced(context, tmp_path):
    foreign_archive(tmp_path / "base.tar")
    assert main(["load", "-i", str(tmp_path / "base.tar")]) == 0
    out = tmp_path / "out.tar"
    assert build(context, "FROM foreign:1\nRUN --network=none busybox true\n", "-o", f"type=oci,dest={out},compression=zstd,force-compression=true") == 0
    with tarfile.open(out) as tar:
        heads = [tar.extractfile(member).read(4) for member in tar if member.name.startswith("blobs/sha256/") and member.size > 100_000]
    assert heads == [b"\x28\xb5\x2f\xfd"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_steps_and_leaves_nothing(context, tmp_path, number, status):
    with none_left(str(tmp_path)):
        process = start(context, BASE + "RUN --network=none echo started; busybox setsid busybox sleep 60; busybox sleep 60\n")
        wait_for_output(process, b"started")
        process.send_signal(number)
        begun = time.monotonic()
        _, said = process.communicate(timeout=20)
        assert process.returncode == status, said.decode()
        assert time.monotonic() - begun < 10
    assert os.listdir(tmp_path / "store" / "builds") == []
    assert main(["verify"]) == 0


def test_a_blob_that_is_damaged_is_made_again_while_it_is_exported(context, tmp_path):
    out = tmp_path / "out.tar"
    assert build(context, BASE, "-o", f"type=oci,dest={out}") == 0
    whole = out.read_bytes()
    for blob in (tmp_path / "store" / "blobs" / "sha256").iterdir():
        blob.write_bytes(b"x" * blob.stat().st_size)
    assert build(context, BASE, "-o", f"type=oci,dest={out}") == 0
    assert out.read_bytes() == whole


def test_layers_that_somebody_removed_are_made_again_and_recorded_anew(context, tmp_path, capfd):
    assert build(context, BASE + "RUN --network=none busybox touch /made\n") == 0
    shutil.rmtree(tmp_path / "store" / "snapshots")
    (tmp_path / "store" / "snapshots").mkdir()
    assert build(context, BASE + "RUN --network=none busybox touch /made\n") == 0
    capfd.readouterr()
    assert build(context, BASE + "RUN --network=none busybox touch /made\n") == 0
    assert "3 of 3 steps cached" in capfd.readouterr().err

"""`builder`: the command as a user runs it, in a process of its own, on a store and a context of the test's own. Checked to leave nothing behind."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests import leaks
from tests.conformance import bases
from tests.conformance.outcome import outcome

import chandlery

TIMEOUT_S = 60
SOURCES = str(Path(chandlery.__file__).parents[1])


class Finished:
    """`code` is the error's, "" for a success; `steps` are outcomes by the step's text behind its number; `metadata` the metadata file."""

    def __init__(self, done: "subprocess.CompletedProcess[str]", metadata: dict) -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.metadata = metadata
        self.code = metadata.get("chandlery.error", {}).get("code", "")
        self.steps = {step["name"].partition("] ")[2] or step["name"]: step["outcome"] for step in metadata.get("chandlery.build", {}).get("steps", ())}

    @property
    def image_id(self) -> str:
        return self.metadata["containerimage.config.digest"]

    @property
    def ran(self) -> set[str]:
        """The image's own steps that did something."""
        return {name for name, what in self.steps.items() if what == "done" and name.split()[0] in ("RUN", "COPY", "ADD", "WORKDIR")}


class Builder:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.context = directory / "context"
        self.context.mkdir()
        self.store = directory / "store"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(directory), "CHANDLERY_ROOT": str(self.store)}
        # what a test builds must not go because the machine's disk is nearly full
        config = directory / "machine.toml"
        config.write_text('[prune]\nmax-used-space = "1000TB"\n')
        self.env["CHANDLERY_CONFIG"] = str(config)
        self.env["PYTHONPATH"] = SOURCES
        self._count = 0

    def write(self, files: "dict[str, str | bytes]") -> None:
        for name, content in files.items():
            place = self.context / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else content.encode())

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "chandlery", *arguments]

    def run(self, *arguments: str, stdin: bytes = b"", env: "dict[str, str] | None" = None) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            self.command(*arguments), input=stdin, env=self.env | (env or {}), cwd=self.context, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def build(self, dockerfile: str, *arguments: str, context: str = ".", stdin: bytes = b"", env: "dict[str, str] | None" = None) -> Finished:
        """Write the Dockerfile, unless it is empty, and build."""
        if dockerfile:
            self.write({"Dockerfile": dockerfile})
        self._count += 1
        metadata = self.directory / f"metadata{self._count}.json"
        done = self.run("build", "--metadata-file", str(metadata), *arguments, context, stdin=stdin, env=env)
        return Finished(done, json.loads(metadata.read_text()) if metadata.exists() else {})

    def start(self, dockerfile: str, *arguments: str, env: "dict[str, str] | None" = None) -> "subprocess.Popen[str]":
        """The same without waiting; plain progress on standard error."""
        self.write({"Dockerfile": dockerfile})
        command = self.command("build", "--progress=plain", *arguments, ".")
        return subprocess.Popen(command, cwd=self.context, env=self.env | (env or {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def tree(self, dockerfile: str, *arguments: str, **options) -> "dict[str, str]":
        """What a build's image has beside the base, as tests/conformance writes trees down."""
        return self.image(dockerfile, *arguments, **options)["tree"]

    def image(self, dockerfile: str, *arguments: str, **options) -> dict:
        archive = self.directory / "image.tar"
        archive.unlink(missing_ok=True)
        done = self.build(dockerfile, "-o", f"type=oci,dest={archive}", *arguments, **options)
        assert done.status == 0, done.err
        return outcome(archive)

    def verify(self) -> None:
        done = self.run("verify")
        assert done.returncode == 0, done.stdout + done.stderr


def text_of(tree: "dict[str, str]", path: str) -> str:
    """The content of a small file in a tree."""
    return str(eval(tree[path].split(" ", 3)[3].rpartition(" at ")[0]))


def tar_of(files: "dict[str, bytes]") -> bytes:
    import io

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not bases.BUSYBOX:
        pytest.skip("needs busybox-static")
    path = tmp_path_factory.mktemp("base") / "busybox.tar"
    bases.write_archive(path, "busybox")
    return path


@pytest.fixture
def builder(tmp_path: Path, busybox_archive: Path):
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    with leaks.none_left(str(tmp_path)):
        made = Builder(tmp_path)
        assert made.run("load", "-q", "-i", str(busybox_archive)).returncode == 0
        yield made


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory):
    """The host of an empty registry."""
    from tests.registry.conftest import start, stop

    need("docker-registry")
    made, process = start(tmp_path_factory.mktemp("registry"))
    yield made.host
    stop(process)

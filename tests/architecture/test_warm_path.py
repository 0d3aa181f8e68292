"""Start-up is a feature: a fully cached build imports next to nothing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BUSYBOX = shutil.which("busybox")
FORBIDDEN = {
    "urllib3", "ssl", "subprocess", "concurrent.futures", "http", "http.client", "email", "logging", "asyncio", "tempfile", "multiprocessing", "socket",
    "dataclasses", "inspect", "typing", "pathlib", "shutil", "tarfile", "zipfile", "isal", "zstandard", "cryptography", "argparse", "gettext", "random",
    "ctypes", "difflib", "tomllib", "uuid", "decimal", "datetime",
}  # fmt: skip
MOST_MODULES = 195


def imported(*arguments: str, cwd: Path, env: dict[str, str]) -> list[str]:
    """The modules that a command imports, in the order in which it does."""
    command = [
        sys.executable,
        "-I",
        "-X",
        "importtime",
        "-c",
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import chandlery.cli.main as m; sys.exit(m.main())",
    ]
    done = subprocess.run([*command, str(Path(__file__).parents[2] / "src"), *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if re.match(r"import time: +\d", line)]


@pytest.fixture
def warm(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A context whose build is in a store."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch AS base\nCOPY file /file\nFROM base\nENV a=b\nCOPY --from=base /file /other\nWORKDIR /w\n")
    (context / "file").write_text("content")
    env = {"CHANDLERY_ROOT": str(tmp_path / "store"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CHANDLERY_CONFIG": "/none"}
    imported("build", "-q", "-t", "warm", ".", cwd=context, env=env)
    return context, env


def test_a_cached_build_imports_little(warm: tuple[Path, dict[str, str]]) -> None:
    context, env = warm
    imported("build", "-q", "-t", "warm", ".", cwd=context, env=env)

    modules = imported("build", "-q", "-t", "warm", ".", cwd=context, env=env)

    assert sorted(FORBIDDEN.intersection(modules)) == []
    ours = [name for name in modules if name.startswith("chandlery")]
    assert len(modules) <= MOST_MODULES, f"{len(modules)} modules, {len(ours)} of them ours"


def test_the_version_imports_nothing(tmp_path: Path) -> None:
    modules = imported("--version", cwd=tmp_path, env={})
    assert [name for name in modules if name.startswith("chandlery")] == ["chandlery", "chandlery.cli", "chandlery.cli.main"]

"""Images of Debian packages, made once with the command itself and kept in a store beside the other things that tests keep."""

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import DEBIAN_CACHE

STORE = DEBIAN_CACHE / "store-1"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "chandlery", *arguments]


def environment(store: Path) -> dict[str, str]:
    return {**os.environ, "CHANDLERY_ROOT": str(store), "CHANDLERY_CONFIG": "/none"}


@contextmanager
def locked(name: str):
    """One test run at a time."""
    DEBIAN_CACHE.mkdir(parents=True, exist_ok=True)
    with open(DEBIAN_CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure(name: str, packages: str) -> None:
    """The image `name` is in STORE, or the test is skipped."""
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("needs root and mmdebstrap")
    with locked(name):
        if run("inspect", name).returncode == 0:
            return
        made = run("base", "create", name, "--suite", "bookworm", "--include", packages)
        if made.returncode != 0:
            pytest.skip(f"can't make a base of {packages}: {made.stderr[-300:]}")


def run(*arguments: str, store: Path = STORE, **options) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*arguments), env=environment(store), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **options)

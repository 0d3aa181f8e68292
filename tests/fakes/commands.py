"""Fake programs: a script on the PATH in the place of the real one, so that what we run and what we make of its output is real."""

import os
from pathlib import Path

import pytest


def install(monkeypatch: pytest.MonkeyPatch, directory: Path, name: str, script: str) -> Path:
    """Put a shell script called `name` in front of the PATH; the file in which it notes its arguments, one call a line."""
    directory.mkdir(parents=True, exist_ok=True)
    calls = directory / f"{name}.calls"
    program = directory / name
    program.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return calls

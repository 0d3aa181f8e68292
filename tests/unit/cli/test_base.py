from pathlib import Path

import pytest
from tests.fakes import commands

from chandlery.cli.main import main
from chandlery.source import apt_sources
from chandlery.source.apt_sources import AptSource

ROOT = """
for word; do directory=$last; last=$word; done
mkdir -p $directory/var/lib/dpkg
printf 'Package: base\\nStatus: install ok installed\\nVersion: 5\\n' > $directory/var/lib/dpkg/status
echo "I: installing"
"""


def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> Path:
    monkeypatch.setattr(apt_sources, "read_machine", lambda: (AptSource(("http://mirror.test/",), ("stone",), ("main",)),))
    monkeypatch.setenv("CHANDLERY_ROOT", str(tmp_path / "store"))
    return commands.install(monkeypatch, tmp_path / "bin", "mmdebstrap", script)


def test_create_says_what_was_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = fake(monkeypatch, tmp_path, ROOT)

    status = main(["base", "create", "demo", "--suite", "stone", "--include", "jdk,maven", "--include", "git"])

    assert status == 0
    assert "--include=jdk,maven,git" in calls.read_text()
    shown = capsys.readouterr().out
    assert "I: installing" in shown
    assert "docker.io/library/demo:latest: stone, 1 packages" in shown


def test_quiet_prints_the_image_id_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake(monkeypatch, tmp_path, ROOT)

    assert main(["base", "create", "demo", "--suite", "stone", "-q"]) == 0

    assert capsys.readouterr().out.strip().startswith("sha256:")


def test_an_unknown_package_is_bad_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake(monkeypatch, tmp_path, "echo 'E: Unable to locate package nosuch'\nexit 1")

    assert main(["base", "create", "demo", "--suite", "stone", "--include", "nosuch"]) == 2

    assert "base.unknown-package" in capsys.readouterr().err

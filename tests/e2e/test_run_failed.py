"""`chandlery run --failed`: a step that failed, repeated with everything that it had, and nothing of it kept."""

import os
import shutil
from pathlib import Path

import pytest

from chandlery.cli.main import main

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(os.geteuid() != 0 or BUSYBOX is None, reason="needs root and busybox-static")
DOCKERFILE = """
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
WORKDIR /work
ARG COLOUR=blue
RUN --network=none --mount=type=cache,target=/cache --mount=type=bind,target=/ctx --mount=type=secret,id=token,env=TOKEN \\
    echo "in $PWD: $COLOUR $TOKEN" && busybox ls /ctx && busybox ls /cache && busybox touch /cache/$COLOUR && exit 7
"""


@pytest.fixture
def failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    """The id of a build that failed."""
    context = tmp_path / "context"
    context.mkdir()
    shutil.copy2(str(BUSYBOX), context / "busybox")
    (context / "Dockerfile").write_text(DOCKERFILE)
    monkeypatch.setenv("CHANDLERY_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("TOKEN", "first")
    monkeypatch.chdir(context)

    assert main(["build", "--progress=plain", "--secret", "id=token,env=TOKEN", "."]) == 1

    shown = capfd.readouterr().err
    monkeypatch.chdir("/")
    return shown.partition("= to repeat the step: chandlery run --failed ")[2].split()[0]


def test_a_failed_step_can_be_repeated_elsewhere_and_later(failed: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TOKEN", "second")

    assert main(["run", "--failed", failed]) == 7

    # the volume has what the failed step left in it
    assert capfd.readouterr().out == "in /work: blue second\nDockerfile\nbusybox\nblue\n"


def test_another_command_can_look_around_and_leaves_nothing(failed: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--failed", failed, "/bin/sh", "-c", "busybox touch /work/made /cache/made; busybox ls /work /cache"]) == 0
    assert "made" in capfd.readouterr().out

    assert main(["run", "--failed", failed, "/bin/sh", "-c", "busybox ls /work /cache"]) == 0
    assert "made" not in capfd.readouterr().out


def test_secrets_are_not_written_down(failed: str, tmp_path: Path) -> None:
    kept = next((tmp_path / "store/logs").glob("*.step"))

    assert kept.stat().st_mode & 0o777 == 0o600
    assert "first" not in kept.read_text()


def test_a_step_whose_files_were_pruned_is_refused(failed: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--all", "--force"]) == 0
    capfd.readouterr()

    assert main(["run", "--failed", failed]) == 2
    assert "run.no-failed-step" in capfd.readouterr().err

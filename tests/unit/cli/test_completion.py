"""What bash completes, asked of bash itself."""

import shutil
import subprocess

import pytest

from chandlery.cli.main import main


@pytest.fixture
def complete(capsys: pytest.CaptureFixture[str]):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out

    def ask(*words: str) -> set[str]:
        """What the last of the words may become."""
        asked = f'COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); {script}\n_chandlery; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(
            ["bash", "-uc", asked, "bash", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return set(done.stdout.split())

    return ask


def test_commands_and_actions_are_completed(complete) -> None:
    assert complete("chandlery", "vol") == {"volume"}
    assert {"ls", "show", "trim"} <= complete("chandlery", "volume", "")
    assert complete("chandlery", "volume", "f") == {"fork"}


def test_flags_are_those_of_the_command(complete) -> None:
    assert complete("chandlery", "volume", "trim", "--unu") == {"--unused-for"}
    assert "--no-cache" in complete("chandlery", "build", "--no")
    assert complete("chandlery", "volume", "rm", "--unu") == set()


def test_files_are_left_to_the_shell(complete) -> None:
    assert complete("chandlery", "build", "Dock") == set()
    assert complete("chandlery", "volume", "show", "x") == set()

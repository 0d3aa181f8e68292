"""Builds as a person sees them: the command in a terminal, its screen read back through a small model of one."""

import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from tests.fakes.terminal import Terminal

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(os.geteuid() != 0 or BUSYBOX is None, reason="needs root and busybox-static")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    made = tmp_path / "context"
    made.mkdir()
    shutil.copy2(str(BUSYBOX), made / "busybox")
    return made


def build(context: Path, *arguments: str, columns: int = 90, rows: int = 20, interrupts: bytes = b"") -> tuple[int, Terminal]:
    """Run a build in a terminal; Ctrl-C once `interrupts` was printed. Its exit status and the terminal afterwards."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "CHANDLERY_ROOT": str(context.parent / "store")}
    for name in ("CI", "NO_COLOR", "BUILDKIT_PROGRESS"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "chandlery", "build", *arguments, str(context)]
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment, start_new_session=True)
    os.close(follower)
    output, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        output += data
        if interrupts and interrupts in output:
            process.send_signal(signal.SIGINT)
            interrupts = b""
    os.close(leader)
    terminal = Terminal(columns, rows)
    terminal.feed(output.decode())
    return process.wait(10), terminal


def test_a_build_leaves_one_clean_state(context: Path) -> None:
    run = 'RUN ["/bin/busybox", "sh", "-c", "for i in 1 2 3 4 5; do /bin/busybox echo line $i; /bin/busybox sleep 0.1; done"]'
    (context / "Dockerfile").write_text(f"FROM scratch\nCOPY busybox /bin/\n{run}\n")

    status, terminal = build(context, "-t", "shop:1")
    again, cached = build(context, "-t", "shop:1")

    assert (status, again) == (0, 0)
    lines = terminal.lines()
    assert lines[0].startswith("[+] Building")
    assert lines[0].endswith(" (3/3) FINISHED")
    assert [line[:24] for line in lines[1:4]] == [" => [1/2] COPY busybox /", ' => [2/2] RUN ["/bin/bus', " => exporting to image  "]
    assert {len(line) for line in lines[1:4]} == {90}
    assert lines[4] == ""
    assert lines[5].endswith("0 of 2 steps cached, nothing moved")
    assert lines[6] == " image   shop:1"
    assert [line.split()[0] for line in lines[7:9]] == ["id", "log"]
    assert terminal.modes == set()
    assert sum(line.startswith(" => CACHED") for line in cached.lines()) == 2
    assert any("2 of 2 steps cached, nothing moved" in line for line in cached.lines())


def test_a_failure_shows_its_place_its_output_and_how_to_repeat_it(context: Path) -> None:
    (context / "Dockerfile").write_text('FROM scratch\nCOPY busybox /bin/\nRUN ["/bin/busybox", "sh", "-c", "/bin/busybox echo the reason; exit 3"]\n')

    status, terminal = build(context)

    lines = terminal.lines()
    assert status == 1
    assert any(line.startswith(" => ERROR ") for line in lines)
    assert " --> Dockerfile:3:1" in lines
    assert "  | the reason" in lines
    assert any(line.startswith("  = to repeat the step: chandlery run --failed ") for line in lines)
    assert "  = code: step.failed, exit status 1" in lines


def test_control_c_leaves_the_terminal_as_it_was(context: Path) -> None:
    (context / "Dockerfile").write_text(
        'FROM scratch\nCOPY busybox /bin/\nRUN ["/bin/busybox", "sh", "-c", "/bin/busybox echo running; /bin/busybox sleep 60"]\n'
    )

    status, terminal = build(context, interrupts=b"# running")

    assert status == 130
    assert terminal.modes == set()
    assert any(line.startswith(" => CANCELED ") for line in terminal.lines())
    assert terminal.lines()[-1] == "  = code: cancelled, exit status 130"

"""`chandlery run`: what the command gets, how it ends, and that nothing of it stays."""

import os
import pty
import re
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests import leaks

TOOL = """FROM busybox
ENV A=image B=image
WORKDIR /w
USER 1000:1001
ENTRYPOINT ["/bin/echo", "entry"]
CMD ["point"]
"""


@pytest.fixture
def tool(builder):
    assert builder.build(TOOL, "-t", "tool").status == 0
    return builder


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("tool",), "entry point"),
        (("tool", "other", "-e", "x"), "entry other -e x"),
        (("--entrypoint", "/bin/pwd", "tool"), "/w"),
        (("--entrypoint", "", "tool", "/bin/echo", "bare"), "bare"),
        (("-w", "/made/here", "--entrypoint", "/bin/pwd", "tool"), "/made/here"),
        (("--entrypoint", "/bin/sh", "-e", "B=mine", "-e", "HANDED", "-e", "ABSENT", "tool", "-c", "echo $A $B $HANDED ${ABSENT-none}"), "image mine on none"),
        (("--entrypoint", "/bin/id", "tool"), "uid=1000 gid=1001 groups=1001"),
        (("--entrypoint", "/bin/id", "-u", "0:5", "tool"), "uid=0 gid=5 groups=5"),
        (("--entrypoint", "/bin/sh", "tool", "-c", "echo $PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ],
)
def test_the_command_and_its_surroundings(tool, arguments, expected):
    done = tool.run("run", "--network=none", *arguments, env={"HANDED": "on"})
    assert done.returncode == 0, done.stderr
    assert re.sub(r"\(\w+\)", "", done.stdout.strip()) == expected


def test_an_image_without_a_command_says_so(builder):
    assert builder.build("FROM scratch\nCOPY Dockerfile /\n", "-t", "none").status == 0
    done = builder.run("run", "none")
    assert (done.returncode, "code: run.no-command" in done.stderr) == (2, True)


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_the_commands_status_is_the_commands(builder, status):
    assert builder.run("run", "--network=none", "busybox", "sh", "-c", f"exit {status}").returncode == status


def test_a_command_that_is_not_there_and_one_that_cannot_be_executed(builder):
    assert builder.run("run", "--network=none", "busybox", "missing").returncode == 127
    assert builder.run("run", "--network=none", "busybox", "/etc").returncode == 126


def test_its_two_streams_stay_apart(builder):
    done = builder.run("run", "--network=none", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_volumes(builder, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/file").write_text("content\n")
    (tmp_path / "one").write_text("one\n")
    script = "cat /v/d/file /f; echo new >/v/d/new; echo changed >/f; echo no >/ro/x; cat /ro/file"
    volumes = ("-v", f"{tmp_path}/here:/v/d", "-v", f"{tmp_path}/one:/f", "-v", f"{tmp_path}/here:/ro:ro")
    done = builder.run("run", "--network=none", *volumes, "busybox", "sh", "-c", script)
    assert done.stdout == "content\none\ncontent\n"
    assert "Read-only file system" in done.stderr
    assert (tmp_path / "here/new").read_text() == "new\n"
    assert (tmp_path / "one").read_text() == "changed\n"
    assert sorted(os.listdir(tmp_path / "here")) == ["file", "new"]


@pytest.mark.parametrize("volume", ["/missing-here:/x", "/etc", "/etc:relative", "/etc:/x:strange"])
def test_a_bad_volume_is_said(builder, volume):
    done = builder.run("run", "-v", volume, "busybox", "true")
    assert (done.returncode, "code: request.bad-volume" in done.stderr) == (2, True)


def test_nothing_that_it_writes_is_kept(builder):
    assert builder.run("run", "--network=none", "busybox", "sh", "-c", "echo x >/x; rm /bin/ls").returncode == 0
    assert builder.run("run", "--network=none", "busybox", "sh", "-c", "test ! -e /x && ls /bin/ls >/dev/null").returncode == 0
    assert list((builder.store / "builds").iterdir()) == []


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"reached\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("network", "is_reached"), [("host", True), ("none", False), ("default", False)])
def test_the_machines_loopback_is_the_host_networks_alone(builder, network, is_reached):
    server = HTTPServer(("127.0.0.1", 0), _Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        script = f"ls /sys/class/net; grep tls.test /etc/hosts; printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 127.0.0.1 {server.server_port}"
        done = builder.run("run", f"--network={network}", "--add-host=tls.test:10.1.2.3", "busybox", "sh", "-c", script)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert ("reached" in done.stdout) is is_reached
    assert ("eth0" in done.stdout.split()) or network != "default"
    assert "10.1.2.3\ttls.test" in done.stdout


def test_a_memory_limit_holds(builder):
    done = builder.run("run", "--network=none", "-m", "16m", "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
    assert done.returncode == 137
    assert "more memory than its limit" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("network", ["default", "none"])
def test_a_signal_ends_it_at_once(builder, number, network):
    script = "trap '' INT TERM; echo started; setsid sleep 77 & sleep 77"
    with leaks.none_left(str(builder.directory)):
        command = builder.command("run", f"--network={network}", "busybox", "sh", "-c", script)
        process = subprocess.Popen(command, env=builder.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "started\n"
        began = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=20)
        assert time.monotonic() - began < 2
    assert process.returncode == 128 + number
    assert _mounted(builder.store) == []
    assert list((builder.store / "builds").iterdir()) == []


def _mounted(store: Path) -> list[str]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if str(store) in Path(f"/proc/{entry}/mountinfo").read_text():
                found.append(entry)
        except OSError:
            continue
    return found


def test_a_terminal_is_the_commands(builder):
    ours, theirs = pty.openpty()
    script = "test -t 0 && test -t 1 && echo has-a-terminal; read line; echo got $line; exit 3"
    command = builder.command("run", "-it", "--network=none", "busybox", "sh", "-c", script)
    process = subprocess.Popen(command, env=builder.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        _read_until(ours, b"has-a-terminal")
        os.write(ours, b"word\n")
        _read_until(ours, b"got word")
    finally:
        status = process.wait(timeout=20)
        os.close(ours)
    assert status == 3


def test_ctrl_c_at_the_terminal_is_the_commands_own_affair(builder):
    ours, theirs = pty.openpty()
    command = builder.command(
        "run", "-it", "--network=none", "busybox", "sh", "-c", "trap 'echo caught; exit 5' INT; echo started; while :; do sleep 0.05; done"
    )
    process = subprocess.Popen(command, env=builder.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        _read_until(ours, b"started")
        os.write(ours, b"\x03")
        _read_until(ours, b"caught")
    finally:
        status = process.wait(timeout=20)
        os.close(ours)
    assert status == 5


def test_input_is_the_commands_with_i_alone(builder):
    assert builder.run("run", "-i", "--network=none", "busybox", "cat", stdin=b"words\n").stdout == "words\n"
    assert builder.run("run", "--network=none", "busybox", "cat", stdin=b"words\n").stdout == ""


def _read_until(fd: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(fd, 1000)

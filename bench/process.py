"""Timed commands and private services; everything started here is ended here, by its own process id."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Failed(Exception):
    """A command of one side failed; the text says which and shows the end of its output."""


class Timed(NamedTuple):
    seconds: float
    peak_bytes: int
    """The largest resident set of the command or of any descendant that it waited for (wait4's ru_maxrss). A child counts what its parent
    had before exec, so this process must stay small: its own peak is the least that can be shown."""
    output: str


def timed(command: list[str], *, log: Path, env: dict[str, str] | None = None, limit_s: float = 600) -> Timed:
    """Run to the end, output to `log`; raises Failed where it doesn't end well, or not within the limit."""
    with log.open("wb") as sink:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
        alarm = signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
    process.returncode = os.waitstatus_to_exitcode(status)
    output = log.read_text(errors="replace")
    if process.returncode:
        end = "\n".join(output.splitlines()[-6:])
        raise Failed(f"{' '.join(command[:4])} ... ended with {process.returncode} after {seconds:.1f} s\n{end}")
    return Timed(seconds, usage.ru_maxrss * 1024, output)


@contextlib.contextmanager
def service(command: list[str], *, log: Path, ready: list[str] | tuple[str, int], limit_s: float = 30) -> Iterator[None]:
    """A server for the length of the block, ready when the command `ready` succeeds or the address `ready` accepts."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + limit_s
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > end:
                raise Failed(f"{command[0]} did not start:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-6:]))
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(ready: list[str] | tuple[str, int]) -> bool:
    if isinstance(ready, list):
        return subprocess.run(ready, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    with contextlib.suppress(OSError), socket.create_connection(ready, timeout=1):
        return True
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

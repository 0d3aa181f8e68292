"""`BuildLog`: the whole output of a build in a file of the store, whatever the display leaves out.

The file is made when the first step says something, mode 0600; a build whose steps say nothing has none. Lines are as the steps wrote them, behind the step's
number and the seconds since it started. A log that can't be written never harms the build: it ends, and `path` is "".
"""

import os

from chandlery.events import BuildStarted, Event, StepFinished, StepLog, StepStarted


class BuildLog:
    """Called by one thread at a time: the display's lock covers it."""

    def __init__(self) -> None:
        self._wanted_path = ""
        self._fd = -1
        self._names: dict[int, tuple[str, float]] = {}
        self._pending: dict[int, bytes] = {}
        self.path = ""

    def take(self, event: Event) -> None:
        match event:
            case BuildStarted():
                self._wanted_path = event.log_path
            case StepStarted():
                self._names[event.step] = (event.name, event.at_s)
            case StepLog():
                self._log(event)
            case StepFinished():
                if event.step in self._pending:
                    rest = self._pending.pop(event.step)
                    if rest:
                        self._write(self._prefix(event.step, event.at_s) + rest + b"\n")
                    seconds = event.at_s - self._names.get(event.step, ("", event.at_s))[1]
                    self._write(f"#{event.step} {event.outcome.upper()} {seconds:.1f}s\n".encode())

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._wanted_path = ""

    def _log(self, event: StepLog) -> None:
        if not self.path and not self._open():
            return
        if event.step not in self._pending:
            self._pending[event.step] = b""
            name, _ = self._names.get(event.step, (f"step {event.step}", 0.0))
            self._write(f"#{event.step} {name}\n".encode("utf-8", "surrogateescape"))
        *whole, self._pending[event.step] = (self._pending[event.step] + event.data).split(b"\n")
        prefix = self._prefix(event.step, event.at_s)
        self._write(b"".join(prefix + line + b"\n" for line in whole))

    def _prefix(self, step: int, at_s: float) -> bytes:
        started_at_s = self._names.get(step, ("", at_s))[1]
        return f"#{step} {max(0.0, at_s - started_at_s):.3f} ".encode()

    def _open(self) -> bool:
        if not self._wanted_path:
            return False
        try:
            self._fd = os.open(self._wanted_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            self._wanted_path = ""
            return False
        self.path = self._wanted_path
        return True

    def _write(self, data: bytes) -> None:
        try:
            while data and self._fd >= 0:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.close()
            self.path = ""

"""Nothing but errors: for --quiet, whose one line is an image id on standard output. The log is written all the same."""

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.display.late_log import LateLog
    from chandlery.engine.request import BuildResult
    from chandlery.errors import ChandleryError
    from chandlery.events import Event


class QuietDisplay:
    def __init__(self, log: "LateLog") -> None:
        self._log = log
        self._lock = allocate_lock()

    def sink(self, event: "Event") -> None:
        with self._lock:
            self._log.take(event)

    def close(self, _: "BuildResult | None") -> None:
        with self._lock:
            self._log.close()

    def fail(self, error: "ChandleryError") -> None:
        self.close(None)
        from chandlery.cli.display.error_report import report

        report(error, log_path=self._log.path)

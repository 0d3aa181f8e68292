"""`LateLog`: the file of a build's output, loaded and opened only when there is output: a cached build says nothing and pays nothing."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.display.build_log import BuildLog
    from chandlery.events import Event


class LateLog:
    """Called by one thread at a time. `path` is the log's, "" where there is none."""

    def __init__(self) -> None:
        self._early: list[Event] = []
        self._log: BuildLog | None = None

    @property
    def path(self) -> str:
        return self._log.path if self._log is not None else ""

    def take(self, event: "Event") -> None:
        kind = type(event).__name__
        if self._log is not None:
            self._log.take(event)
        elif kind == "StepLog":
            self._begin()
            self.take(event)
        elif kind in ("BuildStarted", "StepStarted"):
            self._early.append(event)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _begin(self) -> None:
        from chandlery.cli.display.build_log import BuildLog

        self._log = BuildLog()
        for event in self._early:
            self._log.take(event)
        self._early = []

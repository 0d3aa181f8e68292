"""Events of builds as displays get them."""

from chandlery.engine.request import BuildResult
from chandlery.events import BuildFinished, BuildStarted, Event, Outcome, StepFinished, StepLog, StepProgress, StepStarted, Warned

STARTED = BuildStarted("abc123", 1000.0, "")
RESULT = BuildResult("abc123", image_digest="sha256:" + "1" * 64, config_digest="sha256:" + "1" * 64, names=("shop:1",), seconds=2.0)


def cached(steps: int = 3) -> list[Event]:
    """A build that had nothing to do."""
    events: list[Event] = [STARTED]
    for number in range(1, steps + 1):
        events += [StepStarted(number, f"[build {number}/{steps}] RUN step {number}", 1000.0), StepFinished(number, Outcome.CACHED, 1000.0)]
    return [*events, BuildFinished("abc123", 1000.05)]


def failed() -> list[Event]:
    """One step pulled and ran, the other said something and failed."""
    return [
        STARTED,
        StepStarted(1, "[build 1/2] FROM docker.io/library/maven", 1000.0),
        StepProgress(1, "sha256:aa", 5, 10, 1000.1),
        StepFinished(1, Outcome.DONE, 1001.0, bytes_moved=12_300_000),
        Warned("registry.offline", "the registry can't be reached", 1001.0),
        StepStarted(2, "[build 2/2] RUN mvn package", 1001.0),
        StepLog(2, 1, b"compiling\nfail", 1001.5),
        StepLog(2, 2, b"ed\n", 1001.6),
        StepFinished(2, Outcome.FAILED, 1002.0, error_code="step.failed", error_message="'mvn package' ended with exit code 1"),
        BuildFinished("abc123", 1002.0, "step.failed"),
    ]

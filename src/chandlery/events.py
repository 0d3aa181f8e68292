"""What a build tells about itself while it runs: frozen values, one sink.

Events are the only way anything is reported; the terminal, the plain log, rawjson and the history are sinks. A sink is called
from several threads and must not block for long. `step` numbers are those that the user sees (#1, #2 ...), given by the driver
in the order in which steps become known; `at_s` are seconds since the epoch.
"""

from collections.abc import Callable
from enum import StrEnum

from chandlery.values import value


class Outcome(StrEnum):
    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"
    CANCELLED = "cancelled"


@value
class BuildStarted:
    """`scope` says whose shared caches the build uses, and `scope_reason` why; "" where nothing is shared."""

    build_id: str
    at_s: float
    log_path: str = ""
    scope: str = ""
    scope_reason: str = ""


@value
class StepStarted:
    """`name` is what the user wrote, with its stage: "[build 2/4] RUN mvn package"."""

    step: int
    name: str
    at_s: float


@value
class StepLog:
    """A piece of a step's output as it came; `stream` is 1 or 2."""

    step: int
    stream: int
    data: bytes
    at_s: float


@value
class StepProgress:
    """Something inside a step that can be counted: a layer pulled, a blob pushed. `total` 0 means unknown; bytes unless `unit` says."""

    step: int
    label: str
    done: int
    total: int
    at_s: float
    unit: str = "B"


@value
class StepFinished:
    """`detail` is shown behind CACHED or DONE ("content unchanged"); `bytes_moved` counts what crossed the network. A failed step says why."""

    step: int
    outcome: Outcome
    at_s: float
    detail: str = ""
    bytes_moved: int = 0
    error_code: str = ""
    error_message: str = ""


@value
class VolumeUsed:
    """What a step had of a cache volume, in files and bytes: `served` was there and was read (-1: the step could not be watched), `fetched` came from
    other machines for it, `added` is what the step put there or changed. `generation` is the volume's afterwards."""

    step: int
    name: str
    at_s: float
    scope: str = ""
    served_files: int = -1
    served_bytes: int = -1
    fetched_files: int = 0
    fetched_bytes: int = 0
    added_files: int = 0
    added_bytes: int = 0
    generation: int = 0


@value
class Warned:
    """Something the user should know that doesn't stop the build. `code` is stable, and so is `cause`, the code of the error behind it; `step` 0: none."""

    code: str
    message: str
    at_s: float
    step: int = 0
    cause: str = ""


@value
class BuildFinished:
    build_id: str
    at_s: float
    error_code: str = ""


Event = BuildStarted | StepStarted | StepLog | StepProgress | StepFinished | VolumeUsed | Warned | BuildFinished
EventSink = Callable[[Event], None]


def discard(_: Event) -> None:
    """The sink for callers that don't look."""

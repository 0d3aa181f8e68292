"""What the last steps had of a volume: R/volumes/<id>/history, a line of JSON each, newest last.

Statistics: nothing depends on them, a line that can't be read is left out, and whoever fails to write says nothing.
"""

import json
import os

from chandlery.linux.flock import FileLock
from chandlery.values import fields, value
from chandlery.volume.reads import LOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FILE, NEW_FILE = "history", "history.new"
MOST_LINES = 50
_LOCK_TIMEOUT_S = 10.0


@value
class StepUse:
    """One step's use of a volume. `served` was there and was read (-1: not known, the step could not be watched); `fetched` came from a remote for it;
    `added` is what the step put in, which others will be served. `generation` is the head afterwards."""

    at_s: float
    build: str
    step: str
    succeeded: bool
    volume: str = ""
    served_files: int = -1
    served_bytes: int = -1
    fetched_files: int = 0
    fetched_bytes: int = 0
    added_files: int = 0
    added_bytes: int = 0
    generation: int = 0


def load(directory: str) -> tuple[StepUse, ...]:
    try:
        with open(f"{directory}/{FILE}", encoding="utf-8") as file:
            return tuple([use for line in file if (use := _decode(line)) is not None])
    except (OSError, UnicodeDecodeError):
        return ()


def append(directory: str, uses: "Iterable[StepUse]") -> None:
    """Raises OSError, MachineError lock.timeout."""
    with FileLock(f"{directory}/{LOCK}", timeout_s=_LOCK_TIMEOUT_S):
        kept = [*load(directory), *uses][-MOST_LINES:]
        with open(f"{directory}/{NEW_FILE}", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(as_object(use)) + "\n" for use in kept)
        os.rename(f"{directory}/{NEW_FILE}", f"{directory}/{FILE}")


def as_object(use: StepUse) -> "dict[str, object]":
    return {name: getattr(use, name) for name in fields(use)}


def share_served(uses: "Iterable[StepUse]") -> float | None:
    """Of the bytes that these steps wanted of the volume, the part that was there; None where nothing is known."""
    known = [use for use in uses if use.served_bytes >= 0]
    # what came for a step was read by it, too, most of the time
    served = sum(max(0, use.served_bytes - use.fetched_bytes) for use in known)
    missed = sum(use.fetched_bytes + use.added_bytes for use in known)
    return served / (served + missed) if served + missed else None


def _decode(line: str) -> StepUse | None:
    try:
        found = json.loads(line)
        return StepUse(**{name: found[name] for name in fields(StepUse) if name in found})
    except (ValueError, TypeError):
        return None

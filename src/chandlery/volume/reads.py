"""What the builds of this machine last read of a volume, path by path, to the day: what `trim` and the maximum size go by.

R/volumes/<id>/reads is a line of JSON and then ten bytes a path: the first eight of its hash, and the day (since 1970-01-01, UTC). What must stay true:

* what isn't known to be unused counts as used. A path that nobody read was last used when it came to this machine (its layer's table tells, fold keeps
  that), or when recording began; and a step that could not be watched counts as having read everything (`blind`);
* a lost or damaged record begins anew today, so that nothing is taken for unused because nobody remembers;
* writing is one rename, under a lock that no step waits for. Whoever fails to write has lost statistics and says nothing.
"""

import hashlib
import json
import os
import struct
import time

from chandlery.linux.atomic import write_all
from chandlery.linux.flock import FileLock
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FILE, NEW_FILE, LOCK = "reads", "reads.new", "use.lock"
DAY_S = 86400
_FORMAT = 1
_RECORD = struct.Struct("<QH")
_LAST_DAY = (1 << 16) - 1
_LOCK_TIMEOUT_S = 10.0


@value
class Reads:
    """`days` is the hash of a path -> the day on which it was last read; `began` when recording began, `blind` the last day on which it failed."""

    began: int
    blind: int
    days: "Mapping[int, int]"

    def last_used(self, path: str, came: int) -> int:
        """The last day on which a path may have been used that came to this machine on day `came`."""
        return max(self.days.get(hash_of(path), 0), came, self.began, self.blind)


def today() -> int:
    return min(int(time.time()) // DAY_S, _LAST_DAY)


def day_before(seconds: float) -> int:
    """The day of so many seconds ago: what was last used before it has been unused for so long."""
    return max(0, int(time.time() - seconds) // DAY_S)


def hash_of(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "little")


def load(directory: str) -> Reads:
    """The record of the volume in `directory`; an empty one that begins today where there is none that can be read."""
    now = today()
    try:
        with open(f"{directory}/{FILE}", "rb") as file:
            head = json.loads(file.readline())
            if head["format"] != _FORMAT:
                raise ValueError(head["format"])
            # a clock that was ahead once must not keep things for ever
            days = {hashed: min(day, now) for hashed, day in _RECORD.iter_unpack(file.read())}
            return Reads(min(int(head["began"]), now), min(int(head["blind"]), now), days)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return Reads(now, 0, {})


def note(directory: str, paths: "Iterable[str]", *, is_blind: bool = False) -> None:
    """Steps have read `paths` today; `is_blind`: and perhaps anything else. Raises OSError, MachineError lock.timeout."""
    day = today()

    def change(reads: Reads) -> Reads:
        days = dict(reads.days)
        days.update((hash_of(path), day) for path in paths)
        return Reads(reads.began, day if is_blind else reads.blind, days)

    _change(directory, change)


def settle(directory: str, came: "Mapping[str, int]", *, is_whole: bool) -> None:
    """Remember the days on which paths of a volume came, before what says so goes; `is_whole`: it has no others, which are forgotten.

    Raises OSError, MachineError lock.timeout.
    """

    def change(reads: Reads) -> Reads:
        hashed = {hash_of(path): day for path, day in came.items()}
        days = {} if is_whole else dict(reads.days)
        days.update((name, max(reads.days.get(name, 0), day)) for name, day in hashed.items())
        return Reads(reads.began, reads.blind, days)

    _change(directory, change)


def day_of(path: str) -> int:
    """The day on which a file was written; today for one that is gone."""
    try:
        return min(int(os.stat(path).st_mtime) // DAY_S, today())
    except FileNotFoundError:
        return today()


def _change(directory: str, change: "Callable[[Reads], Reads]") -> None:
    with FileLock(f"{directory}/{LOCK}", timeout_s=_LOCK_TIMEOUT_S):
        before = load(directory)
        after = change(before)
        if after != before or not os.path.exists(f"{directory}/{FILE}"):
            _write(directory, after)


def _write(directory: str, reads: Reads) -> None:
    head = json.dumps({"format": _FORMAT, "began": reads.began, "blind": reads.blind}).encode() + b"\n"
    new = f"{directory}/{NEW_FILE}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, head + b"".join([_RECORD.pack(hashed, day) for hashed, day in sorted(reads.days.items())]))
    finally:
        os.close(fd)
    os.rename(new, f"{directory}/{FILE}")

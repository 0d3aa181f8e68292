"""What machines tell each other about a volume beside its content: what their builds read and when, to the day, and what the machines are called.

`Notes` ride in a head as one optional text, which other versions ignore; whoever writes a head unites those it read with its own. A machine keeps what it
saw in R/volumes/<id>/notes, a text a line. Paths are 24 bits of their hashes: an accidental equal keeps something longer, and never drops anything.
What must stay true: what isn't known to be unused counts as used. Where there is no room for all, the oldest days become `blind`, a day on which everything
may have been read; a text that can't be understood says that of today. Names are for people: hosts' names, not to be trusted, escaped where they are shown.
"""

import base64
import json
import os

from chandlery.linux.flock import FileLock
from chandlery.scope import told_name
from chandlery.values import value
from chandlery.volume import reads
from chandlery.volume.table_check import is_slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILE, NEW_FILE = "notes", "notes.new"
# two bytes each, and a fourth more as text: with many, about 100 kB
MOST_READS = 40_000
MOST_MACHINES = 256
_LONGEST_TEXT = 1 << 20
_MOST_LINES = 8
_HASH_BITS = 24
_MASK = (1 << _HASH_BITS) - 1
_LOCK_TIMEOUT_S = 10.0


@value
class Notes:
    """`days` is the short hash of a path -> the last day on which somebody read it; `machines` the slot of a writer -> what its machine is called."""

    blind: int
    days: "Mapping[int, int]"
    machines: "Mapping[str, str]"

    def last_read(self, path: str) -> int:
        return max(self.blind, self.days.get(reads.hash_of(path) & _MASK, 0))

    def adds_to(self, other: "Notes") -> bool:
        """Whether this tells of a later read than `other` does."""
        return self.blind > other.blind or any(day > max(other.blind, other.days.get(hashed, 0)) for hashed, day in self.days.items())


NOTHING = Notes(0, {}, {})


def of_reads(read: reads.Reads, since: int) -> Notes:
    """What this machine's builds read on the day `since` or later."""
    days: dict[int, int] = {}
    for hashed, day in read.days.items():
        if day >= since:
            short = hashed & _MASK
            days[short] = max(day, days.get(short, 0))
    return Notes(read.blind if read.blind >= since else 0, days, {})


def united(many: "Iterable[Notes]") -> Notes:
    """Of names that differ any one, the same whoever looks."""
    blind, days, machines = 0, dict[int, int](), dict[str, str]()
    for notes in many:
        blind = max(blind, notes.blind)
        for hashed, day in notes.days.items():
            if day > days.get(hashed, 0):
                days[hashed] = day
        for slot, name in notes.machines.items():
            machines[slot] = max(name, machines.get(slot, ""))
    return Notes(blind, days, machines)


def encode(notes: Notes) -> str:
    """Of what is too much the oldest goes."""
    by_day: dict[int, list[int]] = {}
    for hashed, day in notes.days.items():
        if day > notes.blind:
            by_day.setdefault(day, []).append(hashed)
    blind, room, days = notes.blind, MOST_READS, list[tuple[int, str]]()
    for day in sorted(by_day, reverse=True):
        room -= len(by_day[day])
        if room < 0:
            blind = day
            break
        days.append((day, _packed(by_day[day])))
    # slots begin with the week of their first use
    machines = dict(sorted(notes.machines.items())[-MOST_MACHINES:])
    return json.dumps({"blind": blind, "days": days, "machines": machines}, separators=(",", ":"), sort_keys=True)


def decode(text: str) -> Notes:
    """Days of a clock that is ahead count as today."""
    today = reads.today()
    try:
        if len(text) > _LONGEST_TEXT:
            raise ValueError(len(text))
        document = json.loads(text)
        days: dict[int, int] = {}
        for day, packed in document["days"]:
            for hashed in _unpacked(packed):
                days[hashed] = max(min(_day(day), today), days.get(hashed, 0))
        machines = {slot: told_name(name) for slot, name in sorted(document["machines"].items())[-MOST_MACHINES:] if is_slot(slot)}
        return Notes(min(_day(document["blind"]), today), days, machines)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Notes(today, {}, {})


def load(directory: str) -> Notes:
    """What is known here of what others told of the volume in `directory`."""
    return united(map(decode, _lines(directory)))


def keep(directory: str, texts: "Iterable[str]") -> None:
    """Add what heads told, be it nothing. Raises OSError, MachineError lock.timeout."""
    known = _lines(directory)
    new = [text for text in texts if text not in known]
    if not new and are_kept(directory):
        return
    with FileLock(f"{directory}/{reads.LOCK}", timeout_s=_LOCK_TIMEOUT_S):
        lines = list(dict.fromkeys((*_lines(directory), *new)))
        if len(lines) > _MOST_LINES:
            lines = [encode(united(map(decode, lines)))]
        with open(f"{directory}/{NEW_FILE}", "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        os.rename(f"{directory}/{NEW_FILE}", f"{directory}/{FILE}")


def are_kept(directory: str) -> bool:
    """Versions that don't know of them take them away."""
    return os.path.exists(f"{directory}/{FILE}")


def _lines(directory: str) -> list[str]:
    try:
        with open(f"{directory}/{FILE}", encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError):
        return [""]


def _day(day: object) -> int:
    if type(day) is not int or day < 0:
        raise ValueError(day)
    return day


def _packed(hashes: "list[int]") -> str:
    """Differences in order, seven bits a byte, the last byte of each below 128."""
    made, before = bytearray(), 0
    for hashed in sorted(hashes):
        step, before = hashed - before, hashed
        while step > 127:
            made.append(128 | step & 127)
            step >>= 7
        made.append(step)
    return base64.b64encode(made).decode()


def _unpacked(text: str) -> list[int]:
    found, hashed, step, shift = list[int](), 0, 0, 0
    for byte in base64.b64decode(text, validate=True):
        step |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            hashed += step
            found.append(hashed)
            step = shift = 0
        if shift > _HASH_BITS + 7 or hashed > _MASK:
            raise ValueError(text[:20])
    return found

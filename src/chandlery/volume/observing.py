"""Which mutable names a step resolved, as far as the caches of its tools tell: a SNAPSHOT, a dist-tag, an apt index, a git ref (adapters, `observed`).

Evidence is what the step wrote, markers that no volume keeps included (Maven writes resolver-status.properties at every check, apt a lock), whether into a
volume or into its own layer. What a tool only read leaves no trace in what it wrote, so what a volume holds counts for the steps that mount it: a build with
`mvn -o` is as old as what lies there. That is too often rather than too seldom, and cheap: each layer of a volume tells in a small file beside its table.
Where it is known which files a step opened (watching.py), nothing counts for one that opened none, and a name of Maven's for one that opened something of its
directory, in which all lies that it stands for. Only the first few names of a layer are kept: where there may be more, all of them count.
"""

import json
import os
import stat

from chandlery.volume.adapters import known
from chandlery.volume.adapters.adapter import LONGEST_NAME, MutableName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from chandlery.volume.tree import Entry

MOST_NAMES = 8
_NAMES = "mutable.json"
_LARGEST_READ = 64 << 10


def in_directory(top: str) -> tuple[MutableName, ...]:
    """What lies in a directory, a step's own upper for instance; links are not followed."""
    return _first(_walk(top), top)


def in_entries(tree: str, entries: "Iterable[Entry]") -> tuple[MutableName, ...]:
    """What the files of a volume tell that lie in the directory `tree`."""
    return _first((f"{entry.path}/" if entry.is_directory else entry.path for entry in entries), tree)


def describe(layer: str, tree: str, entries: "Iterable[Entry]") -> tuple[MutableName, ...]:
    """Write down what the layer in the directory `layer` holds, its files being in `tree`."""
    found = in_entries(tree, entries)
    temp = f"{layer}/{_NAMES}.{os.getpid()}"
    with open(temp, "w", encoding="utf-8") as file:
        json.dump([[name.kind, name.name, name.validator] for name in found], file)
    os.rename(temp, f"{layer}/{_NAMES}")
    return found


def held(
    layers: "Iterable[tuple[str, str]]", read_table: "Callable[[str], tuple[Entry, ...]]", touched: "frozenset[str] | None" = None
) -> tuple[MutableName, ...]:
    """What a volume's layers hold, each (its directory, its files' directory), of which a step that touched those paths alone may have made use; None: any.

    A layer of an older version is looked through once.
    """
    if touched is not None and not touched:
        return ()
    found: list[MutableName] = []
    has_more = False
    for layer, tree in layers:
        try:
            with open(f"{layer}/{_NAMES}", encoding="utf-8") as file:
                names = [MutableName(kind, name, validator) for kind, name, validator in json.load(file)]
        except (OSError, ValueError):
            names = list(describe(layer, tree, read_table(layer)))
        found += names
        has_more |= len(names) >= MOST_NAMES
    if touched is not None and not has_more:
        directories = {path.rpartition("/")[0] for path in touched}
        found = [name for name in found if known.may_use(name, directories)]
    return distinct(found)


def distinct(names: "Iterable[MutableName]") -> tuple[MutableName, ...]:
    """Each name once, with a validator if any of them had one; the first few."""
    kept: dict[tuple[str, str], MutableName] = {}
    for name in names:
        before = kept.get((name.kind, name.name))
        if before is None or (name.validator and not before.validator):
            kept[name.kind, name.name] = name
    return tuple(kept.values())[:MOST_NAMES]


def _first(paths: "Iterable[str]", top: str) -> tuple[MutableName, ...]:
    found: list[MutableName] = []
    names: set[tuple[str, str]] = set()
    for path in paths:
        name = known.observed(path, lambda wanted: _head(f"{top}/{wanted}"))
        if name is not None:
            found.append(MutableName(name.kind, _printable(name.name), _printable(name.validator)))
            names.add((name.kind, name.name))
            if len(names) >= MOST_NAMES:
                break
    return distinct(found)


def _walk(top: str) -> "Iterator[str]":
    pending = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(f"{top}/{directory}") as entries:
            for entry in entries:
                path = directory + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{path}/")
                    yield f"{path}/"
                else:
                    yield path


def _head(path: str) -> bytes:
    """The beginning of a file; nothing where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, _LARGEST_READ) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def _printable(text: str) -> str:
    """Names come from files that a step wrote."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:LONGEST_NAME]

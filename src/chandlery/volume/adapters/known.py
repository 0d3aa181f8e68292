"""All adapters as one: what commit, merge and publish ask. Pure."""

import re
from functools import lru_cache

from chandlery.volume.adapters.adapter import Plain
from chandlery.volume.adapters.apt import Apt
from chandlery.volume.adapters.cargo import Cargo
from chandlery.volume.adapters.credentials import is_credential
from chandlery.volume.adapters.go import Go
from chandlery.volume.adapters.gradle import Gradle
from chandlery.volume.adapters.maven import Maven
from chandlery.volume.adapters.node import Npm, Pnpm, Yarn
from chandlery.volume.adapters.python import Pip, Poetry, Uv
from chandlery.volume.adapters.sqlite import Sqlite
from chandlery.volume.adapters.wrapper import Wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.adapters.adapter import Adapter, Files, MutableName, Read

ADAPTERS: "tuple[Adapter, ...]" = (Maven(), Gradle(), Wrapper(), Npm(), Pnpm(), Yarn(), Pip(), Uv(), Poetry(), Go(), Cargo(), Apt(), Sqlite())

_INDEX = re.compile(r"(^|/)(_remote\.repositories|maven-metadata-[^/]*\.xml|list|latest|index\.db)$|(^|/)(\.cache|index-v5)/|/metadata-[^/]+/[^/]+\.bin$")
# where the unit depends on the file's name; everywhere else on its directory alone
_BY_NAME = re.compile(r"_dists_|\.(db|sqlite3?)(-wal|-journal|-shm)?$|(^|/)_?http(-v2|_)?/")
# whose adapters compare what their names promise: gradle's files, npm's and pnpm's contents, crates
_CHECKED = re.compile(r"(^|/)(files-[^/]+(/[^/]+){5}|content-v2(/[^/]+){4}|files/[0-9a-f]{2}/[^/]+|registry/cache/[^/]+/[^/]+\.crate)$")
# what most paths have none of costs a twentieth of a pattern
_TRACES = tuple(dict.fromkeys(trace for adapter in ADAPTERS for trace in adapter.traces))
_OBSERVING = [adapter for adapter in ADAPTERS if adapter.observes]
_OBSERVED = re.compile("|".join(f"({adapter.observes})" for adapter in _OBSERVING))


def is_never_stored(path: str) -> bool:
    """What lies in one tool's unit (an unpacked module, say) is that tool's alone: a package may contain any name."""
    owner = _owner(path)
    if owner is not None:
        return owner.is_never_stored(path)
    return is_credential(path) or any(adapter.is_never_stored(path) for adapter in ADAPTERS)


def observed(path: str, read: "Read") -> "MutableName | None":
    """The mutable name that a tool resolved, as far as this path tells; directories end with "/"."""
    for trace in _TRACES:
        if trace in path:
            break
    else:
        return None
    found = _OBSERVED.search(path)
    return _OBSERVING[found.lastindex - 1].observed(path, read) if found is not None and found.lastindex is not None else None


def may_use(name: "MutableName", directories: "set[str]") -> bool:
    """Whether a step that opened files in those directories may have made use of what a name means."""
    return next((adapter for adapter in ADAPTERS if name.kind.startswith(f"{adapter.name}-")), Plain()).may_use(name, directories)


def unit_of(path: str) -> str:
    """What is whole or absent together with the file `path`; "" if it stands alone."""
    owner = _owner(path)
    return owner.unit_of(path) if owner is not None else ""


def ignores_time(path: str) -> bool:
    """Whether a file that was written anew with the same content may keep the earlier time that it had."""
    owner = _owner(path)
    return owner is not None and owner.ignores_time(path)


def is_broken(unit: str, member: str, files: "Files") -> bool:
    """Whether the unit of `member` carries a mark of being half made."""
    owner = _owner(member)
    return owner is not None and owner.is_broken(unit, files)


def is_complete(unit: str, member: str, files: "Files") -> bool:
    """Whether the unit of `member` is whole, by its tool's own verdict."""
    owner = _owner(member)
    return owner is not None and owner.is_complete(unit, files)


def is_index(path: str) -> bool:
    """Whether two versions of a file may be mergeable: only then are they read."""
    return _INDEX.search(path) is not None and not unit_of(path) and any(adapter.is_index(path) for adapter in ADAPTERS)


def merge_index(path: str, ours: bytes, theirs: bytes) -> bytes | None:
    """The content of an index file that serves both its writers; None if one side must win."""
    if ours == theirs:
        return ours
    for adapter in ADAPTERS:
        merged = adapter.merge_index(path, ours, theirs)
        if merged is not None:
            return merged
    return None


def private(paths: "Iterable[str]", files: "Files") -> frozenset[str]:
    """Those of a step's files that must not leave the scope of the branch that made them."""
    listed = [path for path in paths if not unit_of(path)]
    return frozenset([path for adapter in ADAPTERS for path in adapter.private(listed, files)])


def may_share(path: str, files: "Files") -> bool:
    """Whether a failed step's file may go to other machines."""
    unit = unit_of(path)
    if unit:
        return is_complete(unit, path, files)
    return any(adapter.may_share(path, files) for adapter in ADAPTERS)


def is_refuted(path: str, files: "Files") -> bool:
    """Whether a checksum, beside a file or in its name, says that it isn't what it should be."""
    has_checksum = _CHECKED.search(path) is not None or files.has(f"{path.removesuffix('.sha1')}.sha1")
    return has_checksum and not may_share(path, files)


def _owner(path: str) -> "Adapter | None":
    if _BY_NAME.search(path) is not None:
        return next((adapter for adapter in ADAPTERS if adapter.unit_of(path)), None)
    return _owner_of_directory(path.rpartition("/")[0])


@lru_cache(maxsize=65536)
def _owner_of_directory(directory: str) -> "Adapter | None":
    # a name that no adapter knows
    return next((adapter for adapter in ADAPTERS if adapter.unit_of(f"{directory}/~")), None)

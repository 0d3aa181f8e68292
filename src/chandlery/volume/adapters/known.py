"""All adapters as one: what commit, merge and publish ask. Pure."""

from enum import StrEnum

from chandlery.volume.adapters.apt import Apt
from chandlery.volume.adapters.cargo import Cargo
from chandlery.volume.adapters.credentials import is_credential
from chandlery.volume.adapters.go import Go
from chandlery.volume.adapters.gradle import Gradle
from chandlery.volume.adapters.maven import Maven
from chandlery.volume.adapters.node import Npm, Pnpm, Yarn
from chandlery.volume.adapters.python import Pip, Poetry, Uv
from chandlery.volume.adapters.sqlite import Sqlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.adapters.adapter import Adapter, Read

ADAPTERS: "tuple[Adapter, ...]" = (Maven(), Gradle(), Npm(), Pnpm(), Yarn(), Pip(), Uv(), Poetry(), Go(), Cargo(), Apt(), Sqlite())


class Scope(StrEnum):
    """How far something may go: to everybody who reads the volume, or not beyond the branch that made it."""

    SHARED = "shared"
    BRANCH = "branch"


def is_never_stored(path: str) -> bool:
    """What lies in one tool's unit (an unpacked module, say) is that tool's alone: a package may contain any name."""
    owner = next((adapter for adapter in ADAPTERS if adapter.unit_of(path)), None)
    if owner is not None:
        return owner.is_never_stored(path)
    return is_credential(path) or any(adapter.is_never_stored(path) for adapter in ADAPTERS)


def unit_of(path: str) -> str:
    """What is whole or absent together with `path`; "" if it stands alone."""
    return next((unit for adapter in ADAPTERS if (unit := adapter.unit_of(path))), "")


def incomplete_units(paths: "Iterable[str]") -> frozenset[str]:
    """The units among a failed step's additions that nobody vouches for."""
    present = frozenset(paths)
    units = {(adapter, unit) for adapter in ADAPTERS for path in present if (unit := adapter.unit_of(path))}
    return frozenset([unit for adapter, unit in units if not adapter.is_complete(unit, present)])


def merge_index(path: str, ours: bytes, theirs: bytes) -> bytes | None:
    """The content of an index file that serves both its writers; None if one side must win."""
    for adapter in ADAPTERS:
        merged = adapter.merge_index(path, ours, theirs)
        if merged is not None:
            return merged
    return None


def is_index(path: str) -> bool:
    """Whether two versions of a file may be mergeable: only then are they read."""
    name = path.rpartition("/")[2]
    return name in ("_remote.repositories", "list") or name.startswith("maven-metadata-") or "/index-v5/" in f"/{path}"


def scope_of(path: str, paths: frozenset[str], read: "Read") -> Scope:
    return Scope.BRANCH if any(adapter.is_private(path, paths, read) for adapter in ADAPTERS) else Scope.SHARED


def may_share(path: str, paths: frozenset[str], read: "Read") -> bool:
    """Whether a failed step's file may go to other machines."""
    return not is_never_stored(path) and any(adapter.may_share(path, paths, read) for adapter in ADAPTERS)

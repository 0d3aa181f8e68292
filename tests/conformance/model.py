"""A case: a Dockerfile, the context that it is built with, and what is asked of the build."""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CONTEXT_TIMES_S = range(1_100_000_000, 1_200_000_000)


@dataclass(frozen=True)
class File:
    content: bytes = b""
    mode: int = 0o644
    mtime_s: int = 0
    """0 is the case's own."""
    owner: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    target: str


@dataclass(frozen=True)
class HardLink:
    """The same file as another path of the context, which stands before it."""

    path: str


@dataclass(frozen=True)
class Dir:
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Fifo:
    pass


Entry = File | Link | HardLink | Dir | Fifo | str | bytes
Files = Mapping[str, Entry]


@dataclass(frozen=True)
class Case:
    """`fails`: our error code where the build must fail, with the reference too. `again` changes the context (None removes a file) for a second build whose
    cached steps are compared; `again_args` are that build's flags. `contexts` are named contexts. `older` says why Docker 20.10 may do otherwise,
    `differs` why we do."""

    name: str
    dockerfile: str
    files: Files = field(default_factory=dict)
    args: tuple[str, ...] = ()
    fails: str = ""
    again: Mapping[str, Entry | None] | None = None
    again_args: tuple[str, ...] | None = None
    contexts: Mapping[str, Files] = field(default_factory=dict)
    file: str = "Dockerfile"
    older: str = ""
    differs: str = ""
    theme: str = ""

    @property
    def id(self) -> str:
        return f"{self.theme}/{self.name}"

    @property
    def mtime_s(self) -> int:
        """When everything in the context was last changed: long ago, so that a time that was kept can be told from now, and for each case another time,
        because BuildKit takes files of one name, size and time for one file, across contexts."""
        return CONTEXT_TIMES_S[zlib.crc32(self.id.encode()) % (len(CONTEXT_TIMES_S) - 60)]


def write_context(directory: Path, case: Case) -> None:
    """Write a case's context with its Dockerfile into an empty directory, named contexts beside it."""
    _write(directory / "context", {case.file: case.dockerfile, **case.files}, case.mtime_s)
    for name, files in case.contexts.items():
        _write(directory / name, files, case.mtime_s)


def change(directory: Path, case: Case) -> None:
    """Apply a case's changes to its context; a changed file is a new file with a new time."""
    changes = case.again or {}
    for path in changes:
        if os.path.lexists(directory / "context" / path):
            (directory / "context" / path).unlink()
    _write(directory / "context", {path: entry for path, entry in changes.items() if entry is not None}, case.mtime_s + 60)


def _write(root: Path, files: Files, mtime_s: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for path, entry in files.items():
        _make(root, root / path, entry, mtime_s)
    directories = {root / path: entry for path, entry in files.items() if isinstance(entry, Dir)}
    for found, names, _ in os.walk(root, topdown=False):
        for place in [Path(found) / name for name in names] + ([root] if Path(found) == root else []):
            if not place.is_symlink():
                os.chmod(place, directories[place].mode if place in directories else 0o755)
                os.utime(place, (mtime_s, mtime_s))


def _make(root: Path, place: Path, entry: Entry, mtime_s: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    match entry:
        case str() | bytes():
            _make(root, place, File(entry.encode() if isinstance(entry, str) else entry), mtime_s)
        case File():
            place.write_bytes(entry.content)
            os.chown(place, *entry.owner)
            os.chmod(place, entry.mode)
            for name, data in entry.xattrs.items():
                os.setxattr(place, name, data)
            os.utime(place, (entry.mtime_s or mtime_s,) * 2)
        case Link():
            place.symlink_to(entry.target)
            os.utime(place, (mtime_s, mtime_s), follow_symlinks=False)
        case HardLink():
            os.link(root / entry.path, place)
        case Dir():
            place.mkdir(exist_ok=True)
            os.chown(place, *entry.owner)
        case Fifo():
            os.mkfifo(place)
            os.utime(place, (mtime_s, mtime_s))

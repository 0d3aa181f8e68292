"""What an ecosystem's tool means by the files of its cache: the protocol, and what holds where nobody knows better. Pure.

An adapter recognises its files by their place relative to each other, never by the volume's name, so a moved repository is found too. Each
method answers for paths of the volume; `Plain` has the answers for what an adapter says nothing about.
"""

from chandlery.values import value

LONGEST_NAME = 200


@value
class MutableName:
    """What a tool looked up under a name whose meaning may change upstream: of which kind, the name as people write it, and the validator that came with
    what it meant then ("" where there is none)."""

    kind: str
    name: str
    validator: str = ""


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    Read = Callable[[str], bytes]

    class Files(Protocol):
        """What a volume shows once a step is over: the step's files over those that it found. Directories are no files."""

        def has(self, path: str) -> bool: ...

        def has_directory(self, path: str) -> bool: ...

        def read(self, path: str) -> bytes:
            """The content of a regular file; empty where there is none."""
            ...

        def target(self, path: str) -> str:
            """Where a symbolic link points; "" where there is none."""
            ...

        def below(self, directory: str) -> tuple[str, ...]:
            """The files in a directory and below it, in order."""
            ...

    class Adapter(Protocol):
        name: str
        observes: str  # pattern of the paths of which `observed` may know something, "" for none; directories end with "/"
        traces: tuple[str, ...]  # one of these is in each of those paths

        def observed(self, path: str, read: Read) -> MutableName | None:
            """The mutable name that the tool resolved, as a file of its cache tells; `read` may give a file's beginning, and b"" for none."""
            ...

        def may_use(self, name: MutableName, directories: "set[str]") -> bool:
            """Whether a step that opened files of the cache in those directories may have made use of what a name means."""
            ...

        def is_never_stored(self, path: str) -> bool:
            """A lock, failure marker or partial download of the tool, or what it notes about this machine alone."""
            ...

        def unit_of(self, path: str) -> str:
            """The directory (or the name that its files share) that is whole or absent; "" if `path` stands alone."""
            ...

        def ignores_time(self, path: str) -> bool:
            """Whether a file that was written anew with the same content may keep the earlier time that it had."""
            ...

        def is_broken(self, unit: str, files: Files) -> bool:
            """Whether a unit carries the tool's own mark of being half made, whatever the step's exit code."""
            ...

        def is_complete(self, unit: str, files: Files) -> bool:
            """Whether a unit that a failed step touched is known to be whole."""
            ...

        def is_index(self, path: str) -> bool:
            """Whether two versions of a file may be mergeable: only then are they read."""
            ...

        def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
            """The content that serves both writers, the same in whatever order many are merged; None if one side must win."""
            ...

        def private(self, paths: "Iterable[str]", files: Files) -> "Iterable[str]":
            """Those of a step's files that the project made itself, so that they stay in its branch's scope."""
            ...

        def may_share(self, path: str, files: Files) -> bool:
            """Whether a failed step's file, which is in no unit, is provably complete."""
            ...


class Plain:
    """Nothing special about any path, and nothing vouched for."""

    name = ""
    observes = ""
    traces: tuple[str, ...] = ()

    def observed(self, path: str, read: "Read") -> MutableName | None:
        return None

    def may_use(self, name: MutableName, directories: "set[str]") -> bool:
        return True

    def is_never_stored(self, path: str) -> bool:
        return False

    def unit_of(self, path: str) -> str:
        return ""

    def ignores_time(self, path: str) -> bool:
        return False

    def is_broken(self, unit: str, files: "Files") -> bool:
        return False

    def is_complete(self, unit: str, files: "Files") -> bool:
        return False

    def is_index(self, path: str) -> bool:
        return False

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        return None

    def private(self, paths: "Iterable[str]", files: "Files") -> "Iterable[str]":
        return ()

    def may_share(self, path: str, files: "Files") -> bool:
        return False


def union_of_lines(ours: bytes, theirs: bytes) -> bytes:
    """The lines of both, sorted, so that any order of merging gives the same bytes."""
    return b"".join([line + b"\n" for line in sorted({*ours.splitlines(), *theirs.splitlines()}) if line])


def after(parts: list[str], *names: str) -> int:
    """The index just behind a run of directory names in a path; -1 if it has none. The last part is no directory."""
    for start in range(len(parts) - len(names)):
        if tuple(parts[start : start + len(names)]) == names:
            return start + len(names)
    return -1

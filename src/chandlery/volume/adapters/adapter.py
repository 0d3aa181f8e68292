"""What an ecosystem's tool means by the files of its cache: the protocol, and what holds where nobody knows better. Pure.

An adapter recognises its files by their place relative to each other, never by the volume's name, so a moved repository is found too. Each
method answers for one path of the volume; `Plain` has the answers for what an adapter says nothing about.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    Read = Callable[[str], bytes]

    class Adapter(Protocol):
        """`paths` are those of one tree or delta; `read` gives the content of one of them."""

        name: str

        def is_never_stored(self, path: str) -> bool:
            """A lock, failure marker or partial download of the tool."""
            ...

        def unit_of(self, path: str) -> str:
            """The directory (or file that the others stand by) that is whole or absent; "" if `path` stands alone."""
            ...

        def is_complete(self, unit: str, paths: frozenset[str]) -> bool:
            """Whether a unit that a failed step left is known to be whole."""
            ...

        def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
            """The content that serves both writers; None if the file is no index that can be merged."""
            ...

        def is_private(self, path: str, paths: frozenset[str], read: Read) -> bool:
            """Whether the project made this itself, so that it stays in its branch's scope."""
            ...

        def may_share(self, path: str, paths: frozenset[str], read: Read) -> bool:
            """Whether a failed step's file is provably complete."""
            ...


class Plain:
    """Nothing special about any path, and nothing vouched for."""

    name = ""

    def is_never_stored(self, path: str) -> bool:
        return False

    def unit_of(self, path: str) -> str:
        return ""

    def is_complete(self, unit: str, paths: frozenset[str]) -> bool:
        return False

    def merge_index(self, path: str, ours: bytes, theirs: bytes) -> bytes | None:
        return None

    def is_private(self, path: str, paths: frozenset[str], read: "Read") -> bool:
        return False

    def may_share(self, path: str, paths: frozenset[str], read: "Read") -> bool:
        return False


def union_of_lines(ours: bytes, theirs: bytes) -> bytes:
    """The lines of both, sorted where they differ, so that either order of merging gives the same bytes."""
    common = [line for line in ours.splitlines() if line in set(theirs.splitlines())]
    rest = sorted(set(ours.splitlines()) ^ set(theirs.splitlines()))
    return b"".join(line + b"\n" for line in [*common, *rest])


def up_to(path: str, count: int) -> str:
    """The first `count` parts of a path."""
    return "/".join(path.split("/")[:count])

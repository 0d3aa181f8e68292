"""`StepFiles`: what a volume shows once a step is over, as adapters ask for it: the step's own entries, over the layers that it found."""

import os
import stat
from bisect import bisect_left

from chandlery.volume import nodes
from chandlery.volume.tree import Entry, EntryType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class StepFiles:
    """The delta in directory `tree`, described by `entries`, over `layers` (bottom first), less what the step deleted."""

    def __init__(self, tree: str, entries: "Iterable[Entry]", layers: tuple[str, ...] = (), deleted: "Iterable[str]" = ()) -> None:
        self._tree, self._layers, self._deleted = tree, layers, frozenset(deleted)
        self._own = {entry.path: entry for entry in entries}
        self._sorted = sorted(path for path, entry in self._own.items() if not entry.is_directory)

    def has(self, path: str) -> bool:
        own = self._own.get(path)
        return not own.is_directory if own is not None else self._is_directory(path) is False

    def has_directory(self, path: str) -> bool:
        own = self._own.get(path)
        return own.is_directory if own is not None else self._is_directory(path) is True

    def read(self, path: str) -> bytes:
        own = self._own.get(path)
        if own is not None:
            place = f"{self._tree}/{path}"
        else:
            place = "" if self._is_deleted(path) else nodes.lookup(self._layers, path)
        try:
            with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                return file.read()
        except OSError:
            return b""

    def target(self, path: str) -> str:
        """Of the step's own links alone."""
        own = self._own.get(path)
        return own.target if own is not None and own.type is EntryType.SYMLINK else ""

    def below(self, directory: str) -> tuple[str, ...]:
        found = set(self.own_below(directory))
        found.update(self.found_below(directory))
        return tuple(sorted(found))

    def own_below(self, directory: str) -> list[str]:
        """The step's own files in a directory and below it."""
        prefix = directory + "/"
        start = bisect_left(self._sorted, prefix)
        # "0" is the character behind "/"
        return self._sorted[start : bisect_left(self._sorted, directory + "0")]

    def found_below(self, directory: str) -> list[str]:
        """The files in a directory and below it that the step found and left alone."""
        result, pending = [], [directory] if self._layers else []
        while pending:
            place = pending.pop()
            for name in nodes.names_in(self._layers, place):
                path = nodes.below(place, name)
                own = self._own.get(path)
                if self._is_deleted(path) or (own is not None and not own.is_directory):
                    continue
                if stat.S_ISDIR(os.lstat(nodes.lookup(self._layers, path)).st_mode):
                    pending.append(path)
                else:
                    result.append(path)
        return result

    def _is_directory(self, path: str) -> bool | None:
        """Whether the layers have a directory at `path`; None if they have nothing."""
        place = "" if self._is_deleted(path) else nodes.lookup(self._layers, path)
        return stat.S_ISDIR(os.lstat(place).st_mode) if place else None

    def _is_deleted(self, path: str) -> bool:
        if not self._deleted:
            return False
        parts = path.split("/")
        return any("/".join(parts[:depth]) in self._deleted for depth in range(1, len(parts) + 1))

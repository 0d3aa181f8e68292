"""`AtHand`: what of the wanted files this machine has already, in whatever volume. An object that is the same inode is linked; the same content under
another time or mode is copied, and believed when the copy hashes to what was promised.
"""

import os

from chandlery.errors import StoreError
from chandlery.linux.atomic import remove_if_there
from chandlery.volume import nodes
from chandlery.volume.fetched_tree import FetchedTree
from chandlery.volume.objects import SMALLEST_BYTES, Objects, key_of, sha256_of
from chandlery.volume.tree import Entry, EntryType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class AtHand:
    """For one attempt of a pull. `mine` are the volume's own entries and `path_of` tells where their files are. Inside one tree an inode is linked once: where
    they are not all known (`knows_all`) nothing is linked. `before` is the attempt before this one, whose files are taken."""

    def __init__(
        self, objects: Objects, mine: "Iterable[Entry]", path_of: "Callable[[Entry], str]", *, before: "AtHand | None" = None, knows_all: bool = True
    ) -> None:
        self._objects = objects
        self._path_of = path_of
        self._own = {entry.sha256: entry for entry in mine if entry.sha256 and entry.size >= SMALLEST_BYTES}
        # hashes of keys, which are long: of two alike one is copied
        self._linked: set[int] | None = {hash(key_of(entry)) for entry in self._own.values()} if knows_all else None
        self._fetched: list[tuple[str, tuple[Entry, ...]]] = []
        self._earlier: dict[Entry, str] = before._files() if before is not None else {}

    def note(self, tree: str, entries: "tuple[Entry, ...]") -> None:
        """What was fetched into a directory, which is of use if the pull has to begin again."""
        self._fetched.append((tree, entries))

    def _files(self) -> dict[Entry, str]:
        return {entry: f"{tree}/{entry.path}" for tree, entries in self._fetched for entry in entries if entry.type is EntryType.FILE}

    def may_have(self, entry: Entry) -> bool:
        """Whether `put` has anything to try."""
        if entry in self._earlier:
            return True
        # an object that could be linked is among those with the content
        return entry.size >= SMALLEST_BYTES and any(True for _ in self._sources(entry))

    def put(self, tree: FetchedTree, entry: Entry) -> bool:
        """Make a file of the tree from what is here; False if there is nothing of that content."""
        earlier = self._earlier.pop(entry, "")
        if earlier:
            os.rename(earlier, tree.new_path(entry))
            if self._linked is not None:
                self._linked.add(hash(key_of(entry)))
            tree.done(entry)
            return True
        if entry.size < SMALLEST_BYTES:
            return False
        target = tree.new_path(entry)
        try:
            is_there = self._link(entry, target) or any(_copied(source, target, entry) for source in self._sources(entry))
        except (OSError, StoreError):
            is_there = False
        if is_there:
            tree.done(entry)
        else:
            remove_if_there(target)
        return is_there

    def _link(self, entry: Entry, target: str) -> bool:
        if self._linked is None:
            return False
        key = hash(key_of(entry))
        source = "" if key in self._linked else self._objects.find(entry)
        if not source:
            return False
        self._objects.link_out(source, target)
        self._linked.add(key)
        return True

    def _sources(self, entry: Entry) -> "Iterable[str]":
        own = self._own.get(entry.sha256)
        if own is not None:
            yield self._path_of(own)
        yield from self._objects.with_content(entry.sha256)


def _copied(source: str, target: str, entry: Entry) -> bool:
    try:
        nodes.copy_content(source, target)
    except FileNotFoundError:
        return False
    if sha256_of(target) != entry.sha256:
        os.unlink(target)
        return False
    nodes.set_entry_metadata(target, entry)
    return True

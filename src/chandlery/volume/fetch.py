"""Fetching what a volume lacks, as a directory that is a layer: from what this machine has already, then frame by frame from packs.

Nothing in a pack is trusted: a table's sha256 is in the head, each file's in the table, and a file gets its name only when the bytes that were
written hash to it. What can't be had is left out with a warning; `missing` are then the packs whose deltas are not complete here.
"""

from functools import partial

from chandlery.errors import ChandleryError, StoreError, Unavailable
from chandlery.values import value
from chandlery.volume import pack
from chandlery.volume.fetched_tree import FetchedTree
from chandlery.volume.pack import PackRef, Table
from chandlery.volume.pack_reader import WORKERS, PackReader
from chandlery.volume.pieces import Piece
from chandlery.volume.problem import Problem, problem_of
from chandlery.volume.tree import Entry, EntryType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    class AtHand(Protocol):
        def may_have(self, entry: Entry) -> bool:
            """Whether `put` has anything to try."""

        def put(self, tree: FetchedTree, entry: Entry) -> bool:
            """Make a file of the tree from what this machine has; False if it has nothing of that content."""

        def note(self, tree: str, entries: tuple[Entry, ...]) -> None:
            """Hear what was fetched, and where it is now."""


# frames closer than this are fetched by one request; requests are large, but so many that all workers have one
_GAP_BYTES = 64 << 10
_SPAN_BYTES, _SMALLEST_SPAN_BYTES = 64 << 20, 8 << 20


@value
class Fetched:
    """`entries` are on disk, directories before what is in them. `files` and `size_bytes` count what came from packs."""

    entries: tuple[Entry, ...]
    missing: tuple[PackRef, ...] = ()
    warnings: tuple[Problem, ...] = ()
    files: int = 0
    size_bytes: int = 0


@value
class Span:
    """Neighbouring frames of a pack, fetched by one request."""

    start: int
    end: int
    frames: tuple[int, ...]


def spans(table: Table, frames: "Iterable[int]") -> list[Span]:
    """The requests that bring these frames."""
    made: list[Span] = []
    parts: list[list[int]] = []
    ordered = sorted(set(frames), key=lambda number: table.frames[number].start)
    share = sum(table.frames[number].size_bytes for number in ordered) // WORKERS
    most_bytes = min(max(share, _SMALLEST_SPAN_BYTES), _SPAN_BYTES)
    for number in ordered:
        frame = table.frames[number]
        end = frame.start + frame.size_bytes
        last = made[-1] if made else None
        if last is not None and frame.start - last.end <= _GAP_BYTES and end - last.start <= most_bytes:
            parts[-1].append(number)
            made[-1] = Span(last.start, max(end, last.end), ())
        else:
            parts.append([number])
            made.append(Span(frame.start, end, ()))
    return [Span(span.start, span.end, tuple(part)) for span, part in zip(made, parts, strict=True)]


def build_tree(
    readers: "Mapping[PackRef, PackReader]", wanted: "Mapping[str, tuple[Entry, PackRef | None]]", target: str, at_hand: "AtHand | None" = None
) -> Fetched:
    """Make the new directory `target` hold the wanted entries (path -> entry and the pack that has it; None for directories that are here).

    What this machine has nothing of is asked for first: directories are made, and the rest is looked for here, while that is on its way.
    """
    from concurrent.futures import ThreadPoolExecutor

    tree = FetchedTree(target, [entry for entry, _ in wanted.values() if entry.type is not EntryType.FILE])
    lacking: dict[PackRef, list[int]] = {}
    perhaps: dict[PackRef, list[int]] = {}
    for item in dict.fromkeys(item for entry, item in wanted.values() if entry.type is EntryType.FILE and item is not None):
        for row, entry in enumerate(readers[item].read_table().entries):
            found = wanted.get(entry.path) if entry.type is EntryType.FILE else None
            if found is not None and found[1] is item and found[0] == entry:
                (perhaps if at_hand is not None and at_hand.may_have(entry) else lacking).setdefault(item, []).append(row)
    down: dict[str, str] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        downloads = [_Download(readers[item], tree, rows) for item, rows in lacking.items()]
        begun = [pool.submit(download.fetch, span, down) for download in downloads for span in download.spans()]
        tree.make_directories()
        for item, rows in perhaps.items():
            entries = readers[item].read_table().entries
            if left := [row for row in rows if at_hand is None or not at_hand.put(tree, entries[row])]:
                downloads.append(_Download(readers[item], tree, left))
                begun += [pool.submit(downloads[-1].fetch, span, down) for span in downloads[-1].spans()]
        for done in begun:
            done.result()
        for done in [pool.submit(download.finish, row) for download in downloads for row in download.in_parts()]:
            done.result()
    missing = tuple(dict.fromkeys(download.reader.ref for download in downloads if download.failed))
    warnings = tuple([download.told() for download in downloads if download.failed])
    counts = [download.fetched() for download in downloads]
    entries = tree.finish()
    if at_hand is not None:
        at_hand.note(target, entries)
    return Fetched(entries, missing, warnings, sum(files for files, _ in counts), sum(size_bytes for _, size_bytes in counts))


class _Download:
    """What is wanted of one pack: `rows` of its table, by their numbers."""

    def __init__(self, reader: PackReader, tree: FetchedTree, rows: list[int]) -> None:
        self.reader, self._tree = reader, tree
        self._table = reader.read_table()
        # by frame: files that are in it as a whole, and of others what of them is where (row, place in the file, piece)
        self._rows_of: dict[int, list[int]] = {}
        self._parts_of: dict[int, list[tuple[int, int, Piece]]] = {}
        self.rows = rows
        self.failed: dict[str, Problem] = {}
        for row in rows:
            self._want(row)

    def _want(self, row: int) -> None:
        pieces = self._table.pieces
        if pieces.count(row) == 1:
            self._rows_of.setdefault(pieces.first_frame(row), []).append(row)
            return
        at = 0
        for piece in pieces.of(row):
            self._parts_of.setdefault(piece.frame, []).append((row, at, piece))
            at += piece.size_bytes

    def spans(self) -> list[Span]:
        return spans(self._table, (*self._rows_of, *self._parts_of))

    def fetch(self, span: Span, down: dict[str, str]) -> None:
        """Have one span's pieces on the disk. Nothing more is asked of a remote once `down` says why it can't be reached."""
        left = list(span.frames)
        remote = self.reader.remote.name
        try:
            if remote in down:
                raise Unavailable(down[remote])
            for number, data in self.reader.frames(span.frames):
                self._tree.wait()
                left.remove(number)
                self._unpack(number, data)
        except (ChandleryError, OSError, ValueError) as broken:
            if isinstance(broken, Unavailable):
                down[remote] = str(broken)
            for number in left:
                self._fail(self._rows_in(number), broken)

    def in_parts(self) -> list[int]:
        """The files that are in several frames, all of which are here, or in none."""
        return [row for row in self.rows if self._table.pieces.count(row) != 1 and self._table.entries[row].path not in self.failed]

    def finish(self, row: int) -> None:
        self._guarded([row], partial(self._tree.finish_file, self._table.entries[row]))

    def fetched(self) -> tuple[int, int]:
        """How many files came, and their bytes."""
        sizes = [entry.size for entry in map(self._table.entries.__getitem__, self.rows) if entry.path not in self.failed]
        return len(sizes), sum(sizes)

    def told(self) -> Problem:
        why = next(iter(self.failed.values()))
        return Problem(f"{len(self.failed)} of {len(self.rows)} files of {self.reader.ref.digest} of {self.reader.remote.name}: {why.text}", why.code)

    def _unpack(self, number: int, data: bytes) -> None:
        plain = memoryview(b"")

        def expand() -> None:
            nonlocal plain
            plain = memoryview(pack.expand(data, self._table.frames[number].plain_bytes))

        if not self._guarded(self._rows_in(number), expand):
            return
        for row in self._rows_of.get(number, ()):
            (piece,), entry = self._table.pieces.of(row), self._table.entries[row]
            self._guarded([row], partial(self._tree.write_file, entry, plain[piece.at : piece.at + piece.size_bytes]))
        for row, at, piece in self._parts_of.get(number, ()):
            content = plain[piece.at : piece.at + piece.size_bytes]
            self._guarded([row], partial(self._tree.write_piece, self._table.entries[row], at, content))

    def _rows_in(self, number: int) -> list[int]:
        """The files that are in a frame, or a part of which is."""
        return [*self._rows_of.get(number, ()), *(row for row, _, _ in self._parts_of.get(number, ()))]

    def _fail(self, rows: list[int], broken: Exception) -> None:
        why = problem_of(broken)
        self.failed.update((self._table.entries[row].path, why) for row in rows)

    def _guarded(self, rows: list[int], act: "Callable[[], None]") -> bool:
        """Whether it went well; what is wrong with what came is wrong with the pack."""
        try:
            act()
        except (ChandleryError, OSError, ValueError) as broken:
            self.reader.is_broken = self.reader.is_broken or isinstance(broken, StoreError)
            self._fail(rows, broken)
            return False
        return True

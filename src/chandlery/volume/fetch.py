"""Fetching what a volume lacks: tables, then the frames that hold wanted files, as a directory that is a layer.

Nothing in a pack is trusted: a table's sha256 is in the head, each file's in the table, and a file gets its name only when the bytes that were
written hash to it. What can't be had is left out with a warning; `missing` are then the packs whose deltas are not complete here.
"""

import hashlib
import os

from chandlery.errors import ChandleryError, StoreError
from chandlery.linux.atomic import write_all
from chandlery.linux.removal import remove_tree
from chandlery.values import value
from chandlery.volume import nodes, pack
from chandlery.volume.pack import PackRef, Table
from chandlery.volume.tree import Entry, EntryType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.volume.protocol import VolumeRemote

_WORKERS = 6
# frames closer than this are fetched by one request; a request is as large as this at most
_GAP_BYTES = 64 << 10
_SPAN_BYTES = 16 << 20


@value
class Fetched:
    """`entries` are on disk, directories before what is in them."""

    entries: tuple[Entry, ...]
    missing: tuple[PackRef, ...]
    warnings: tuple[str, ...]


@value
class Span:
    """Neighbouring frames of a pack, fetched by one request."""

    start: int
    end: int
    frames: tuple[int, ...]


def read_tables(remote: "VolumeRemote", packs: "Iterable[PackRef]") -> "tuple[dict[PackRef, Table], list[str]]":
    """The verified tables of packs, read side by side; those that can't be had are left out, with what was wrong."""
    from concurrent.futures import ThreadPoolExecutor

    tables: dict[PackRef, Table] = {}
    warnings: list[str] = []

    def read(item: PackRef) -> "Table | str":
        try:
            return pack.read_table(remote.read_range(item.digest, item.size_bytes, item.table_at, item.table_bytes), item)
        except (ChandleryError, OSError, ValueError) as broken:
            return f"{item.digest} of {remote.name}: {broken}"

    wanted = list(packs)
    with ThreadPoolExecutor(_WORKERS) as pool:
        for item, found in zip(wanted, pool.map(read, wanted), strict=True):
            if isinstance(found, str):
                warnings.append(found)
            else:
                tables[item] = found
    return tables, warnings


def spans(table: Table, frames: "Iterable[int]") -> list[Span]:
    """The requests that bring these frames."""
    made: list[Span] = []
    for number in sorted(set(frames), key=lambda number: table.frames[number].start):
        frame = table.frames[number]
        end = frame.start + frame.size_bytes
        last = made[-1] if made else None
        if last is not None and frame.start - last.end <= _GAP_BYTES and end - last.start <= _SPAN_BYTES:
            made[-1] = Span(last.start, max(end, last.end), (*last.frames, number))
        else:
            made.append(Span(frame.start, end, (number,)))
    return made


def build_tree(remote: "VolumeRemote", wanted: "dict[str, tuple[Entry, PackRef | None]]", tables: "dict[PackRef, Table]", target: str) -> Fetched:
    """Make the new directory `target` hold the wanted entries (path -> entry and the pack that has it; None for directories that are here)."""
    tree = _Tree(target)
    for entry in pack.parents_first(entry for entry, _ in wanted.values()):
        if entry.is_directory:
            tree.make_directory(entry)
        elif entry.type is not EntryType.FILE:
            tree.make_link(entry)
    by_pack: dict[PackRef, list[Entry]] = {}
    for entry, item in wanted.values():
        if entry.type is EntryType.FILE and item is not None:
            by_pack.setdefault(item, []).append(entry)
    missing, warnings = [], []
    for item, entries in by_pack.items():
        problems = _fetch_files(remote, item, tables[item], entries, tree)
        if problems:
            missing.append(item)
            warnings.append(f"{len(problems)} of {len(entries)} files of {item.digest} of {remote.name}: {problems[0]}")
    return Fetched(tree.finish(), tuple(missing), tuple(warnings))


def _fetch_files(remote: "VolumeRemote", item: PackRef, table: Table, entries: list[Entry], tree: "_Tree") -> list[str]:
    """Fetch some files of one pack; what went wrong, one text a file."""
    from concurrent.futures import ThreadPoolExecutor

    pieces_of: dict[int, list[tuple[Entry, int, pack.Piece]]] = {}
    for entry in entries:
        at = 0
        for piece in table.pieces[entry.path]:
            pieces_of.setdefault(piece.frame, []).append((entry, at, piece))
            at += piece.size_bytes
    failed: dict[str, str] = {}

    def fetch(span: Span) -> None:
        try:
            data = memoryview(remote.read_range(item.digest, item.size_bytes, span.start, span.end - span.start))
        except (ChandleryError, OSError, ValueError) as broken:
            failed.update({entry.path: str(broken) for number in span.frames for entry, _, _ in pieces_of[number]})
            return
        for number in span.frames:
            frame = table.frames[number]
            try:
                begin = frame.start - span.start
                plain = pack.expand(bytes(data[begin : begin + frame.size_bytes]), frame.plain_bytes)
                for entry, at, piece in pieces_of[number]:
                    tree.write_piece(entry, at, plain[piece.at : piece.at + piece.size_bytes])
            except (ChandleryError, OSError, ValueError) as broken:
                failed.update({entry.path: str(broken) for entry, _, _ in pieces_of[number]})

    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(fetch, spans(table, pieces_of)))
    for entry in entries:
        if entry.path not in failed:
            try:
                tree.finish_file(entry)
            except (StoreError, OSError) as broken:
                failed[entry.path] = str(broken)
    return list(failed.values())


class _Tree:
    """A directory in the making, from names that somebody else chose: only below directories that were made here, never through a link."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._directories: dict[str, Entry | None] = {}
        self._done: list[Entry] = []
        self._parts = f"{target}.parts"
        os.mkdir(self._parts, 0o700)
        os.mkdir(target, 0o700)
        self._directories[""] = None

    def make_directory(self, entry: Entry) -> None:
        if entry.path:
            self._parent(entry.path)
            if entry.path not in self._directories:
                os.mkdir(f"{self._target}/{entry.path}", 0o700)
        self._directories[entry.path] = entry

    def make_link(self, entry: Entry) -> None:
        self._parent(entry.path)
        path = f"{self._target}/{entry.path}"
        os.symlink(entry.target, path)
        nodes.set_entry_metadata(path, entry)
        self._done.append(entry)

    def write_piece(self, entry: Entry, at: int, data: bytes) -> None:
        fd = os.open(self._part(entry), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.lseek(fd, at, os.SEEK_SET)
            write_all(fd, data)
        finally:
            os.close(fd)

    def finish_file(self, entry: Entry) -> None:
        """Verify the bytes through the descriptor of the file that then gets its name."""
        part = self._part(entry)
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "rb", buffering=0) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != entry.sha256 or os.fstat(fd).st_size != entry.size:
                os.unlink(part)
                raise StoreError(f"{entry.path} came with other content than was promised", code="volume.wrong-object")
        self._parent(entry.path)
        path = f"{self._target}/{entry.path}"
        os.rename(part, path)
        nodes.set_entry_metadata(path, entry)
        self._done.append(entry)

    def finish(self) -> tuple[Entry, ...]:
        directories = [entry for entry in self._directories.values() if entry is not None]
        for entry in reversed(pack.parents_first(directories)):
            nodes.set_entry_metadata(f"{self._target}/{entry.path}" if entry.path else self._target, entry)
        remove_tree(self._parts)
        return tuple(pack.parents_first([*directories, *self._done]))

    def _parent(self, path: str) -> None:
        parent = os.path.dirname(path)
        if parent not in self._directories:
            raise StoreError(f"{path} is in no directory", code="volume.bad-table")

    def _part(self, entry: Entry) -> str:
        return f"{self._parts}/{hashlib.sha256(os.fsencode(entry.path)).hexdigest()}"

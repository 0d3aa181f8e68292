"""Bundles: blobs that hold copies of several packs' tables of contents, one behind the other, so that a machine which has none of them needs one request.

A head names them, and what is where in them. Each table is verified as its pack names it, by size and sha256, before it is parsed: a bundle that is lost or
wrong costs requests, never content, and versions that know of none leave them out. Most tables need none: the smallest lie in the head (remote_head.py).
A bundle is made where more than MOST_REQUESTS would be needed; it takes what isn't much larger, so each table is moved again a logarithmic number of times.
"""

import hashlib
import threading

from chandlery.errors import ChandleryError, LyingRegistry, NotFound
from chandlery.oci.digest import Digest, from_hex
from chandlery.values import value
from chandlery.volume.compaction import CHEAP_BYTES
from chandlery.volume.pack import MAX_TABLE_BYTES
from chandlery.volume.table_check import is_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from chandlery.volume.pack import PackRef
    from chandlery.volume.protocol import VolumeRemote

# with a list of heads and a head that makes five
MOST_REQUESTS = 3
# no request is saved by reading more than this beside a table that is wanted
_IDLE_BYTES = 256 << 10
_MOST_BUNDLES, _MOST_TABLES, _MOST_BYTES = 8, 256, 64 << 20
_PIECE_BYTES = 1 << 20


@value
class Bundle:
    """`tables` are (sha256, size), in their order."""

    digest: Digest
    tables: tuple[tuple[str, int], ...]

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size in self.tables)


@value
class Span:
    """Neighbouring tables of a bundle, of which some are `wanted`: (sha256, size, where they begin within it)."""

    start: int
    size_bytes: int
    wanted: tuple[tuple[str, int, int], ...]


def encode(bundle: Bundle) -> "dict[str, Any]":
    return {"digest": str(bundle.digest), "tables": [list(table) for table in bundle.tables]}


def decode(document: object) -> tuple[Bundle, ...]:
    """Nobody needs them: what isn't understood is none."""
    try:
        found = [Bundle(Digest(item["digest"]), tuple([(sha256, size) for sha256, size in item["tables"]])) for item in document]  # type: ignore[attr-defined]
    except (ChandleryError, KeyError, TypeError, ValueError, AttributeError):
        return ()
    return tuple([bundle for bundle in found[:_MOST_BUNDLES] if _is_possible(bundle)])


def _is_possible(bundle: Bundle) -> bool:
    are_counts = all(is_count(size) and size <= MAX_TABLE_BYTES and isinstance(sha256, str) for sha256, size in bundle.tables)
    return are_counts and len(bundle.tables) <= _MOST_TABLES and bundle.size_bytes <= _MOST_BYTES


def useful(bundles: "Iterable[Bundle]", wanted: "Mapping[str, int]") -> list[tuple[Bundle, Span]]:
    """Which parts of which bundles save requests where tables of these sha256 and sizes are wanted, each of them in one."""
    left = dict(wanted)
    result = []
    for bundle in sorted(bundles, key=lambda bundle: (-len(left.keys() & dict(bundle.tables).keys()), bundle.digest)):
        span = _span(bundle, left)
        if span is not None:
            result.append((bundle, span))
            for sha256, _, _ in span.wanted:
                del left[sha256]
    return result


def _span(bundle: Bundle, wanted: "Mapping[str, int]") -> Span | None:
    places: dict[str, tuple[int, int]] = {}
    at = 0
    for sha256, size in bundle.tables:
        if wanted.get(sha256) == size:
            places.setdefault(sha256, (size, at))
        at += size
    if len(places) < 2:
        return None
    start = min(at for _, at in places.values())
    end = max(at + size for size, at in places.values())
    idle = end - start - sum(size for size, _ in places.values())
    if idle > _IDLE_BYTES * (len(places) - 1):
        return None
    return Span(start, end - start, tuple([(sha256, size, at - start) for sha256, (size, at) in places.items()]))


class BundleReader:
    """What is wanted of one bundle, in the file `scratch` once somebody asks for it. Threads may share it."""

    def __init__(self, remote: "VolumeRemote", bundle: Bundle, span: Span, scratch: str) -> None:
        self.bundle = bundle
        self.is_broken = False
        self._remote, self._span, self._scratch = remote, span, scratch
        self._places = {sha256: (at, size) for sha256, size, at in span.wanted}
        self._lock = threading.Lock()
        self._is_here: bool | None = None

    def table(self, sha256: str) -> bytes:
        """The copy of a table; b"" where it can't be had here."""
        with self._lock:
            if self._is_here is None:
                self._is_here = self._fetch()
        at, size = self._places.get(sha256, (0, 0))
        if not (self._is_here and size):
            return b""
        with open(self._scratch, "rb", buffering=0) as file:
            file.seek(at)
            found = file.read(size)
        if hashlib.sha256(found).hexdigest() != sha256:
            self.is_broken = True
            return b""
        return found

    def _fetch(self) -> bool:
        try:
            with open(self._scratch, "wb") as file:
                for piece in _read(self._remote, self.bundle.digest, self.bundle.size_bytes, self._span.start, self._span.size_bytes):
                    file.write(piece)
        except (NotFound, LyingRegistry):
            self.is_broken = True
            return False
        except (ChandleryError, OSError):
            return False
        return True


def readers(sides: "Iterable[tuple[VolumeRemote, Sequence[Bundle]]]", packs: "Iterable[PackRef]", scratch: str) -> dict[str, BundleReader]:
    """For the tables of packs that lie in bundles, by their sha256."""
    remotes = {bundle: remote for remote, bundles in sides for bundle in bundles}
    found = useful(remotes, {item.table_sha256: item.table_bytes for item in packs})
    made = [BundleReader(remotes[bundle], bundle, span, f"{scratch}/bundle-{number}") for number, (bundle, span) in enumerate(found)]
    return {sha256: reader for reader in made for sha256 in reader._places}


def arranged(remote: "VolumeRemote", packs: "Sequence[PackRef]", known: "Iterable[Bundle]", at_hand: "Mapping[str, bytes]", scratch: str) -> tuple[Bundle, ...]:
    """The bundles to name for packs whose tables aren't in the head: of those that are known, and one that is made and stored if there are too many
    requests without. `at_hand` are tables by their sha256. Raises ChandleryError, OSError: then what is known is all."""
    tables = {item.table_sha256: item.table_bytes for item in packs}
    kept = useful(known, tables)
    bundled = {sha256 for _, span in kept for sha256, _, _ in span.wanted}
    loose = [item for item in packs if item.table_sha256 not in bundled]
    names = tuple([bundle for bundle, _ in kept])
    chosen = _to_bundle(loose, kept)
    if not chosen:
        return names
    path = f"{scratch}/made"
    made = _made(remote, sorted(chosen, key=_cost, reverse=True), at_hand, path, scratch)
    if len(made.tables) < 2:
        return names
    remote.put_blob(path, made.digest, made.size_bytes)
    return (*[bundle for bundle, span in kept if (bundle, span) not in chosen], made)


def _cost(unit: "PackRef | tuple[Bundle, Span]") -> int:
    return unit[1].size_bytes if isinstance(unit, tuple) else unit.table_bytes


def _to_bundle(loose: "list[PackRef]", kept: "list[tuple[Bundle, Span]]") -> "list[PackRef | tuple[Bundle, Span]]":
    """What becomes one bundle. Packs that the next publication makes another one of come last: their tables are superseded soon."""
    steady: list[PackRef | tuple[Bundle, Span]] = [*kept, *(item for item in loose if item.size_bytes > CHEAP_BYTES)]
    units = [*sorted(steady, key=_cost), *sorted([item for item in loose if item.size_bytes <= CHEAP_BYTES], key=_cost)]
    needed = len(units) - MOST_REQUESTS + 1
    if len(units) <= MOST_REQUESTS:
        return []
    chosen: list[PackRef | tuple[Bundle, Span]] = []
    size_bytes = 0
    for number, unit in enumerate(units):
        is_worth_it = number < len(steady) and _cost(unit) <= 2 * size_bytes
        if (number >= needed and not is_worth_it) or size_bytes + _cost(unit) > _MOST_BYTES:
            break
        chosen.append(unit)
        size_bytes += _cost(unit)
    return chosen if len(chosen) > 1 else []


def _made(remote: "VolumeRemote", units: "Iterable[PackRef | tuple[Bundle, Span]]", at_hand: "Mapping[str, bytes]", path: str, scratch: str) -> Bundle:
    """Write a bundle to a file, of what can be had."""
    hasher = hashlib.sha256()
    tables: list[tuple[str, int]] = []
    with open(path, "wb") as file:
        for number, unit in enumerate(units):
            for sha256, table in _tables(remote, unit, at_hand, f"{scratch}/old-{number}"):
                if table and hashlib.sha256(table).hexdigest() == sha256:
                    file.write(table)
                    hasher.update(table)
                    tables.append((sha256, len(table)))
    return Bundle(from_hex(hasher.hexdigest()), tuple(tables))


def _tables(remote: "VolumeRemote", unit: "PackRef | tuple[Bundle, Span]", at_hand: "Mapping[str, bytes]", scratch: str) -> "Iterable[tuple[str, bytes]]":
    if isinstance(unit, tuple):
        reader = BundleReader(remote, *unit, scratch)
        return ((sha256, reader.table(sha256)) for sha256, _, _ in unit[1].wanted)
    if unit.table_sha256 in at_hand:
        return ((unit.table_sha256, at_hand[unit.table_sha256]),)
    return ((unit.table_sha256, b"".join(_read(remote, unit.digest, unit.size_bytes, unit.table_at, unit.table_bytes))),)


def _read(remote: "VolumeRemote", digest: Digest, blob_bytes: int, start: int, size_bytes: int) -> "Iterator[bytes]":
    """Part of a blob, in pieces; what is before it comes, too, where ranges are ignored."""
    stream = remote.open_blob(digest, blob_bytes, start, size_bytes)
    try:
        before = start - stream.start
        while before:
            before -= len(stream.read(min(before, _PIECE_BYTES)))
        while size_bytes:
            piece = stream.read(min(size_bytes, _PIECE_BYTES))
            size_bytes -= len(piece)
            yield piece
    finally:
        stream.close()

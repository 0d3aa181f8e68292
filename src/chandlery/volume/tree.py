"""What a cache volume holds, as values: entries, generations, deltas, and their one encoding. Pure.

An *entry* is one path with everything a machine needs to show it. A *generation* is the whole tree at one moment, with a version vector that
says which deltas it has absorbed. A *delta* is what one step added to the generation that it started from. Paths are relative, "" is the
volume's root, and as `os.fsdecode` gives them; in documents, bytes that aren't UTF-8 are percent-encoded (and so is "%").

Every entry carries its `Version`: which writer's (`slot`) how-manieth delta (`sequence`) wrote it, and that delta's Lamport number. No clock
and no modification time is ever compared. Documents carry `format: 1`; one of another format, or that requires a feature that this
program doesn't know, is refused and never half understood.
"""

from bisect import bisect_left
from enum import StrEnum

from chandlery.errors import StoreError
from chandlery.oci import canonical
from chandlery.values import compact, value
from chandlery.volume.json_rows import JsonRows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from typing import Any

FORMAT = 1
# how far deltas are counted: further than anybody gets, and exact in every JSON library
MAX_COUNT = 1 << 53


class EntryType(StrEnum):
    FILE = "file"
    DIRECTORY = "dir"
    SYMLINK = "symlink"
    HARD_LINK = "link"


_PIECE_BYTES = 64 << 10
_TYPES = {kind.value: kind for kind in EntryType}


@compact
class Version:
    """Who wrote something. (slot, sequence) names one delta; causally later deltas have a larger `lamport`."""

    lamport: int
    slot: str
    sequence: int


@compact
class Entry:
    """One path. `target` is where a symlink points, or the path whose inode a hard link shares (its other fields are its own, so it can stand alone). In a pack
    hard links are files of their own, for whoever takes them alone; there `target` of a file is the path with which it shares an inode where it comes from.

    `sha256` is empty until the content was read; `mode` are permission bits without set-uid; `uid` and `gid` are those seen in the container.
    `only_in` is the scope that alone may see what the project made itself; "" for what everybody may.
    """

    path: str
    type: EntryType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    version: Version
    size: int = 0
    sha256: str = ""
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    only_in: str = ""

    @property
    def is_directory(self) -> bool:
        return self.type is EntryType.DIRECTORY


@value
class VersionVector:
    """For each writer how many of its deltas are absorbed; always a downward closed set. `seen` is sorted by slot."""

    seen: tuple[tuple[str, int], ...] = ()

    def covers(self, version: Version) -> bool:
        return version.sequence <= self.count(version.slot)

    def count(self, slot: str) -> int:
        # asked for each entry, where ten thousand writers are nothing unusual
        at = bisect_left(self.seen, (slot,))
        return self.seen[at][1] if at < len(self.seen) and self.seen[at][0] == slot else 0

    def advanced(self, slot: str, sequence: int) -> "VersionVector":
        return self.joined(VersionVector(((slot, sequence),)))

    def joined(self, other: "VersionVector") -> "VersionVector":
        counts = dict(self.seen)
        for slot, sequence in other.seen:
            counts[slot] = max(sequence, counts.get(slot, 0))
        return VersionVector(tuple(sorted(counts.items())))

    def __le__(self, other: "VersionVector") -> bool:
        counts = dict(other.seen)
        return all(sequence <= counts.get(slot, 0) for slot, sequence in self.seen)


EMPTY_VECTOR = VersionVector()


@value
class Delta:
    """What one step added. `base` is the vector of the generation that it saw: everything else is concurrent with it."""

    version: Version
    base: VersionVector
    entries: tuple[Entry, ...]


class Generation:
    """A tree with its history: for each path the versions that no other one has superseded, nearly always exactly one.

    `tombstones` are explicit removals: everything at or below the path that the vector covers is gone for good. Treat as immutable.
    """

    __slots__ = ("lamport", "registers", "tombstones", "vector")

    def __init__(
        self,
        vector: VersionVector = EMPTY_VECTOR,
        lamport: int = 0,
        registers: "Mapping[str, frozenset[Entry]] | None" = None,
        tombstones: "Mapping[str, VersionVector] | None" = None,
    ) -> None:
        self.vector = vector
        self.lamport = lamport
        self.registers: Mapping[str, frozenset[Entry]] = registers or {}
        self.tombstones: Mapping[str, VersionVector] = tombstones or {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Generation):
            return NotImplemented
        return (self.vector, self.lamport, self.registers, self.tombstones) == (other.vector, other.lamport, other.registers, other.tombstones)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Generation({self.vector}, lamport={self.lamport}, {len(self.registers)} paths, {len(self.tombstones)} tombstones)"


def ancestors(path: str) -> list[str]:
    """The directories above a path, the root ("") first; none for the root itself."""
    if not path:
        return []
    parts = path.split("/")
    return ["", *("/".join(parts[:depth]) for depth in range(1, len(parts)))]


def is_beneath(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or below it."""
    return not directory or path == directory or path.startswith(directory + "/")


def encode_path(path: str) -> str:
    """Percent-encode what isn't UTF-8, and "%", so that the result is plain text and one-to-one."""
    if path.isascii() and "%" not in path:
        return path
    return "".join([f"%{ord(char) - 0xDC00:02X}" if 0xDC80 <= ord(char) <= 0xDCFF else "%25" if char == "%" else char for char in path])


def decode_path(text: str) -> str:
    if "%" not in text:
        return text
    head, *escaped = text.split("%")
    raw = head.encode() + b"".join(bytes([int(part[:2], 16)]) + part[2:].encode() for part in escaped)
    return raw.decode("utf-8", "surrogateescape")


def encode_entry(entry: Entry) -> "dict[str, Any]":
    """The document of an entry; fields that say nothing are left out."""
    document: dict[str, Any] = {
        "path": encode_path(entry.path),
        "type": entry.type.value,
        "mode": entry.mode,
        "mtime_ns": entry.mtime_ns,
        "by": [entry.version.lamport, entry.version.slot, entry.version.sequence],
    }
    for name in ("uid", "gid", "size", "sha256"):
        if found := getattr(entry, name):
            document[name] = found
    if entry.target:
        document["linked" if entry.type is EntryType.FILE else "target"] = encode_path(entry.target)
    if entry.only_in:
        document["only"] = entry.only_in
    if entry.xattrs:
        document["xattrs"] = {name: content.hex() for name, content in entry.xattrs}
    return document


class EntryDecoder:
    """Makes the entries of one table. What many of them have is one object: a hundred thousand of each would be most of the memory."""

    def __init__(self) -> None:
        self._versions: dict[tuple[object, ...], Version] = {}
        self._modes: dict[int, int] = {}

    def decode(self, document: "dict[str, Any]") -> Entry:
        mode, xattrs = document["mode"], document.get("xattrs")
        kind = _TYPES[document["type"]]
        target = document.get("linked" if kind is EntryType.FILE else "target", "")
        if kind is EntryType.FILE and "target" in document:
            raise ValueError("a file that points somewhere")
        return Entry(
            decode_path(document["path"]),
            kind,
            # True is 1 for a dictionary
            self._modes.setdefault(mode, mode) if type(mode) is int else mode,
            document.get("uid", 0),
            document.get("gid", 0),
            document["mtime_ns"],
            self._version(*document["by"]),
            document.get("size", 0),
            document.get("sha256", ""),
            decode_path(target) if target else "",
            tuple(sorted((name, bytes.fromhex(content)) for name, content in xattrs.items())) if xattrs is not None else (),
            document.get("only", ""),
        )

    def _version(self, lamport: "Any", slot: "Any", sequence: "Any") -> Version:
        key = lamport, slot, sequence, type(lamport), type(sequence)
        found = self._versions.get(key)
        if found is None:
            found = self._versions[key] = Version(lamport, slot, sequence)
        return found


def encode_table(entries: "Iterable[Entry]") -> "Iterator[bytes]":
    """A table of contents: what one directory of a volume holds, in order of path. In pieces: the whole would be as large as the entries."""
    rows = bytearray(b'{"entries":[')
    begin = b""
    for entry in sorted(entries, key=lambda entry: entry.path):
        rows += begin
        rows += canonical.encode(encode_entry(entry))
        begin = b","
        if len(rows) >= _PIECE_BYTES:
            yield bytes(rows)
            rows.clear()
    rows += b'],"format":%d}' % FORMAT
    yield bytes(rows)


def decode_table(pieces: "Iterable[bytes]", only: "Container[str] | None" = None) -> "Iterator[Entry]":
    """The entries of a table, of those `only` at some paths, which are encoded. Raises StoreError volume.format, at the end if need be, for one that this
    program must not interpret: let nothing come of the entries before."""
    rows = JsonRows(pieces, ("entries",))
    decoder = EntryDecoder()
    problem: Exception | None = None
    for _, row in rows:
        try:
            if problem is None and (only is None or row["path"] in only):
                yield decoder.decode(row)
        except (KeyError, TypeError, ValueError, AttributeError) as broken:
            # what is wrong in a table of another format isn't known
            problem = broken
    check_format(rows.rest)
    if problem is None and "entries" not in rows.rest:
        problem = KeyError("entries")
    if problem is not None:
        raise problem


def encode_vector(vector: VersionVector) -> dict[str, int]:
    return dict(vector.seen)


def decode_vector(document: dict[str, int]) -> VersionVector:
    return VersionVector(tuple(sorted(document.items())))


def check_format(document: "Any") -> "dict[str, Any]":
    """Refuse a document of another format, or with a required feature (`requires`) unknown here."""
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("requires"):
        raise StoreError(
            "a cache volume's document has a format that this version can't read",
            code="volume.format",
            hint="use the version of chandlery that wrote it, or `chandlery volume rm` it",
        )
    return document

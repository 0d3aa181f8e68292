"""`Manifest`: what a COPY from a context put where, kept beside its snapshot, so that the next such COPY can link what didn't change.

R/snapshots/<id>/files holds a magic line and a marshalled dict directory -> (names joined by "/", packed metadata, sha256s). It lists only regular
files without xattrs that the snapshot doesn't link to each other: two equal lines then mean two equal inodes, and a link never joins
what the source kept apart. It is only a shortcut: whatever is wrong with it, it is empty.
"""

import marshal
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    Line = tuple[bytes, int, int, int, int, int]  # sha256, permission bits, uid, gid, mtime_ns, size
    Tables = dict[str, tuple[str, bytes, bytes]]

_MAGIC = b"chandlery copied files 1\n"
_METADATA = struct.Struct("=IIIqq")
_HASH_SIZE = 32


class Manifest:
    """`directory` answers for one directory of an earlier snapshot; `add` collects for this one."""

    def __init__(self, data: bytes = b"") -> None:
        self._read: Tables = marshal.loads(memoryview(data)[len(_MAGIC) :]) if data.startswith(_MAGIC) else {}
        self._lines: dict[str, dict[str, Line]] = {}
        self._last: tuple[str, dict[str, Line]] = (" ", {})

    def __bool__(self) -> bool:
        return bool(self._read)

    def directory(self, path: str) -> "dict[str, Line]":
        """The files that were copied into a directory, by name."""
        if self._last[0] != path:
            self._last = (path, self._decode(path))
        return self._last[1]

    def _decode(self, path: str) -> "dict[str, Line]":
        names, metadata, hashes = self._read.get(path, ("", b"", b""))
        if not names:
            return {}
        lines = _METADATA.iter_unpack(metadata)
        return {name: (hashes[at * _HASH_SIZE : (at + 1) * _HASH_SIZE], *line) for at, (name, line) in enumerate(zip(names.split("/"), lines, strict=True))}

    def add(self, directory: str, name: str, line: "Line") -> None:
        self._lines.setdefault(directory, {})[name] = line

    def remove(self, directory: str, name: str) -> None:
        self._lines.get(directory, {}).pop(name, None)

    def encode(self) -> bytes:
        """The bytes of what was added; b"" if that is nothing."""
        tables: Tables = {}
        for directory, lines in self._lines.items():
            if lines:
                metadata = b"".join(_METADATA.pack(*line[1:]) for line in lines.values())
                tables[directory] = ("/".join(lines), metadata, b"".join(line[0] for line in lines.values()))
        return _MAGIC + marshal.dumps(tables, 4) if tables else b""


def place(snapshot: str) -> str:
    """Where the manifest of the snapshot at R/snapshots/<id>/fs is."""
    return os.path.dirname(snapshot.rstrip("/")) + "/files"


def read(snapshot: str) -> Manifest:
    """The manifest beside a snapshot, empty if there is none."""
    try:
        with open(place(snapshot), "rb", buffering=0) as file:
            return Manifest(file.read())
    except (OSError, ValueError, EOFError, TypeError):
        return Manifest()


def write(snapshot: str, data: bytes) -> None:
    """Keep `data` (FileOpReport.manifest) beside a committed snapshot; not being able to costs time later, nothing else."""
    if not data:
        return
    temporary = f"{place(snapshot)}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, place(snapshot))
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass

"""`Writer`: makes one pack (pack.py). Frames are compressed by threads beside reading and hashing, and written in their order.

Chunks of large files are mostly archives, which no level makes smaller: they get the cheapest. What is packed together is mostly text.
"""

import hashlib
import json
import os
import struct
from collections import deque

from chandlery.errors import StoreError
from chandlery.linux.atomic import remove_if_there
from chandlery.oci import canonical
from chandlery.oci.digest import from_hex
from chandlery.volume import table_check
from chandlery.volume.pack import CHUNK_BYTES, FRAME_BYTES, PackRef
from chandlery.volume.tree import Entry, EntryType, VersionVector, decode_path, encode_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor
    from typing import Any, BinaryIO

_PACKED_LEVEL, _CHUNK_LEVEL, _TABLE_LEVEL = 3, 1, 3
_SKIPPABLE = 0x184D2A50
_THREADS = 2
# frames on their way: what a writer holds in memory is this many chunks, plain and compressed
_MOST_PENDING = 4


class Writer:
    """Writes one pack to a file. `add` each entry with what opens its content; then `finish`. `close` it in any case."""

    def __init__(self, path: str, forbidden: tuple[bytes, ...] = ()) -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 (closed by finish or close)
        self._hasher = hashlib.sha256()
        self._forbidden = forbidden
        self._at = 0
        self._plain = bytearray()
        self._frames: list[list[int]] = []
        self._rows = _Rows(f"{path}.rows")
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[tuple[Future[bytes], int]] = deque()
        self._count = 0
        self.left_out: list[str] = []
        self.table = b""

    def add(self, entry: Entry, open_content: "Callable[[], BinaryIO] | None") -> str:
        """One entry; a file whose content holds something forbidden is left out, whole. The sha256 of its content, "" where there is none."""
        document = encode_entry(entry)
        if self._rows.count >= table_check.MAX_ENTRIES:
            raise StoreError(f"more than {self._rows.count} files are too many for one pack", code="volume.too-many-entries")
        if open_content is None:
            if len(self._plain) >= FRAME_BYTES:
                self._flush()
            self._plain += _tar_header(entry, 0)
            self._rows.add(document)
            return ""
        if self._forbidden and self.refuses(entry, _read(open_content)):
            return ""
        hasher, pieces = hashlib.sha256(), []
        self._begin(entry)
        with open_content() as content:
            left = entry.size
            while left:
                if len(self._plain) >= CHUNK_BYTES:
                    self._flush()
                data = content.read(min(left, CHUNK_BYTES - len(self._plain)))
                if not data:
                    raise StoreError(f"{entry.path} became shorter while it was packed", code="volume.changed")
                pieces.append([self._count, len(self._plain), len(data)])
                self._plain += data
                hasher.update(data)
                left -= len(data)
        sha256 = hasher.hexdigest()
        if entry.sha256 and sha256 != entry.sha256:
            raise StoreError(f"{entry.path} is damaged in this store", code="volume.damaged", hint="chandlery volume verify shows what is")
        self._plain += b"\0" * (-entry.size % 512)
        self._rows.add({**document, "sha256": sha256, "pieces": pieces})
        if entry.size >= FRAME_BYTES:
            self._flush()
        return sha256

    def refuses(self, entry: Entry, content: "Iterable[bytes]") -> bool:
        """Whether a file must be left out because of what its content, in pieces, holds; it is noted then."""
        if self._forbidden and _holds(content, self._forbidden):
            self.left_out.append(entry.path)
            return True
        return False

    def add_content(self, entry: Entry, content: bytes) -> None:
        """A small file whose content is at hand, of another pack, and is not refused."""
        self._begin(entry)
        pieces = [[self._count, len(self._plain), entry.size]] if entry.size else []
        self._plain += content + b"\0" * (-entry.size % 512)
        self._rows.add({**encode_entry(entry), "pieces": pieces})

    def add_frames(self, entry: Entry, frames: "Iterable[tuple[bytes, int]]", pieces: "Iterable[tuple[int, int]]") -> None:
        """A file that has frames of its own in another pack, and is not refused: they are taken as they are. `frames` are (bytes, plain bytes), `pieces`
        (at, size) in each."""
        self._flush()
        while self._pending:
            self._write_oldest()
        found = [[self._count + number, at, size] for number, (at, size) in enumerate(pieces)]
        for data, plain_bytes in frames:
            self._write_frame(data, plain_bytes)
            self._count += 1
        self._rows.add({**encode_entry(entry), "pieces": found})

    def leave_out(self, is_unwanted: "Callable[[str], bool]") -> None:
        """Take entries that were added out of the table; nobody then finds their bytes."""
        self.left_out.extend(self._rows.leave_out(is_unwanted))

    def finish(self, by: VersionVector) -> PackRef:
        """Write the table and close the file; how a head names the pack."""
        self._plain += b"\0" * 1024
        self._flush()
        while self._pending:
            self._write_oldest()
        self.table = table = self._rows.table(self._frames)
        self._write(struct.pack("<II", _SKIPPABLE, len(table)))
        at = self._at
        self._write(table)
        self.close()
        return PackRef(from_hex(self._hasher.hexdigest()), self._at, at, len(table), hashlib.sha256(table).hexdigest(), by)

    def close(self) -> None:
        self._file.close()
        self._rows.close()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _begin(self, entry: Entry) -> None:
        """Small files share a frame; a large one begins its own."""
        if len(self._plain) + entry.size > FRAME_BYTES:
            self._flush()
        self._plain += _tar_header(entry, entry.size)

    def _flush(self) -> None:
        if not self._plain:
            return
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_THREADS)
        level = _PACKED_LEVEL if len(self._plain) <= FRAME_BYTES else _CHUNK_LEVEL
        self._pending.append((self._pool.submit(_compressed, bytes(self._plain), level), len(self._plain)))
        self._count += 1
        self._plain = bytearray()
        while len(self._pending) > _MOST_PENDING:
            self._write_oldest()

    def _write_oldest(self) -> None:
        done, plain_bytes = self._pending.popleft()
        self._write_frame(done.result(), plain_bytes)

    def _write_frame(self, data: bytes, plain_bytes: int) -> None:
        self._frames.append([self._at, len(data), plain_bytes])
        self._write(data)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hasher.update(data)
        self._at += len(data)


class _Rows:
    """The rows of a pack's table: a hundred thousand are kept in a file, one a line, until their table is compressed."""

    def __init__(self, path: str) -> None:
        self.count = 0
        self._path = path
        self._file: BinaryIO = open(path, "w+b")  # noqa: SIM115 (closed by close)
        self._size_bytes = 0

    def add(self, row: "dict[str, Any]") -> None:
        self._write(canonical.encode(row))

    def leave_out(self, is_unwanted: "Callable[[str], bool]") -> list[str]:
        """Keep no row of such a path; the paths."""
        old = self._file
        os.unlink(self._path)
        self._file = open(self._path, "w+b")  # noqa: SIM115 (closed by close)
        self.count = self._size_bytes = 0
        gone = []
        with old:
            old.seek(0)
            for line in old:
                path = decode_path(json.loads(line)["path"])
                if is_unwanted(path):
                    gone.append(path)
                else:
                    self._write(line[:-1])
        return gone

    def table(self, frames: list[list[int]]) -> bytes:
        """The table, compressed: the canonical document of format, frames and entries."""
        import zstandard

        first, last = b'{"entries":[', b'],"format":1,"frames":%s}' % canonical.encode(frames)
        size_bytes = len(first) + self._size_bytes + max(0, self.count - 1) + len(last)
        compressor = zstandard.ZstdCompressor(level=_TABLE_LEVEL).compressobj(size=size_bytes)
        made = [compressor.compress(first)]
        self._file.seek(0)
        begin = b""
        for line in self._file:
            made.append(compressor.compress(begin + line[:-1]))
            begin = b","
        made += (compressor.compress(last), compressor.flush())
        return b"".join(made)

    def close(self) -> None:
        self._file.close()
        remove_if_there(self._path)

    def _write(self, row: bytes) -> None:
        self._file.write(row + b"\n")
        self.count += 1
        self._size_bytes += len(row)


def _compressed(plain: bytes, level: int) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=level).compress(plain)


def _read(open_content: "Callable[[], BinaryIO]") -> "Iterator[bytes]":
    with open_content() as content:
        while data := content.read(1 << 20):
            yield data


def _holds(content: "Iterable[bytes]", forbidden: tuple[bytes, ...]) -> bool:
    overlap = max(map(len, forbidden)) - 1
    tail = b""
    for data in content:
        window = tail + data
        if any(text in window for text in forbidden):
            return True
        tail = window[-overlap:] if overlap else b""
    return False


def _tar_header(entry: Entry, size: int) -> bytes:
    """For people and other tools: nothing is read from there."""
    import tarfile

    info = tarfile.TarInfo(entry.path or ".")
    info.mode, info.uid, info.gid, info.mtime, info.size = entry.mode, entry.uid, entry.gid, entry.mtime_ns // 10**9, size
    info.type = _TAR_TYPES[entry.type]
    info.linkname = "" if entry.type is EntryType.FILE else entry.target
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


_TAR_TYPES = {EntryType.FILE: b"0", EntryType.DIRECTORY: b"5", EntryType.SYMLINK: b"2", EntryType.HARD_LINK: b"1"}


def opener(path: str) -> "Callable[[], BinaryIO]":
    return lambda: os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")

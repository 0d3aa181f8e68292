"""`PackReader`: one pack at a remote. Bytes come by ranges, or from a file in scratch to which the pack was fetched whole, once: because most of it
is wanted, or because the remote answered a range with everything.

A table is verified by its digest in the head, a whole blob by its own. Frames are what the remote sent: who uses them checks what is in them.
"""

import hashlib
import os
import threading
from contextlib import nullcontext

from chandlery.errors import ChandleryError, LyingRegistry, NoSpace, NotFound, StoreError, Unavailable
from chandlery.volume import pack
from chandlery.volume.pack import PackRef, Table
from chandlery.volume.problem import Problem, problem_of
from chandlery.volume.protocol import BlobStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chandlery.volume.protocol import VolumeRemote

_ATTEMPTS = 3
_PIECE_BYTES = 1 << 20


class PackReader:
    """`scratch` is a file that it may make; `copy` gives what is said to be the table, if anything is. `is_broken`: what the remote has under this name is
    not the pack, or nothing. Threads may share it."""

    def __init__(self, remote: "VolumeRemote", ref: PackRef, scratch: str, copy: "Callable[[], bytes]" = bytes) -> None:
        self.remote, self.ref = remote, ref
        self.is_broken = False
        self.table: Table | None = None
        self._scratch, self._copy = scratch, copy
        self._is_here = self._has_ranges = False
        self._may_ask = True
        self._lock, self._first = threading.Lock(), threading.Lock()

    def read_table(self) -> Table:
        """Raises StoreError volume.bad-table, volume.format; RegistryError; OSError."""
        if self.table is None:
            try:
                self.table = self._read_table()
            except (LyingRegistry, StoreError) as doubtful:
                if self._is_here or doubtful.code == "volume.format":
                    raise
                # a range bypasses the blob's digest: the whole of it tells whether the blob is wrong, or the way it came
                self.fetch_whole()
                self.table = self._read_table()
        return self.table

    def is_lost(self) -> bool:
        """Whether what looked broken is: not if the whole blob is what its digest says, nor if that can't be told now."""
        if self.is_broken and not self._is_here:
            try:
                self.fetch_whole()
            except (NotFound, LyingRegistry):
                return True
            except (ChandleryError, OSError):
                return False
            return False
        return self.is_broken

    def fetch_whole(self) -> None:
        """Have all of it here, verified. Raises LyingRegistry, NotFound, Unavailable, OSError."""
        if not self._is_here:
            self._keep_once(self._open_remote(0, self.ref.size_bytes))

    def frames(self, numbers: "Sequence[int]") -> "Iterator[tuple[int, bytes]]":
        """Neighbouring frames, in order, by one request; what breaks off is asked for again. One that the remote lacks raises."""
        table = self.read_table()
        failures, done = 0, 0
        while done < len(numbers):
            first, last = table.frames[numbers[done]], table.frames[numbers[-1]]
            at = first.start
            stream = BlobStream(at, 0, iter(()))
            try:
                stream = self._opened(at, last.start + last.size_bytes - at)
                for number in numbers[done:]:
                    frame = table.frames[number]
                    stream.read(frame.start - at)
                    data = stream.read(frame.size_bytes)
                    at = frame.start + frame.size_bytes
                    yield number, data
                    done, failures = done + 1, 0
            except Unavailable:
                failures += 1
                if failures >= _ATTEMPTS:
                    raise
            except LyingRegistry:
                if self._is_here:
                    raise
                self.fetch_whole()
            finally:
                stream.close()

    def _read_table(self) -> Table:
        ref, self._copy, copied = self.ref, bytes, self._copy()
        if copied:
            try:
                return pack.read_table(copied, ref)
            except StoreError as refused:
                if refused.code == "volume.format":
                    raise
                # whoever wrote the head wrote another one beside the pack
        data = self._opened(ref.table_at, ref.table_bytes).read(ref.table_bytes)
        try:
            return pack.read_table(data, ref)
        except StoreError as refused:
            self.is_broken = self.is_broken or (self._is_here and refused.code != "volume.format")
            raise

    def _opened(self, start: int, size_bytes: int) -> BlobStream:
        # the first range is asked for alone: a remote that answers with everything is to do so once
        with nullcontext() if self._has_ranges or self._is_here else self._first:
            if not self._is_here:
                stream = self._open_remote(start, size_bytes)
                if (stream.start, stream.size_bytes) == (start, size_bytes):
                    self._has_ranges = True
                    return stream
                self._keep_once(stream)
        return BlobStream(start, size_bytes, _pieces(self._scratch, start, size_bytes))

    def stop_asking(self) -> None:
        """From now on there is only what is here already: others wait for a lock that is held."""
        self._may_ask = False

    def _open_remote(self, start: int, size_bytes: int) -> BlobStream:
        if not self._may_ask:
            raise Unavailable("the volume changed while it was fetched", code="volume.changed", hint="the next build fetches the rest")
        try:
            return self.remote.open_blob(self.ref.digest, self.ref.size_bytes, start, size_bytes)
        except (NotFound, LyingRegistry) as wrong:
            self.is_broken = self.is_broken or isinstance(wrong, NotFound) or size_bytes == self.ref.size_bytes
            raise

    def _keep_once(self, stream: BlobStream) -> None:
        with self._lock:
            if self._is_here:
                stream.close()
            else:
                self._keep(stream)

    def _keep(self, stream: BlobStream) -> None:
        """With the lock held: put all of a blob into the file, if there is room for it: a head may promise any size."""
        found = os.statvfs(os.path.dirname(self._scratch))
        if self.ref.size_bytes > found.f_bavail * found.f_frsize:
            stream.close()
            raise NoSpace(f"there is no room for {self.ref.size_bytes >> 20} MiB", code="volume.no-room", hint="`chandlery prune` makes some")
        for attempt in range(1, _ATTEMPTS + 1):
            hasher = hashlib.sha256()
            try:
                with open(self._scratch, "wb") as file:
                    for piece in stream.pieces():
                        file.write(piece)
                        hasher.update(piece)
                break
            except Unavailable:
                if attempt == _ATTEMPTS:
                    raise
            except LyingRegistry:
                self.is_broken = True
                raise
            finally:
                stream.close()
            stream = self._open_remote(0, self.ref.size_bytes)
        if hasher.hexdigest() != self.ref.digest.hex:
            self.is_broken = True
            raise LyingRegistry(f"{self.ref.digest} came with other content than was promised", code="registry.wrong-digest")
        self._is_here = True


def read_tables(readers: "list[PackReader]", *, most_bytes_whole: int) -> list[Problem]:
    """Read the tables side by side, of packs of up to `most_bytes_whole` with all the rest; what was wrong with those that can't be had."""
    from concurrent.futures import ThreadPoolExecutor

    def read(reader: PackReader) -> Problem | None:
        try:
            if reader.ref.size_bytes <= most_bytes_whole:
                reader.fetch_whole()
            reader.read_table()
        except (ChandleryError, OSError, ValueError) as broken:
            return problem_of(broken, f"{reader.ref.digest} of {reader.remote.name}")
        return None

    if not readers:
        return []
    with ThreadPoolExecutor(min(len(readers), WORKERS)) as pool:
        return [problem for problem in pool.map(read, readers) if problem]


WORKERS = 6


def _pieces(path: str, start: int, size_bytes: int) -> "Iterator[bytes]":
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while size_bytes and (data := file.read(min(size_bytes, _PIECE_BYTES))):
            size_bytes -= len(data)
            yield data

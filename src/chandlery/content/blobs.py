"""`BlobStore`: bytes by digest, in R/blobs.

A blob appears by rename, whole, fsynced and hashed, and never changes afterwards; putting one that is there is no mistake and heals one
that was damaged. Whoever reads is told at the end of the file, if not before, when the bytes are not what the name says. A damaged blob
is taken away at that moment, so that to everybody else it is merely lost: records that promised it are revoked and made again.
"""

import os

from chandlery.content import faults
from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.errors import Lost, StoreError
from chandlery.linux import atomic
from chandlery.oci.digest import Digest, from_hex, hasher_for, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from chandlery.content.database import Database
    from chandlery.content.ingest import Ingest
    from chandlery.content.layout import StoreLayout
    from chandlery.content.session import Session

# what read() takes into memory: manifests and configs are limited to 4 MiB by registries
MAX_READ_BYTES = 16 << 20


class BlobStore:
    def __init__(self, layout: "StoreLayout", db: "Database") -> None:
        self._layout = layout
        self._db = db

    def has(self, digest: str) -> bool:
        return os.path.exists(self._layout.blob(digest))

    def path(self, digest: str) -> str:
        """Where the blob is. Raises Lost. Who reads the file itself must verify what it reads; prefer open()."""
        path = self._layout.blob(digest)
        if not os.path.exists(path):
            raise Lost(digest)
        return path

    def size(self, digest: str) -> int:
        """Its length in bytes. Raises Lost."""
        try:
            return os.stat(self._layout.blob(digest)).st_size
        except FileNotFoundError:
            raise Lost(digest) from None

    def lease(self, session: "Session", *digests: str) -> None:
        """Keep blobs until `session` ends. Raises Lost, naming the first that is not there."""
        with self._db.transaction(durable=False) as tx:
            for digest in digests:
                if not self.has(digest):
                    raise Lost(digest)
            session.lease(tx, "blob", *digests)

    def read(self, digest: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """All of it, verified. Raises Lost (code store.damaged-blob if it was damaged), StoreError store.blob-too-large."""
        with self.open(digest) as reader:
            if reader.size_bytes > max_bytes:
                raise StoreError(f"{digest} has {reader.size_bytes} bytes, at most {max_bytes} were expected", code="store.blob-too-large")
            return reader.read(-1)

    def open(self, digest: str) -> "VerifiedReader":
        """A reader for `with`. Raises Lost, now or when the bytes turn out not to match (then with code store.damaged-blob)."""
        path = self._layout.blob(digest)
        try:
            return VerifiedReader(path, Digest(digest))
        except FileNotFoundError:
            raise Lost(digest) from None

    def put(self, data: bytes, *, session: "Session | None" = None) -> Digest:
        """Store some bytes and return their digest; durable when it returns.

        Without a session to lease it, the blob is safe from prunes while it is young (gc.YOUNG_S): refer to it soon.
        """
        digest = sha256(data)
        if session is not None:
            with faults.translated(self._layout.root), self._db.transaction(durable=False) as tx:
                if self._renew(digest, data):
                    session.lease(tx, "blob", digest)
                    return digest
            with self.ingest(session) as ingest:
                ingest.write(data)
                return ingest.commit()
        temp = f"{self._layout.new_blobs}/{fresh_name()}"
        with faults.translated(self._layout.root):
            if self._renew(digest, data):
                return digest
            try:
                atomic.write_file(temp, data, mode=0o600)
                self._place(temp, digest)
            except BaseException:
                atomic.remove_if_there(temp)
                raise
        return digest

    def _renew(self, digest: Digest, data: bytes) -> bool:
        """Make the blob young again, where it is here and whole: most of what a build puts is what the last one put."""
        path = self._layout.blob(digest)
        try:
            os.utime(path)
            with open(path, "rb", buffering=0) as file:
                return file.read(len(data) + 1) == data
        except FileNotFoundError:
            return False

    def ingest(self, session: "Session", algorithm: str = "sha256", *, is_hashed_by_caller: bool = False) -> "Ingest":
        """A place to stream a blob of unknown digest into: `with ... as ingest: ingest.write(chunk); ingest.commit(expected)`."""
        from chandlery.content.ingest import Ingest

        place = lambda temp, digest: self._lease_and_place(session, temp, digest)  # noqa: E731
        return Ingest(session.scratch_file("b"), algorithm, place, is_hashed_by_caller=is_hashed_by_caller)

    def delete(self, digest: str) -> None:
        """Remove a blob; that it isn't there is fine. Only for damaged ones and tests: prune (gc.py) is what frees space."""
        atomic.remove_if_there(self._layout.blob(digest))

    def walk(self) -> "Iterator[tuple[Digest, int]]":
        """Digest and size of every blob, in no order."""
        with os.scandir(self._layout.blobs + "/sha256") as entries:
            for entry in entries:
                try:
                    yield from_hex(entry.name), entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue

    def _lease_and_place(self, session: "Session", temp: str, digest: Digest) -> None:
        with self._db.transaction(durable=False) as tx:
            session.lease(tx, "blob", digest)
        reach("blob.leased")
        self._place(temp, digest)

    def _place(self, temp: str, digest: Digest) -> None:
        path = self._layout.blob(digest)
        reach("blob.written")
        try:
            os.rename(temp, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            os.rename(temp, path)
        reach("blob.renamed")
        atomic.fsync_dir(os.path.dirname(path))


class VerifiedReader:
    """A blob being read, and hashed on the way; a file for whoever wants one. Reads forward only.

    The read that reaches the end raises Lost with code store.damaged-blob instead of returning, if the bytes don't match.
    """

    def __init__(self, path: str, digest: Digest) -> None:
        self._path = path
        self._digest = digest
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = os.fstat(self._fd).st_size
        self._hash = hasher_for(digest, self.size_bytes)
        self._left = self.size_bytes

    def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes, all that is left for -1; b"" at the end."""
        wanted = self._left if n < 0 else min(n, self._left)
        pieces = []
        while wanted > 0:
            piece = self._read_some(wanted)
            self._hash.update(piece)
            self._left -= len(piece)
            wanted -= len(piece)
            pieces.append(piece)
        if self._left == 0:
            self._check()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def readable(self) -> bool:
        return True

    def __enter__(self) -> "VerifiedReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_some(self, wanted: int) -> bytes:
        try:
            piece = os.read(self._fd, wanted)
        except OSError as error:
            self._refuse(error)
        if not piece:
            self._refuse(None)
        return piece

    def _check(self) -> None:
        if self._hash.hexdigest() != self._digest.hex:
            self._refuse(None)

    def _refuse(self, cause: OSError | None) -> "NoReturn":
        atomic.remove_if_there(self._path)
        lost = Lost(self._digest)
        lost.message = f"blob {self._digest} was damaged on this machine's disk and has been removed"
        lost.args = (lost.message,)
        lost.code = "store.damaged-blob"
        raise lost from cause

"""`Ingest`: bytes on their way into the blob store, hashed as they come, under a temporary name until they are whole."""

import os

from chandlery.content import faults
from chandlery.errors import InternalError, LyingRegistry
from chandlery.linux import atomic
from chandlery.oci.digest import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Ingest:
    """For one `with` block and one thread. Leaving the block without commit() removes what was written. With `is_hashed_by_caller` the digest that
    commit() expects is what the caller computed of the same bytes.

    Raises NoSpace, StoreError store.read-only.
    """

    def __init__(self, temp: str, algorithm: str, place: "Callable[[str, Digest], None]", *, is_hashed_by_caller: bool = False) -> None:
        import hashlib

        self._temp = temp
        self._algorithm = algorithm
        self._place = place
        self._hash = None if is_hashed_by_caller else hashlib.new(algorithm)
        self._fd = -1
        self.size_bytes = 0

    def __enter__(self) -> "Ingest":
        with faults.translated(self._temp):
            self._fd = os.open(self._temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            os.unlink(self._temp)

    def write(self, data: "bytes | bytearray | memoryview") -> int:
        """Append some bytes."""
        view = memoryview(data).cast("B")
        if self._hash is not None:
            self._hash.update(view)
        self.size_bytes += len(view)
        with faults.translated(self._temp):
            atomic.write_all(self._fd, view)
        return len(view)

    def commit(self, expected: Digest | None = None, size_bytes: int | None = None) -> Digest:
        """Give the bytes their name in the store, leased to the session; durable when it returns.

        Raises LyingRegistry registry.short-body if fewer than `size_bytes` came, registry.wrong-digest if they are not `expected`.
        """
        if self._fd < 0:
            raise InternalError("an ingest was committed twice", code="internal.ingest")
        digest = Digest(f"{self._algorithm}:{self._hash.hexdigest()}") if self._hash is not None else expected
        if digest is None:
            raise InternalError("an ingest was committed without a digest", code="internal.ingest")
        if size_bytes is not None and self.size_bytes < size_bytes:
            raise LyingRegistry(f"{self.size_bytes} bytes came where {size_bytes} were promised", code="registry.short-body")
        if (expected is not None and digest != expected) or (size_bytes is not None and self.size_bytes != size_bytes):
            raise LyingRegistry(
                f"what came has digest {digest} and {self.size_bytes} bytes, promised was {expected or f'{size_bytes} bytes'}",
                code="registry.wrong-digest",
                hint="a proxy or mirror in between may be damaged; try the registry itself",
            )
        with faults.translated(self._temp):
            os.fsync(self._fd)
            self._place(self._temp, digest)
        os.close(self._fd)
        self._fd = -1
        return digest

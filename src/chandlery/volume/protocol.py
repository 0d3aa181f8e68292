"""`VolumeRemote`: where one cache volume of one scope is shared, as seen by publishing and fetching. Implementations: remote_directory, remote_registry.

A *head* is one small document under a name that nobody wrote before; it is deleted by name and digest, so a deletion can only ever
take away what the deleter had read. Blobs are named by their digest and immutable. Methods raise ChandleryError or OSError; callers go on without the remote.
"""

from chandlery.errors import LyingRegistry
from chandlery.oci.digest import Digest
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Protocol

    class VolumeRemote(Protocol):
        @property
        def name(self) -> str:
            """For messages; holds no credentials."""

        @property
        def address(self) -> str:
            """Tells this volume's remote from every other one's."""

        def heads(self) -> "list[HeadName]":
            """Every head that is there now, in order of name; none for a volume that nobody published."""

        def read_head(self, head: "HeadName") -> bytes:
            """A head's document. Raises NotFound where somebody deleted it meanwhile."""

        def put_head(self, slot: str, document: bytes, blobs: "Iterable[tuple[Digest, int]]") -> "HeadName":
            """Make a head visible, whole; `blobs` are those it names, (digest, size), all put before."""

        def delete_head(self, head: "HeadName") -> bool:
            """Remove exactly this head; False where the remote doesn't delete. That it is gone already is fine."""

        def has_blob(self, digest: Digest) -> bool: ...

        def put_blob(self, path: str, digest: Digest, size_bytes: int) -> None:
            """Store the file at `path`; it appears whole or not at all."""

        def collect(self, named: "Collection[Digest]", unnamed: "Collection[Digest]") -> int:
            """Delete blobs that no head has named for long, if that is left to us; how many. `named` are those that heads name now, `unnamed` those that
            one named a moment ago: others may be reading them."""

        def open_blob(self, digest: Digest, blob_bytes: int, start: int, size_bytes: int) -> "BlobStream":
            """That many bytes of a blob, or all of it where the remote does no ranges (unverified: ranges bypass its digest). Raises NotFound."""


_PIECE_BYTES = 512 << 10


@value
class HeadName:
    """`digest` is the stored document's, as the remote names it; "" where only reading tells."""

    slot: str
    digest: str = ""


class BlobStream:
    """Bytes of a blob that begin at `start`, in pieces, each of which may be any length. `size_bytes` come, or an error is raised."""

    def __init__(self, start: int, size_bytes: int, pieces: "Iterator[bytes]") -> None:
        self.start = start
        self.size_bytes = size_bytes
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises LyingRegistry where the stream ends before."""
        parts, left = [], size
        while left:
            piece = self._rest or next(self._pieces, b"")
            if not piece:
                raise LyingRegistry(f"a blob ended {left} bytes too early", code="volume.short-blob")
            parts.append(piece[:left])
            self._rest = piece[left:]
            left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self) -> "Iterator[bytes]":
        """What has not been read yet."""
        left = self.size_bytes
        while left:
            piece = self.read(min(left, _PIECE_BYTES))
            left -= len(piece)
            yield piece

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()

"""`VolumeRemote`: where one cache volume of one scope is shared, as seen by publishing and fetching. Implementations: remote_directory, remote_registry.

A *head* is one small document under a name that nobody wrote before; it is deleted by name and digest, so a deletion can only ever
take away what the deleter had read. Blobs are named by their digest and immutable. Methods raise ChandleryError or OSError; callers go on without the remote.
"""

from chandlery.oci.digest import Digest
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class VolumeRemote(Protocol):
        @property
        def name(self) -> str:
            """For messages; holds no credentials."""

        def heads(self) -> "list[HeadName]":
            """Every head that is there now, in order of slot; none for a volume that nobody published."""

        def read_head(self, head: "HeadName") -> bytes:
            """A head's document. Raises NotFound where somebody deleted it meanwhile."""

        def put_head(self, slot: str, document: bytes, blobs: "Iterable[tuple[Digest, int]]") -> "HeadName":
            """Make a head visible, whole; `blobs` are those it names, (digest, size), all put before."""

        def delete_head(self, head: "HeadName") -> bool:
            """Remove exactly this head; False where the remote doesn't delete. That it is gone already is fine."""

        def has_blob(self, digest: Digest) -> bool: ...

        def put_blob(self, path: str, digest: Digest, size_bytes: int) -> None:
            """Store the file at `path`; it appears whole or not at all."""

        def read_range(self, digest: Digest, blob_bytes: int, start: int, size_bytes: int) -> bytes:
            """Exactly that many bytes of a blob (unverified: they bypass its digest)."""


@value
class HeadName:
    """`digest` is the stored document's, as the remote names it; "" where only reading tells."""

    slot: str
    digest: str = ""

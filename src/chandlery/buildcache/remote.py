"""`StepRemote`: what a shared cache must be able to do. A registry (repository.py) and a directory (directory.py) are ones.

Entries are created and, unless they are known to be broken, never replaced: the first one wins. Blobs come before the entry that names them, so that nothing
half-published is ever seen. Every method may be called from several threads, and raises RegistryError (an unreachable directory is Unavailable too).
"""

from chandlery.oci.digest import Digest, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from chandlery.buildcache.entry import Entry
    from chandlery.oci.descriptor import Descriptor
    from chandlery.registry.upload import Readable

    class StepRemote(Protocol):
        """`name` is what users called it."""

        @property
        def name(self) -> str: ...

        @property
        def is_writable(self) -> bool: ...

        def find(self, scope: str, key: Digest) -> bytes | None:
            """The bytes of an entry; None where there is none."""

        def has(self, scope: str, key: Digest) -> bool: ...

        def read_blob(self, scope: str, blob: Descriptor) -> Iterator[bytes]:
            """A blob's bytes, of the promised length; the caller checks the digest."""

        def put_blob(
            self,
            scope: str,
            blob: Descriptor,
            open_blob: Callable[[], Readable],
            *,
            is_damaged: bool,
            from_scope: str = "",
            pushed_to: tuple[tuple[str, str], ...] = (),
        ) -> int:
            """Make a blob be there; the bytes that this moved. `is_damaged`: the one that is there is known to be bad. `from_scope` has it as well, and so
            have the (registry, repository) of `pushed_to`."""

        def put_entry(self, scope: str, entry: Entry, raw: bytes, *, replaces: bool) -> None: ...

        def note_uses(self, scope: str, used: tuple[tuple[str, Digest], ...]) -> None:
            """Somebody who writes `scope` used the entries of these scopes and keys: tell those who look after the cache."""

        def repository(self, scope: str) -> tuple[str, str]:
            """(registry, repository) whose blobs a push to the same registry can mount; ("", "") where there is none."""

        def stop(self) -> None:
            """End what threads are doing, at the next piece."""


def entry_name(scope: str, key: Digest) -> str:
    """The name of an entry: of its key and its scope, so that scopes which share a repository or a directory stay apart."""
    return sha256(f"{scope}\n{key}".encode("utf-8", "surrogateescape")).hex

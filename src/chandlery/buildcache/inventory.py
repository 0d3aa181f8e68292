"""What a shared cache holds, for those who look after it: `Held` is one entry, and what both kinds of places answer is the protocol `Inventory`."""

from chandlery.buildcache.entry import Entry, read
from chandlery.errors import LyingRegistry
from chandlery.values import value


@value
class Held:
    """`place` names the entry there. `entry` is None for what another version wrote, or what is no entry; `blobs` are (digest, bytes) all the same, as far
    as they can be told. Sizes in bytes, times in seconds since the epoch."""

    place: str
    entry: Entry | None
    size_bytes: int
    last_used_s: float
    blobs: tuple[tuple[str, int], ...] = ()

    @property
    def is_known(self) -> bool:
        return self.entry is not None

    @property
    def cost_s(self) -> float:
        return self.entry.duration_s if self.entry is not None else 0.0


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class Inventory(Protocol):
        """`name` is what users called the place. Methods raise RegistryError."""

        @property
        def name(self) -> str: ...

        @property
        def notes_use(self) -> bool:
            """Whether `last_used_s` is that, once `entries` were listed; elsewhere it is when the entry was made."""

        def entries(self) -> list[Held]: ...

        def delete(self, held: Held) -> bool:
            """Take an entry away; False where it has changed, or was used, since it was listed. Raises AccessDenied, RegistryError (registry.refused)."""

        def sweep(self, left: Iterable[Held], *, grace_s: float, dry_run: bool) -> int:
            """Delete blobs that no entry names and that are older than `grace_s`; the bytes that frees here (0 where the place does that by itself)."""

        def volume_bytes(self) -> int | None:
            """What cache volumes take in the same place; None where that can't be told."""


def understood(raw: bytes) -> Entry | None:
    """The entry, if this version can read it."""
    try:
        return read(raw)
    except LyingRegistry:
        return None

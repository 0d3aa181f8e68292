"""What of a volume may leave this machine: no places of credentials, nothing that holds a secret's value. Pure."""

from chandlery.volume.adapters import known
from chandlery.volume.tree import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    MayShare = Callable[[Entry], bool]

# a shorter one is found in any file by chance
_SHORTEST_SECRET = 4


def may_share(entry: Entry) -> bool:
    """Whether an entry is what adapters let leave. A volume that was filled from its seed, or by an older version, may hold what they don't."""
    return entry.is_directory or not known.is_never_stored(entry.path)


def forms_of(secrets: "tuple[bytes, ...]") -> tuple[bytes, ...]:
    """The byte strings that betray a secret: its value, without the newline that files of secrets end with."""
    return tuple(sorted({stripped for secret in secrets if len(stripped := secret.strip()) >= _SHORTEST_SECRET}))

"""What of a volume may leave this machine, whatever the tool: no places of credentials, nothing that holds a secret's value. Pure.

A volume may be mounted at the place itself (/root/.m2) or above it (/root), so a place is looked for at the volume's root and below.
"""

import os

from chandlery.volume.tree import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    MayShare = Callable[[Entry], bool]

_PLACES = (
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".gradle/gradle.properties",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".docker/config.json",
)
_NAMES = frozenset({".npmrc", ".netrc", ".pypirc", "pip.conf", ".yarnrc.yml", ".git-credentials"})
_AT_ROOT = frozenset({"settings.xml", "settings-security.xml", "gradle.properties", "credentials", "credentials.toml", "config.json"})
# a shorter one is found in any file by chance
_SHORTEST_SECRET = 4


def may_share(entry: Entry) -> bool:
    """Whether an entry is no place of credentials."""
    path = entry.path
    return os.path.basename(path) not in _NAMES and path not in _AT_ROOT and not any(path == place or path.endswith("/" + place) for place in _PLACES)


def forms_of(secrets: "tuple[bytes, ...]") -> tuple[bytes, ...]:
    """The byte strings that betray a secret: its value, without the newline that files of secrets end with."""
    return tuple(sorted({stripped for secret in secrets if len(stripped := secret.strip()) >= _SHORTEST_SECRET}))

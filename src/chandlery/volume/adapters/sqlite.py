"""An SQLite database and what it has not yet written into it: together or not at all."""

from chandlery.volume.adapters import pnpm_index
from chandlery.volume.adapters.adapter import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.adapters.adapter import Files

# a log of changes that a database doesn't have yet; the third file is memory that its users share, made anew from the log
LOGS = ("-wal", "-journal")
_SHARED_MEMORY = "-shm"
_DATABASES = (".db", ".sqlite", ".sqlite3")


class Sqlite(Plain):
    name = "sqlite"

    def is_never_stored(self, path: str) -> bool:
        return path.endswith(tuple(end + _SHARED_MEMORY for end in _DATABASES))

    def unit_of(self, path: str) -> str:
        """The database, but for one that is merged."""
        if pnpm_index.is_index(path) or pnpm_index.is_beside_index(path):
            return ""
        base = path
        for suffix in (*LOGS, _SHARED_MEMORY):
            base = base.removesuffix(suffix)
        return base if base.endswith(_DATABASES) else ""

    def is_complete(self, unit: str, files: "Files") -> bool:
        """Nothing was under way."""
        return not any(files.read(unit + suffix) for suffix in LOGS)


def is_log(path: str) -> bool:
    """Whether a path is a database's log: without it, or with an empty one, the database is as it says itself."""
    return path.endswith(tuple(end + log for end in _DATABASES for log in LOGS))

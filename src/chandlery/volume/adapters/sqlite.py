"""An SQLite database and what it has not yet written into it: together or not at all."""

from chandlery.volume.adapters.adapter import Plain

_SUFFIXES = ("-wal", "-shm", "-journal")


class Sqlite(Plain):
    name = "sqlite"

    def unit_of(self, path: str) -> str:
        base = path
        for suffix in _SUFFIXES:
            base = base.removesuffix(suffix)
        return base if base.endswith((".db", ".sqlite", ".sqlite3")) else ""

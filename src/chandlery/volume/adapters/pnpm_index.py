"""pnpm 11's and later's index of its store, <store>/v11/index.db: an SQLite database of which package has which files. In memory only.

Two of them merge to the rows of both, written in order into a new database, so that any order of merging gives the same bytes.
"""

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    Rows = dict[str, tuple[str, dict[tuple[object, ...], tuple[object, ...]]]]

_PLACE = re.compile(r"(?:^|/)v\d+/index\.db(?P<beside>-wal|-journal|-shm)?$")
# https://www.sqlite.org/fileformat2.html#the_database_header: how it is read and written (2: with a log), changes, page size valid for, library's version
_FORMATS = slice(18, 20)
_COUNTER, _VALID_FOR, _LIBRARY = slice(24, 28), slice(92, 96), slice(96, 100)
_WITH_LOG, _WITHOUT_LOG = b"\2\2", b"\1\1"


def is_index(path: str) -> bool:
    found = _PLACE.search(path)
    return found is not None and not found["beside"]


def is_beside_index(path: str) -> bool:
    """pnpm writes its log into the database as it ends. What another left is of no use with a merged database; what it lacks is fetched again."""
    found = _PLACE.search(path)
    return found is not None and found["beside"] is not None


def is_sound(content: bytes) -> bool:
    return _rows(content) is not None


def merged(ours: bytes, theirs: bytes) -> bytes | None:
    """The database with the rows of both, or the one that can be read; None if there is none, or they are of different kinds."""
    mine, other = _rows(ours), _rows(theirs)
    if mine is None or other is None:
        return ours if mine is not None else theirs if other is not None else None
    if any(mine[table][0] != other[table][0] for table in mine.keys() & other.keys()):
        return None
    result: Rows = {}
    for table in mine.keys() | other.keys():
        definition, rows = mine.get(table) or other[table]
        more = other[table][1] if table in other else {}
        result[table] = (definition, {key: max(row, more.get(key, row)) for key, row in (more | rows).items()})
    return _written(result)


def _rows(content: bytes) -> "Rows | None":
    """Each table's definition, and its rows by key; None for what isn't such a database, or is damaged."""
    import sqlite3

    db = sqlite3.connect(":memory:")
    try:
        db.deserialize(content[: _FORMATS.start] + _WITHOUT_LOG + content[_FORMATS.stop :])
        if db.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
            return None
        tables = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        if not tables or any("WITHOUT ROWID" not in sql or "key TEXT PRIMARY KEY" not in sql for _, sql in tables):
            return None
        return {name: (sql, {row[:1]: row for row in db.execute(f'SELECT * FROM "{name}"')}) for name, sql in tables}
    except (sqlite3.Error, OverflowError):
        return None
    finally:
        db.close()


def _written(tables: "Rows") -> bytes:
    import sqlite3

    db = sqlite3.connect(":memory:")
    try:
        for name in sorted(tables):
            definition, rows = tables[name]
            db.execute(definition)
            for key in sorted(rows):
                db.execute(f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(rows[key]))})', rows[key])
        db.commit()
        content = bytearray(db.serialize())
    finally:
        db.close()
    content[_FORMATS] = _WITH_LOG
    content[_COUNTER] = content[_VALID_FOR] = b"\0\0\0\1"
    content[_LIBRARY] = bytes(4)
    return bytes(content)

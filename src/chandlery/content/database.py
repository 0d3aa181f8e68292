"""chandlery.db: one SQLite file that many processes share, opened in a fraction of a millisecond.

Write-ahead logging, so that readers never wait; one connection a thread. An ordinary transaction is on the disk when it returns
(synchronous=FULL); `durable=False` is for what may be forgotten in a power failure, such as the time of last use. All writes are
BEGIN IMMEDIATE: the write lock is what orders leases against prunes (layout.py). Errors of SQLite become ours here and nowhere else.
"""

import os
from _thread import _local as ThreadLocal

from chandlery.content import faults
from chandlery.content.schema import FORMAT_VERSION, MIGRATIONS, statements
from chandlery.errors import ChandleryError, InternalError, StoreError

try:
    # the extension without its Python half, which imports datetime and more for adapters that nobody here uses: 3 ms of start-up
    import _sqlite3 as sqlite
except ImportError:
    import sqlite3 as sqlite  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Row = tuple[Any, ...]
    Value = str | int | float | bytes | None

BUSY_TIMEOUT_S = 30.0
# pages of write-ahead log after which a commit moves them into the database
_CHECKPOINT_PAGES = 1000

_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 26


if TYPE_CHECKING:
    _RowList = list[Row]
else:
    _RowList = list


class Rows(_RowList):
    """The rows of a finished statement: a list, which can also be asked in the words of a DB-API cursor."""

    def fetchall(self) -> "list[Row]":
        return self

    def fetchone(self) -> "Any":
        return self[0] if self else None


class Transaction:
    """What may be done inside `with database.transaction() as tx`; ends with it."""

    def __init__(self, connection: "sqlite.Connection") -> None:
        self._connection = connection

    def execute(self, sql: str, params: "Sequence[Value]" = ()) -> "Rows":
        """Run one statement to its end; all its rows."""
        return Rows(self._connection.execute(sql, params))

    def execute_many(self, sql: str, rows: "Iterable[Sequence[Value]]") -> None:
        """Run one statement for each of `rows`."""
        self._connection.executemany(sql, rows)


class Database:
    """The open database at `path`, made or migrated if need be. Safe to share between threads.

    Raises, from any method: StoreError store.newer, store.busy, store.read-only, store.damaged; NoSpace.
    """

    def __init__(self, path: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._local = ThreadLocal()
        self._connections: list[sqlite.Connection] = []
        try:
            connection = self._connection()
            if connection.execute("PRAGMA user_version").fetchone()[0] != FORMAT_VERSION:
                self._migrate(connection)
        except BaseException as error:
            self.close()
            raise self._translated(error) from error

    def read(self, sql: str, params: "Sequence[Value]" = ()) -> "list[Row]":
        """All rows of one SELECT, from a consistent snapshot; never waits for a writer."""
        try:
            return self._connection().execute(sql, params).fetchall()
        except sqlite.Error as error:
            raise self._translated(error) from error

    def transaction(self, *, durable: bool = True) -> "_Scope":
        """`with db.transaction() as tx:` commits at the end of the body, or rolls back if that raises. Not nestable within a thread."""
        return _Scope(self, self._connection(), durable)

    def close(self) -> None:
        """Close the connections of all threads, which must have ended their transactions."""
        while self._connections:
            self._connections.pop().close()
        self._local = ThreadLocal()

    def _connection(self) -> "sqlite.Connection":
        try:
            found: sqlite.Connection = self._local.connection
        except AttributeError:
            try:
                found = self._connect()
            except sqlite.Error as error:
                raise translate(error, self.path) from error
            self._local.connection = found
            self._connections.append(found)
        return found

    def _connect(self) -> "sqlite.Connection":
        connection = sqlite.connect(self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _migrate(self, connection: "sqlite.Connection") -> None:
        """Bring an older or empty file to FORMAT_VERSION, all or nothing; another process may be doing the same."""
        _refuse_newer(self.path, connection)
        _persist(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone(), self._busy_timeout_s)
        with _Scope(self, connection, True) as tx:
            for script in MIGRATIONS[_refuse_newer(self.path, connection) :]:
                for statement in statements(script):
                    tx.execute(statement)
            tx.execute(f"PRAGMA user_version={FORMAT_VERSION}")

    def _translated(self, error: BaseException) -> BaseException:
        if not isinstance(error, sqlite.Error):
            return error
        return translate(error, self.path)


class _Scope:
    """One transaction as a context manager (contextlib would cost the warm path a millisecond)."""

    def __init__(self, database: Database, connection: "sqlite.Connection", durable: bool) -> None:
        self._database = database
        self._connection = connection
        self._durable = durable

    def __enter__(self) -> Transaction:
        if self._connection.in_transaction:
            raise InternalError("a transaction was begun inside another of the same thread", code="internal.nested-transaction")
        try:
            if not self._durable:
                self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite.Error as error:
            self._restore()
            raise self._database._translated(error) from error
        return Transaction(self._connection)

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
        except sqlite.Error as failed:
            error = failed
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._restore()
        if isinstance(error, sqlite.Error):
            raise self._database._translated(error) from error

    def _restore(self) -> None:
        if not self._durable:
            self._connection.execute("PRAGMA synchronous=FULL")


def translate(error: "sqlite.Error", path: str) -> ChandleryError:
    """Our error for one of SQLite's (https://www.sqlite.org/rescode.html)."""
    number = getattr(error, "sqlite_errorcode", 0) & 0xFF
    root = os.path.dirname(path)
    if number == _FULL or (number == _IOERR and _is_full(root)):
        return faults.no_space(root)
    if number in (_BUSY, _LOCKED):
        return StoreError(
            f"{path} stayed locked by another process", code="store.busy", hint="wait for the other builds, or end the one that hangs, and try again"
        )
    if number in (_READONLY, _CANTOPEN):
        return faults.read_only(root)
    if number in (_CORRUPT, _NOTADB, _IOERR):
        return StoreError(
            f"{path} is damaged ({error})",
            code="store.damaged",
            hint=f"move {path} away: the cache starts empty, and `chandlery prune` removes what the old one left",
        )
    return InternalError(f"a statement failed in {path}: {error}", code="internal.sql")


def _is_full(directory: str) -> bool:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize < 1 << 20


def _refuse_newer(path: str, connection: "sqlite.Connection") -> int:
    """The file's format version. Raises StoreError store.newer if that is beyond ours."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT_VERSION:
        raise StoreError(
            f"{os.path.dirname(path)} was written by a newer chandlery (store format {version}, this one knows {FORMAT_VERSION})",
            code="store.newer",
            hint="upgrade this chandlery, or choose another store with --root",
        )
    return version


def _persist(attempt: "Callable[[], object]", timeout_s: float) -> None:
    """Repeat while SQLite says busy: turning on the write-ahead log doesn't wait for locks by itself."""
    import time

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            attempt()
            return
        except sqlite.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != _BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)

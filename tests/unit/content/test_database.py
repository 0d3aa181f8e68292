"""The database: transactions, versions, and SQLite's errors as ours."""

import os
import pathlib
import threading

import pytest

from chandlery.content import database as database_module
from chandlery.content.database import Database
from chandlery.content.schema import FORMAT_VERSION
from chandlery.errors import ChandleryError, InternalError, StoreError

SQL = "INSERT INTO memo (key, value, last_used_at) VALUES (?, x'', 0)"


@pytest.fixture
def db(tmp_path):
    opened = Database(str(tmp_path / "chandlery.db"))
    yield opened
    opened.close()


def keys(db):
    return [row[0] for row in db.read("SELECT key FROM memo ORDER BY key")]


def fail_after_writing(tx):
    tx.execute(SQL, ("a",))
    raise StoreError("for the test")


def test_a_transaction_commits_at_its_end(db):
    with db.transaction() as tx:
        tx.execute(SQL, ("a",))
    with db.transaction(durable=False) as tx:
        tx.execute_many(SQL, [("b",), ("c",)])
    assert keys(db) == ["a", "b", "c"]


def test_a_transaction_whose_body_raises_changes_nothing(db):
    with pytest.raises(StoreError), db.transaction() as tx:
        fail_after_writing(tx)
    with db.transaction() as tx:
        tx.execute(SQL, ("b",))
    assert keys(db) == ["b"]


def test_rows_are_a_list_that_answers_like_a_cursor(db):
    with db.transaction() as tx:
        tx.execute(SQL, ("a",))
        rows = tx.execute("SELECT key FROM memo")
        assert rows == [("a",)]
        assert rows.fetchall() == [("a",)]
        assert rows.fetchone() == ("a",)
        assert tx.execute("SELECT key FROM memo WHERE key = 'z'").fetchone() is None


def test_durable_transactions_sync_and_others_do_not(db):
    with db.transaction(durable=False) as tx:
        assert tx.execute("PRAGMA synchronous") == [(1,)]
    with db.transaction() as tx:
        assert tx.execute("PRAGMA synchronous") == [(2,)]


def test_a_nested_transaction_is_a_bug(db):
    with pytest.raises(InternalError) as caught, db.transaction(), db.transaction():
        pass
    assert caught.value.code == "internal.nested-transaction"
    with db.transaction() as tx:
        tx.execute(SQL, ("a",))


def test_threads_have_connections_of_their_own_and_close_ends_all(db):
    def write(name):
        for number in range(20):
            with db.transaction(durable=False) as tx:
                tx.execute(SQL, (f"{name}{number}",))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys(db)) == 80
    assert len(db._connections) == 5
    db.close()
    assert not db._connections


def test_a_writer_that_stays_is_reported_as_busy(tmp_path):
    path = str(tmp_path / "chandlery.db")
    holder, other = Database(path), Database(path, busy_timeout_s=0.05)
    with holder.transaction(), pytest.raises(StoreError) as caught, other.transaction():
        pass
    assert caught.value.code == "store.busy"
    assert other.read("SELECT 1") == [(1,)]
    holder.close()
    other.close()


def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path):
    path = str(tmp_path / "chandlery.db")
    db = Database(path)
    db.read(f"PRAGMA user_version={FORMAT_VERSION + 1}")
    db.close()
    before = pathlib.Path(path).read_bytes()
    with pytest.raises(StoreError) as caught:
        Database(path)
    assert caught.value.code == "store.newer"
    assert pathlib.Path(path).read_bytes() == before
    assert os.listdir(tmp_path) == ["chandlery.db"]


def test_an_older_store_is_migrated_and_keeps_its_rows(tmp_path, monkeypatch):
    path = str(tmp_path / "chandlery.db")
    db = Database(path)
    with db.transaction() as tx:
        tx.execute(SQL, ("a",))
    db.close()
    monkeypatch.setattr(database_module, "FORMAT_VERSION", FORMAT_VERSION + 1)
    monkeypatch.setattr(database_module, "MIGRATIONS", (*database_module.MIGRATIONS, "CREATE TABLE added (x); INSERT INTO added VALUES (1)"))
    migrated = Database(path)
    assert keys(migrated) == ["a"]
    assert migrated.read("SELECT x FROM added") == [(1,)]
    assert migrated.read("PRAGMA user_version") == [(FORMAT_VERSION + 1,)]
    migrated.close()


def test_a_migration_that_fails_leaves_the_older_store(tmp_path, monkeypatch):
    path = str(tmp_path / "chandlery.db")
    Database(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(database_module, "FORMAT_VERSION", FORMAT_VERSION + 1)
        patch.setattr(database_module, "MIGRATIONS", (*database_module.MIGRATIONS, "CREATE TABLE added (x); NONSENSE"))
        with pytest.raises(ChandleryError) as caught:
            Database(path)
        assert caught.value.code == "internal.sql"
    db = Database(path)
    assert db.read("SELECT count(*) FROM sqlite_schema WHERE name = 'added'") == [(0,)]
    assert db.read("PRAGMA user_version") == [(FORMAT_VERSION,)]
    db.close()


@pytest.mark.parametrize("garbage", [b"this is no database" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_database_is_named(tmp_path, garbage):
    path = tmp_path / "chandlery.db"
    path.write_bytes(garbage)
    with pytest.raises(StoreError) as caught:
        Database(str(path))
    assert caught.value.code == "store.damaged"
    assert caught.value.hint


def test_many_processes_may_make_one_database_at_once(tmp_path):
    path = str(tmp_path / "chandlery.db")
    failures = []

    def make():
        try:
            Database(path).close()
        except ChandleryError as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []

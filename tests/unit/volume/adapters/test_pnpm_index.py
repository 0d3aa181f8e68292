"""pnpm's indexes: what any writer of the SQLite one knew is in what they merge to; those of single packages are shared with what they list."""

import base64
import hashlib
import itertools
import json
import sqlite3

import pytest
from tests.unit.volume.adapters.test_known import Tree

from chandlery.volume.adapters import known

PATH = "store/v11/index.db"
TABLE = "CREATE TABLE package_index (key TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID"


def database(tmp_path, rows, *statements):
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    for statement in statements or (TABLE,):
        db.execute(statement)
    db.executemany("INSERT INTO package_index VALUES (?, ?)", rows)
    db.commit()
    db.close()
    return path.read_bytes()


def rows_of(tmp_path, content):
    path = tmp_path / "read.db"
    path.write_bytes(content)
    db = sqlite3.connect(path)
    rows = db.execute("SELECT * FROM package_index ORDER BY key").fetchall()
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    return rows


def test_any_order_gives_the_rows_of_all_in_the_same_bytes(tmp_path):
    made = [database(tmp_path, [("ms", b"1"), (f"own{number}", bytes([number]) * 3000), ("both", bytes([number]))]) for number in range(3)]
    results = {known.merge_index(PATH, known.merge_index(PATH, one, two), three) for one, two, three in itertools.permutations(made)}
    (result,) = results
    assert [key for key, _ in rows_of(tmp_path, result)] == ["both", "ms", "own0", "own1", "own2"]
    assert dict(rows_of(tmp_path, result))["both"] == b"\2"
    assert {known.merge_index(PATH, result, one) for one in made} == {result}


def test_a_damaged_one_gives_way(tmp_path):
    good = database(tmp_path, [("ms", b"1")])
    bad = good[:4096] + b"\xff" * 4096 + good[8192:]
    assert known.merge_index(PATH, good, bad) == known.merge_index(PATH, bad, good) == good
    assert known.may_share(PATH, Tree({PATH: good}))
    assert not known.may_share(PATH, Tree({PATH: bad}))


@pytest.mark.parametrize("other", [b"", b"SQLite format 3\0", b"no database at all" * 900])
def test_what_is_no_database_is_not_merged(other):
    assert known.merge_index(PATH, other, other + b"x") is None


def test_another_form_is_left_to_one_side(tmp_path):
    now = database(tmp_path, [("ms", b"1")])
    later = database(tmp_path, [("ms", "1")], TABLE.replace("BLOB", "TEXT"))
    assert known.merge_index(PATH, now, later) is None
    assert known.merge_index("other/index.db", now, now + b"x") is None


def test_its_log_is_not_kept_and_another_databases_log_is():
    assert known.is_never_stored("v11/index.db-wal")
    assert not known.is_never_stored("cache/other.db-wal")
    assert known.unit_of("v11/index.db") == ""
    assert known.unit_of("cache/index.db-wal") == "cache/index.db"


@pytest.mark.parametrize("place", ["v10/index/5a/ed55-lib@1.0.0.json", "v3/files/5a/ed55-index.json"])
def test_a_failed_steps_package_is_shared_if_all_its_files_are_there(place):
    store = place.split("/")[0]
    digests = [hashlib.sha512(content) for content in (b"module", b"program")]
    listing = json.dumps({"files": {str(number): {"integrity": "sha512-" + base64.b64encode(found.digest()).decode()} for number, found in enumerate(digests)}})
    module, program = (f"{store}/files/{found.hexdigest()[:2]}/{found.hexdigest()[2:]}" for found in digests)
    there = {place: listing.encode(), module: b"module", f"{program}-exec": b"program"}
    assert all(known.may_share(path, Tree(there)) for path in there)
    assert not known.may_share(place, Tree({place: listing.encode(), module: b"module"}))
    assert not known.may_share(place, Tree({**there, place: listing.encode()[:-9]}))

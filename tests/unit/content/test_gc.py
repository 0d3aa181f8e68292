"""Pruning: the oldest goes first, what is needed stays, rows and files agree afterwards."""

import json
import os

import pytest

from chandlery.content import gc
from chandlery.content.gc import PrunePolicy, prune
from chandlery.content.policy import default_policies, is_exceeded
from chandlery.content.usage import YOUNG_S, Kind, usage
from chandlery.content.verify import garbage, verify
from chandlery.errors import RequestError
from chandlery.linux.flock import FileLock
from chandlery.oci.digest import sha256

EVERYTHING = PrunePolicy()


class Shelf:
    """Fills a store with things of a known age."""

    def __init__(self, store):
        self.store = store

    def snapshot(self, name, *, used_at=0.0, size=100, diff_id=None):
        os.makedirs(self.store.layout.snapshot(name))
        with self.store.db.transaction() as tx:
            tx.execute("INSERT INTO snapshot (id, diff_id, size_bytes, created_at, last_used_at) VALUES (?, ?, ?, 0, ?)", (name, diff_id, size, used_at))
        return name

    def record(self, key, *layers, used_at=0.0):
        with self.store.db.transaction() as tx:
            tx.execute(
                "INSERT INTO step_record (key, kind, op_digest, document, layers, name, created_at, last_used_at) VALUES (?, 'chain', '', '', ?, ?, 0, ?)",
                (key, json.dumps(layers), f"RUN {key}", used_at),
            )

    def blob(self, data, *, used_at=0.0):
        digest = self.store.blobs.put(data)
        os.utime(self.store.blobs.path(digest), (used_at, used_at))
        return digest

    def layer_blob(self, diff_id, digest, *, used_at=0.0):
        with self.store.db.transaction() as tx:
            tx.execute("INSERT INTO layer_blob VALUES (?, 'gzip', 'type', ?, 5, 'isal', ?)", (diff_id, digest, used_at))

    def image(self, name, config, *diff_ids):
        with self.store.db.transaction() as tx:
            tx.execute("INSERT INTO image VALUES (?, ?, NULL, ?, 0, 0)", (name, config, json.dumps(diff_ids)))

    def volume(self, name, *, size=100):
        os.makedirs(f"{self.store.layout.volumes}/{name}/layer/fs")
        with self.store.db.transaction() as tx:
            tx.execute("INSERT INTO volume (id, scope, name, platform, head, created_at, last_used_at) VALUES (?, 's', ?, 'p', 1, 0, 0)", (name, name))
            tx.execute("INSERT INTO volume_generation VALUES (?, 1, '{}', ?, 0)", (name, size))

    @property
    def snapshots(self):
        rows = {row[0] for row in self.store.db.read("SELECT id FROM snapshot")}
        assert rows == set(os.listdir(self.store.layout.snapshots))
        return rows

    @property
    def records(self):
        return {row[0] for row in self.store.db.read("SELECT key FROM step_record")}


@pytest.fixture
def shelf(store):
    yield Shelf(store)
    assert verify(store) == []
    assert garbage(store) == []


def test_without_limits_everything_unused_goes(store, shelf):
    shelf.record("k", {"snapshot": shelf.snapshot("a")})
    shelf.blob(b"x")
    report = prune(store, EVERYTHING)
    assert report.freed_bytes == 101
    assert {row.kind for row in report.removed} == {Kind.STEP, Kind.BLOB}
    assert not shelf.snapshots
    assert not shelf.records
    assert usage(store) == []


def test_a_dry_run_says_the_same_and_does_nothing(store, shelf):
    shelf.record("k", {"snapshot": shelf.snapshot("a")})
    said = prune(store, EVERYTHING, dry_run=True)
    assert shelf.records == {"k"}
    assert prune(store, EVERYTHING) == said


def test_the_least_recently_used_go_first_until_the_rest_fits(store, shelf):
    for age in range(5):
        shelf.record(f"k{age}", {"snapshot": shelf.snapshot(f"s{age}", used_at=100 - age)}, used_at=100 - age)
    report = prune(store, PrunePolicy(max_used_bytes=250))
    assert [row.id for row in report.removed] == ["s4", "s3", "s2"]
    assert shelf.records == {"k0", "k1"}


def test_a_layer_is_as_young_as_the_youngest_record_on_it(store, shelf):
    shelf.snapshot("base", used_at=1)
    shelf.snapshot("middle", used_at=5)
    shelf.snapshot("top", used_at=9)
    shelf.record("old", "base", "middle", used_at=5)
    shelf.record("young", "base", "top", used_at=9)
    prune(store, PrunePolicy(max_used_bytes=200))
    assert shelf.snapshots == {"base", "top"}
    assert shelf.records == {"young"}


def test_a_record_never_outlives_a_layer_it_stands_on(store, shelf):
    shelf.snapshot("base")
    shelf.snapshot("top")
    shelf.record("k", "base", "top")
    prune(store, PrunePolicy(filters=("id=base",)))
    assert not shelf.records
    assert shelf.snapshots == {"top"}


def test_keep_duration_and_until_spare_what_was_used_lately(store, shelf):
    for name, used_at in (("old", 0.0), ("new", 900.0)):
        shelf.snapshot(name, used_at=used_at)
    for policy in (PrunePolicy(keep_duration_s=500), PrunePolicy(filters=("until=500",))):
        prune(store, policy, clock=lambda: 1000.0)
        assert shelf.snapshots == {"new"}


def test_reserved_space_always_stays(store, shelf):
    for number in range(4):
        shelf.snapshot(f"s{number}", used_at=number)
    prune(store, PrunePolicy(reserved_bytes=150))
    assert shelf.snapshots == {"s2", "s3"}


def test_free_space_is_a_limit_of_its_own(store, shelf, monkeypatch):
    for number in range(4):
        shelf.snapshot(f"s{number}", used_at=number)
    monkeypatch.setattr(gc, "free_bytes", lambda root: 1000)
    prune(store, PrunePolicy(min_free_bytes=1000))
    assert len(shelf.snapshots) == 4
    prune(store, PrunePolicy(min_free_bytes=1150))
    assert shelf.snapshots == {"s2", "s3"}


def test_what_a_running_build_leases_stays(store, session, shelf):
    shelf.record("k", shelf.snapshot("a"), shelf.snapshot("b"))
    shelf.snapshot("c")
    shelf.snapshot("d")
    shelf.volume("v")
    digest = shelf.blob(b"x")
    with store.db.transaction() as tx:
        session.lease(tx, "record", "k")
        session.lease(tx, "snapshot", "c")
        session.lease(tx, "blob", digest)
        session.lease(tx, "volume", "v")
    assert [row.id for row in prune(store, EVERYTHING).removed] == ["d"]
    assert shelf.snapshots == {"a", "b", "c"}
    assert store.blobs.has(digest)
    session.close()
    prune(store, EVERYTHING)
    assert not shelf.snapshots
    assert not store.blobs.has(digest)


def test_a_volume_that_a_step_has_locked_stays(store, shelf):
    import fcntl

    shelf.volume("v")
    fd = os.open(f"{store.layout.volumes}/v/layer", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert prune(store, EVERYTHING).removed == ()
    os.close(fd)
    swept = []
    assert [row.id for row in prune(store, EVERYTHING, also=(swept.append,)).removed] == ["v"]
    assert swept == [store]


def test_an_image_keeps_its_layers_and_blobs(store, shelf):
    diff_id, config, layer = sha256(b"tar"), shelf.blob(b"config"), shelf.blob(b"layer")
    shelf.snapshot("a", diff_id=diff_id)
    shelf.layer_blob(diff_id, layer)
    shelf.image("name:tag", config, diff_id)
    shelf.record("k", {"diff_id": diff_id})
    assert [row.id for row in prune(store, EVERYTHING).removed] == ["k"]
    assert {row.id for row in usage(store) if row.is_shared} == {"a", config, layer}
    with store.db.transaction() as tx:
        tx.execute("DELETE FROM image")
    prune(store, EVERYTHING)
    assert usage(store) == []


def test_a_compressed_layer_goes_with_its_row(store, shelf):
    digest = shelf.blob(b"layer")
    shelf.layer_blob(sha256(b"tar"), digest, used_at=5)
    other = shelf.blob(b"other")
    shelf.layer_blob(sha256(b"tar2"), other, used_at=9)
    prune(store, PrunePolicy(max_used_bytes=5))
    assert not store.blobs.has(digest)
    assert store.db.read("SELECT digest FROM layer_blob") == [(other,)]


def test_a_blob_that_nothing_names_yet_stays_while_it_is_young(store, shelf):
    digest = store.blobs.put(b"manifest")
    prune(store, EVERYTHING)
    assert store.blobs.has(digest)
    prune(store, EVERYTHING, clock=lambda: os.stat(store.blobs.path(digest)).st_mtime + YOUNG_S + 1)
    assert not store.blobs.has(digest)


def test_a_pin_keeps_its_blob_as_recent_as_its_check(store, shelf):
    pinned, other = shelf.blob(b"pinned"), shelf.blob(b"other", used_at=5)
    with store.db.transaction() as tx:
        tx.execute("INSERT INTO pin VALUES ('http://x', ?, 9)", (json.dumps({"digest": pinned}),))
    prune(store, PrunePolicy(max_used_bytes=6))
    assert store.blobs.has(pinned)
    assert not store.blobs.has(other)


def test_logs_have_a_budget_and_a_running_builds_log_stays(store, session, shelf):
    for name, age in (("old", 1), ("new", 2), (session.id, 0)):
        with open(store.layout.log(name), "w") as file:
            file.write("x" * 100)
        os.utime(store.layout.log(name), (age, age))
    prune(store, PrunePolicy(max_used_bytes=200, filters=("type=log",)))
    assert sorted(os.listdir(store.layout.logs)) == sorted(["new.log", f"{session.id}.log"])


def test_git_mirrors_go_whole(store, shelf):
    os.makedirs(store.layout.git + "/mirror/objects/pack")
    assert [row.id for row in prune(store, PrunePolicy(filters=("type=git",))).removed] == ["mirror"]
    assert os.listdir(store.layout.git) == []


def test_a_git_mirror_in_use_stays(store, shelf):
    os.makedirs(store.layout.git + "/mirror")
    with FileLock(store.layout.git + "/mirror.lock"):
        prune(store, EVERYTHING)
        assert sorted(os.listdir(store.layout.git)) == ["mirror", "mirror.lock"]


def test_what_a_crash_left_is_removed(store, shelf):
    os.makedirs(store.layout.snapshot("norow") + "/x")
    os.makedirs(store.layout.trash + "/half/removed")
    os.makedirs(store.layout.builds + "/dead/s0")
    assert len(garbage(store)) == 3
    prune(store, PrunePolicy(max_used_bytes=1 << 40))
    assert garbage(store) == []


def test_an_unknown_filter_is_refused_before_anything_happens(store, shelf):
    shelf.snapshot("a")
    with pytest.raises(RequestError):
        prune(store, PrunePolicy(filters=("colour=red",)))
    assert shelf.snapshots == {"a"}


def test_a_policy_that_is_met_is_seen_from_rows_alone(store, shelf):
    shelf.snapshot("a", size=1000)
    assert not is_exceeded(store, PrunePolicy(max_used_bytes=1000))
    assert is_exceeded(store, PrunePolicy(max_used_bytes=999))
    assert is_exceeded(store, PrunePolicy(min_free_bytes=1 << 60))
    assert is_exceeded(store, EVERYTHING)


def test_a_policy_for_logs_looks_at_logs_alone(store, shelf):
    logs, _ = default_policies(store.root)
    shelf.snapshot("a", size=logs.max_used_bytes + 1)
    assert not is_exceeded(store, logs)
    with open(store.layout.log("b1"), "wb") as file:
        file.truncate(logs.max_used_bytes + 1)
    assert is_exceeded(store, logs)


def test_the_default_policies_are_limits(store):
    logs, space = default_policies(store.root)
    assert logs.max_used_bytes == 256 << 20
    assert 0 < space.min_free_bytes < space.max_used_bytes


def test_usage_names_each_thing_once(store, shelf):
    shelf.record("k1", shelf.snapshot("a", size=7), used_at=5)
    shelf.record("k2", "a", used_at=6)
    [row] = usage(store)
    assert (row.kind, row.id, row.size_bytes, row.last_used_at, row.description) == (Kind.STEP, "a", 7, 6, "RUN k2")

"""A process that builds and prunes in one store as a real build does, until it is done or killed: `store_worker.py ROOT SEED ACKNOWLEDGED`.

Each step's files, blob and record are derived from its key, so whoever hits a record can check all of it. A step "keep-*" is used now and
safe from the prunes that run meanwhile; a step "old-*" looks unused since 1970. A key is appended to the file ACKNOWLEDGED once its
record is committed. Exits with 1 and a message when something it holds is not what it should be.
"""

import json
import os
import random
import sys
import time

from chandlery.content.gc import PrunePolicy, prune
from chandlery.content.session import clean_dead_sessions
from chandlery.content.steplock import StepLocks
from chandlery.content.store import Store
from chandlery.snapshot.snapshots import SnapshotStore

STEPS = 30
PRUNES = (
    PrunePolicy(keep_duration_s=3600),
    PrunePolicy(max_used_bytes=0, keep_duration_s=3600),
    PrunePolicy(max_used_bytes=100_000, keep_duration_s=3600),
)


class Build:
    def __init__(self, store, session, acknowledged):
        self.store = store
        self.session = session
        self.acknowledged = acknowledged
        self.held = {}

    def step(self, key):
        with StepLocks(self.store.layout).hold(key, timeout_s=30):
            found = self.look_up(key)
            self.held[key] = found or self.run(key)

    def look_up(self, key):
        with self.store.db.transaction(durable=False) as tx:
            rows = tx.execute("SELECT layers, document FROM step_record WHERE key = ?", (key,))
            if not rows:
                return None
            snapshot, digest = json.loads(rows[0][0])[0]["snapshot"], rows[0][1]
            self.session.lease(tx, "record", key)
            self.session.lease(tx, "snapshot", snapshot)
            has_blob = self.store.blobs.has(digest)
            if has_blob:
                self.session.lease(tx, "blob", digest)
        return snapshot, digest if has_blob else None

    def run(self, key):
        used_at = time.time() if key.startswith("keep") else 0.0
        snapshots = SnapshotStore(self.store, clock=lambda: used_at)
        active = snapshots.prepare(self.session)
        os.mkdir(active.upper + "/dir")
        for name in ("a", "dir/b"):
            with open(f"{active.upper}/{name}", "w") as file:
                file.write(key * 100)
        snapshot = snapshots.commit(active)
        with self.store.blobs.ingest(self.session) as ingest:
            ingest.write(key.encode() * 1000)
            digest = ingest.commit()
        if not used_at:
            os.utime(self.store.blobs.path(digest), (0, 0))
        with self.store.db.transaction() as tx:
            tx.execute(
                "INSERT INTO step_record (key, kind, op_digest, document, layers, created_at, last_used_at) VALUES (?, 'chain', '', ?, ?, ?, ?)",
                (key, digest, json.dumps([{"snapshot": snapshot}]), used_at, used_at),
            )
            tx.execute("INSERT OR REPLACE INTO layer_blob VALUES (?, 'gzip', '', ?, ?, '', ?)", (key, digest, len(key) * 1000, used_at))
            self.session.lease(tx, "record", key)
        os.write(self.acknowledged, f"{key}\n".encode())
        return snapshot, digest

    def check(self):
        """What this build holds is still there, whole."""
        for key, (snapshot, digest) in self.held.items():
            for name in ("a", "dir/b"):
                with open(f"{self.store.layout.snapshot(snapshot)}/{name}") as file:
                    assert file.read() == key * 100, key
            if digest:
                assert self.store.blobs.read(digest) == key.encode() * 1000, key


def main(root, seed, acknowledged_path):
    choose = random.Random(int(seed))
    acknowledged = os.open(acknowledged_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with Store.open(root) as store:
        for _ in range(4):
            clean_dead_sessions(store)
            with store.begin() as session:
                build = Build(store, session, acknowledged)
                for _ in range(4):
                    build.step(f"{choose.choice(('keep', 'old'))}-{choose.randrange(STEPS)}")
                if choose.random() < 0.5:
                    SnapshotStore(store).sync()
                build.check()
                if choose.random() < 0.7:
                    prune(store, choose.choice(PRUNES))
                    build.check()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Stores on real file systems that are full, read-only, or no place for a store. Each runs in a mount namespace of its own."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

PRELUDE = """
import os, sys
from chandlery.content.gc import PrunePolicy, prune
from chandlery.content.store import Store
from chandlery.content.verify import garbage, verify
from chandlery.errors import ChandleryError
from chandlery.linux import libc
from chandlery.snapshot.snapshots import SnapshotStore

place = sys.argv[1]

def code_of(act):
    try:
        act()
    except ChandleryError as error:
        assert error.hint, error
        return error.code
    return "fine"
"""


def run(place, script):
    """What a script prints, a list of words; its mounts end with it."""
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", PRELUDE + script, str(place)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_store_on_an_overlay_is_refused(tmp_path):
    script = """
for name in ("l", "u", "w", "m"):
    os.mkdir(f"{place}/{name}")
libc.mount("overlay", f"{place}/m", "overlay", 0, f"lowerdir={place}/l,upperdir={place}/u,workdir={place}/w")
print(code_of(lambda: Store.open(f"{place}/m/store")), os.listdir(f"{place}/m/store"))
"""
    assert run(tmp_path, script) == ["store.on-overlay", "[]"]


def test_a_store_that_became_read_only_is_refused(tmp_path):
    script = """
libc.mount("tmpfs", place, "tmpfs", 0, "size=8m")
print(code_of(lambda: Store.open(f"{place}/store").close()))
libc.mount("tmpfs", place, "tmpfs", 1 | 32, "")
print(code_of(lambda: Store.open(f"{place}/store")), code_of(lambda: Store.open(f"{place}/new")))
"""
    assert run(tmp_path, script) == ["fine", "store.read-only", "store.read-only"]


def test_a_store_that_becomes_read_only_while_open_says_so(tmp_path):
    script = """
libc.mount("tmpfs", place, "tmpfs", 0, "size=8m")
store = Store.open(f"{place}/store")
store.close()
libc.mount("tmpfs", place, "tmpfs", 1 | 32, "")
print(code_of(store.begin), code_of(lambda: store.blobs.put(b"x")), code_of(lambda: store.db.transaction().__enter__()))
"""
    assert run(tmp_path, script) == ["store.read-only"] * 3


def test_a_full_disk_is_no_space_wherever_it_is_met_and_prune_makes_room(tmp_path):
    script = """
libc.mount("tmpfs", place, "tmpfs", 0, "size=4m")
store = Store.open(f"{place}/store")
snapshots = SnapshotStore(store)
old = store.begin()
active = snapshots.prepare(old)
with open(active.upper + "/big", "wb") as file:
    file.write(bytes(2 << 20))
snapshots.commit(active)
old.close()
session = store.begin()

def ingest():
    with store.blobs.ingest(session) as into:
        for _ in range(64):
            into.write(os.urandom(1 << 16))
        into.commit()

def fill():
    for number in range(10000):
        with store.db.transaction() as tx:
            tx.execute("INSERT INTO memo VALUES (?, ?, 0)", (str(number), bytes(5000)))

print(code_of(ingest), code_of(lambda: store.blobs.put(bytes(4 << 20))), code_of(fill))
with open(f"{place}/ballast", "wb", 0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
def lease():
    with store.db.transaction(durable=False) as tx:
        session.lease(tx, "blob", "x")

print(code_of(lease), code_of(lambda: store.blobs.put(b"x")))
print(prune(store, PrunePolicy(max_used_bytes=0)).freed_bytes > 1 << 20)
with store.db.transaction() as tx:
    tx.execute("SELECT 1")
store.blobs.put(bytes(1 << 20))
session.close()
prune(store, PrunePolicy(max_used_bytes=1 << 40))
assert os.path.getsize(store.layout.reserve) == 1 << 20
print(verify(store), garbage(store), os.listdir(store.layout.new_blobs))
"""
    assert run(tmp_path, script) == ["machine.no-space"] * 5 + ["True", "[]", "[]", "[]"]


def test_a_dead_builds_scratch_is_removed_without_going_into_its_mounts(tmp_path):
    script = """
store = Store.open(f"{place}/store")
os.makedirs(f"{place}/host/precious")
scratch = f"{store.layout.builds}/dead/s0"
os.makedirs(scratch)
libc.mount(f"{place}/host", scratch, "none", 4096)
from chandlery.content.session import clean_dead_sessions
print(clean_dead_sessions(store), os.listdir(f"{place}/host"), os.listdir(store.layout.builds))
"""
    assert run(tmp_path, script) == ["1", "['precious']", "[]"]

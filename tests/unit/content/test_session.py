"""Sessions: what a build holds lives exactly as long as its process."""

import os
import signal
import subprocess
import sys
import threading

from chandlery.content.session import clean_dead_sessions, dead_sessions, live_leases
from chandlery.content.store import Store

CHILD = """
import sys, os, signal
from chandlery.content.store import Store
store = Store.open(sys.argv[1])
session = store.begin()
with store.db.transaction(durable=False) as tx:
    session.lease(tx, "snapshot", "abc", "def")
with open(session.scratch("s") + "/file", "w") as file:
    file.write("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_build(store):
    done = subprocess.run([sys.executable, "-c", CHILD, store.root], check=False, env={**os.environ, "PYTHONPATH": "src"})
    assert done.returncode == -signal.SIGKILL


def test_scratch_directories_are_empty_short_and_go_with_the_session(store):
    session = store.begin()
    first, second = session.scratch("a"), session.scratch("a")
    assert first != second
    assert os.listdir(first) == []
    assert len(os.path.relpath(first, store.root)) < 25
    os.makedirs(first + "/deep/er")
    session.close()
    session.close()
    assert os.listdir(store.layout.builds) == []


def test_leases_count_while_the_session_lives(store):
    with store.begin() as session:
        with store.db.transaction() as tx:
            session.lease(tx, "blob", "sha256:1")
            session.lease(tx, "snapshot", "a", "b")
        assert live_leases(store.layout)["snapshot"] == {"a", "b"}
        assert live_leases(store.layout)["blob"] == {"sha256:1"}
    assert not any(live_leases(store.layout).values())


def test_a_running_session_is_not_cleaned(store, session):
    assert clean_dead_sessions(store) == 0
    assert os.path.exists(session.directory + "/lock")


def test_a_killed_build_holds_nothing_and_is_cleaned(store):
    killed_build(store)
    assert len(dead_sessions(store.layout)) == 1
    assert live_leases(store.layout)["snapshot"] == set()
    assert clean_dead_sessions(store) == 1
    assert os.listdir(store.layout.builds) == []


def test_half_made_and_half_removed_directories_are_cleaned(store):
    os.mkdir(store.layout.builds + "/halfmade.new")
    os.makedirs(store.layout.builds + "/halfgone/s0/x")
    assert clean_dead_sessions(store) == 2
    assert os.listdir(store.layout.builds) == []


def test_beginning_survives_any_number_of_cleaners(store):
    stop = threading.Event()

    def clean():
        while not stop.is_set():
            clean_dead_sessions(store)

    cleaners = [threading.Thread(target=clean) for _ in range(3)]
    for cleaner in cleaners:
        cleaner.start()
    try:
        for _ in range(200):
            with store.begin() as session:
                assert os.path.exists(session.directory + "/lock")
    finally:
        stop.set()
        for cleaner in cleaners:
            cleaner.join()


def test_two_stores_of_one_root_see_each_others_sessions(store, session):
    with Store.open(store.root) as other:
        assert clean_dead_sessions(other) == 0
        with store.db.transaction() as tx:
            session.lease(tx, "record", "k")
        assert live_leases(other.layout)["record"] == {"k"}

"""Heads of cache volumes: a kill at each named point leaves the old or the new one, and commits, folds and removals at once lose nothing."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from chandlery.content.store import Store
from chandlery.volume.garbage import OTHER_FILES
from chandlery.volume.key import VolumeKey
from chandlery.volume.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a store keeps owners, which needs root")

KEY = VolumeKey("local", "/cache", "linux/amd64")
POINTS = (
    "volume.seeded",
    "volume.captured",
    "volume.described",
    "volume.renamed",
    "volume.advancing",
    "volume.folded",
    "volume.fold-renamed",
    "volume.swapping",
)

SCRIPT = """
import sys
sys.path.insert(0, {sources!r})
from chandlery.content.store import Store
from chandlery.volume.garbage import OTHER_FILES
from chandlery.volume.key import VolumeKey
from chandlery.volume.volumes import Volumes
store = Store.open(sys.argv[1])
volumes = Volumes(store)
for turn in range(14):
    with store.begin() as session:
        attachment = volumes.attach(VolumeKey("local", "/cache", "linux/amd64"), session, seed_directory=sys.argv[2])
        with open(f"{{attachment.upper}}/{{turn}}", "w") as file:
            file.write("x" * 5000)
        report = volumes.commit(attachment, succeeded=True)
        assert not report.warning, report
        print(turn, flush=True)
volumes.settle()
"""


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "store")) as opened:
        yield opened


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_the_old_head_or_the_new_one(store, tmp_path, point):
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed/seed").write_text("1")
    sources = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../src"))
    arguments = [sys.executable, "-c", SCRIPT.format(sources=sources), store.root, str(tmp_path / "seed")]
    killed = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, "CHANDLERY_RACE_KILL": point})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    volumes = Volumes(store)
    acknowledged = set(killed.stdout.split())
    shown = paths(volumes)
    assert acknowledged <= shown
    assert len(shown - {"seed"} - acknowledged) <= 1, "the step that was under way is there or not"
    assert volumes.verify(KEY) == ()
    add(volumes, store, "after")
    volumes.settle()
    assert paths(volumes) == shown | {"after"}
    assert garbage(store, volumes) == set()


def test_commits_folds_and_removals_at_once_lose_nothing(store):
    volumes = Volumes(store)
    add(volumes, store, "start")
    failures = []

    def keep_adding(worker):
        try:
            for turn in range(20):
                add(volumes, store, f"{worker}-{turn}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_adding, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        add(volumes, store, f"gone-{number}")
        assert volumes.remove_path(KEY, f"gone-{number}").files == 1
        volumes.settle()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert paths(volumes) == {"start"} | {f"{worker}-{turn}" for worker in range(4) for turn in range(20)}
    volumes.settle()
    assert garbage(store, volumes) == set()


def test_two_first_steps_make_one_volume(store):
    with store.begin() as one, store.begin() as two:
        volumes = Volumes(store)
        first, second = volumes.attach(KEY, one), volumes.attach(KEY, two)
        for attachment, name in ((first, "a"), (second, "b")):
            with open(f"{attachment.upper}/{name}", "w"):
                pass
            volumes.commit(attachment, succeeded=True)
    assert paths(volumes) == {"a", "b"}


def test_a_step_that_never_ends_keeps_what_it_stands_on_and_no_more(store):
    volumes = Volumes(store)
    for number in range(5):
        add(volumes, store, str(number))
    with store.begin() as build:
        attachment = volumes.attach(KEY, build)
        for number in range(5, 20):
            add(volumes, store, str(number))
        volumes.settle()
        assert all(os.path.isdir(lower) for lower in attachment.lowers)
        volumes.discard(attachment)
    volumes.settle()
    assert garbage(store, volumes) == set()


def add(volumes, store, name):
    with store.begin() as session:
        attachment = volumes.attach(KEY, session)
        with open(f"{attachment.upper}/{name}", "w") as file:
            file.write("x" * 5000)
        report = volumes.commit(attachment, succeeded=True)
        assert not report.warning


def paths(volumes):
    return {entry.path for entry in volumes.show(KEY)} - {""} if volumes.list() else set()


def garbage(store, volumes):
    named = {path for volume in volumes.list() for path in volume.directories}
    return {
        f"{volume}/{name}"
        for volume in os.listdir(store.layout.volumes)
        for name in os.listdir(f"{store.layout.volumes}/{volume}")
        if f"{store.layout.volumes}/{volume}/{name}" not in named and name not in OTHER_FILES
    }

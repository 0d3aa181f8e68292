"""Trimming, forking and repairing real volumes: what is known of their use outlives folds, and running steps are left alone."""

import os
import threading

import pytest

from chandlery.content.store import Store
from chandlery.errors import RequestError, StoreError
from chandlery.linux import mount
from chandlery.linux.mount import OverlayOptions
from chandlery.volume import reads
from chandlery.volume.key import VolumeKey
from chandlery.volume.size_limit import SizeLimit
from chandlery.volume.trimming import down_to, unused_since
from chandlery.volume.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlay mounts need root")

KEY = VolumeKey("local", "/root/.m2", "linux/amd64")
OPTIONS = OverlayOptions(follows_renames=True, copies_metadata_only=True)


class Machine:
    def __init__(self, root):
        self.root = root
        self.store = Store.open(str(root / "store"))
        self.volumes = Volumes(self.store)
        self._count = 0

    def step(self, act, *, key=KEY, read=()):
        """One build of one step, which reads the paths `read`."""
        with self.store.begin() as session:
            attachment = self.volumes.attach(key, session)
            self._count += 1
            point = self.root / f"m{self._count}-{threading.get_ident()}"
            point.mkdir()
            mount.mount_overlay(str(point), attachment.lowers, upper=attachment.upper, work=attachment.work, options=OPTIONS)
            try:
                act(point)
            finally:
                mount.unmount(str(point))
                point.rmdir()
            attachment.read = dict.fromkeys(read, 1)
            return self.volumes.commit(attachment, succeeded=True)

    def add(self, *names, **options):
        def act(point):
            for name in names:
                (point / name).parent.mkdir(parents=True, exist_ok=True)
                (point / name).write_text(name * 2000)

        return self.step(act, **options)

    def files(self, key=KEY):
        return {entry.path for entry in self.volumes.show(key) if not entry.is_directory}

    @property
    def directory(self):
        return next(row for row in self.volumes.list() if row.key == KEY).directory

    def age(self, days):
        """What lies here came so many days ago, before which nothing was recorded."""
        day = reads.today() - days
        for name in os.listdir(self.directory):
            if os.path.isdir(f"{self.directory}/{name}"):
                os.utime(f"{self.directory}/{name}/table.json", (day * reads.DAY_S, day * reads.DAY_S))
        record = reads.load(self.directory)
        reads._write(self.directory, reads.Reads(day, 0, record.days))


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.volumes.settle()
    made.store.close()


def unused_for(days):
    return lambda uses: unused_since(uses, reads.today() - days)


def test_what_was_read_stays_and_the_rest_goes(machine):
    machine.add("a/a.jar", "b/b.jar", "c/c.jar")
    machine.age(40)
    machine.step(lambda point: None, read=["b/b.jar"])
    machine.volumes.settle()
    plan = machine.volumes.trim(KEY, unused_for(30))
    assert (plan.paths, plan.files) == (("a", "c"), 2)
    assert machine.files() == {"b/b.jar"}


def test_folds_forget_neither_when_a_file_came_nor_when_it_was_read(machine):
    machine.add("old/a.jar", "read/b.jar")
    machine.age(40)
    machine.step(lambda point: None, read=["read/b.jar"])
    for number in range(12):
        machine.add(f"new{number}/n.jar")
    machine.volumes.settle()
    machine.volumes.remove_path(KEY, "nothing")
    assert machine.volumes.trim(KEY, unused_for(30)).paths == ("old",)
    assert len(machine.files()) == 13


def test_a_file_that_came_back_has_been_used(machine):
    machine.add("a/a.jar")
    machine.age(40)
    assert machine.volumes.trim(KEY, unused_for(30)).files == 1
    machine.add("a/a.jar")
    assert machine.volumes.trim(KEY, unused_for(30)).files == 0


def test_a_dry_run_changes_nothing(machine):
    machine.add("a/a.jar")
    machine.age(40)
    before = machine.volumes.rows()
    assert machine.volumes.trim(KEY, unused_for(30), dry_run=True).files == 1
    assert machine.volumes.rows() == before


def test_trims_beside_steps_lose_nothing_that_steps_add(machine):
    machine.add("old/a.jar")
    machine.age(40)
    failures = []

    def add(worker):
        try:
            volumes = Machine.__new__(Machine)
            volumes.__dict__.update(machine.__dict__, volumes=Volumes(machine.store), _count=worker * 100)
            for turn in range(8):
                volumes.add(f"d{worker}-{turn}/x.jar")
        except BaseException as failure:
            failures.append(failure)

    workers = [threading.Thread(target=add, args=(worker,)) for worker in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        machine.volumes.trim(KEY, unused_for(30))
    for worker in workers:
        worker.join()
    assert failures == []
    machine.volumes.trim(KEY, unused_for(30))
    assert machine.files() == {f"d{worker}-{turn}/x.jar" for worker in range(3) for turn in range(8)}


def test_a_step_on_a_trimmed_volume_still_has_what_it_began_with(machine):
    machine.add("old/a.jar")
    machine.age(40)
    seen = []

    def act(point):
        machine.volumes.trim(KEY, unused_for(30))
        machine.volumes.free()
        seen.append((point / "old/a.jar").read_text())
        (point / "old/new.jar").write_text("new")

    machine.step(act)
    assert len(seen[0]) > 0
    assert machine.files() == {"old/new.jar"}


def test_space_comes_back(machine):
    machine.add("a/a.jar", "b/b.jar")
    machine.volumes.remove_path(KEY, "nothing")
    machine.volumes.trim(KEY, lambda uses: down_to(uses, 14_000))
    machine.volumes.free()
    objects = [name for name in os.listdir(machine.store.layout.objects) if os.listdir(f"{machine.store.layout.objects}/{name}")]
    assert len(objects) == 1
    assert sum(os.path.isdir(f"{machine.directory}/{name}") for name in os.listdir(machine.directory)) == 1


def test_an_empty_volume_has_nothing_to_trim(machine):
    machine.step(lambda point: None)
    assert machine.volumes.trim(KEY, unused_for(0)).files == 0


def test_a_size_is_kept_to_and_told_once(machine):
    said = []
    limited = Volumes(machine.store, limit=SizeLimit(30_000, lambda *told: said.append(told[1])))
    machine.volumes = limited
    machine.add("a/a.jar", "b/b.jar")
    limited.settle()
    assert said == []
    machine.add("c/c.jar")
    limited.settle()
    assert len(said) == 1
    assert "cache volume /root/.m2 was larger than 29 KiB: 2 files" in said[0]
    machine.step(lambda point: None)
    limited.settle()
    assert len(said) == 1


def test_a_fork_takes_no_room_for_large_files_and_both_go_their_own_way(machine):
    machine.add("a/a.jar")
    machine.volumes.fork(KEY, "other")
    other = VolumeKey("other", KEY.name, KEY.platform)
    inodes = {os.stat(f"{volume.directories[0]}/fs/a/a.jar").st_ino for volume in machine.volumes.list()}
    machine.add("b/b.jar", key=other)
    assert len(inodes) == 1
    assert (machine.files(), machine.files(other)) == ({"a/a.jar"}, {"a/a.jar", "b/b.jar"})
    with pytest.raises(RequestError) as refused:
        machine.volumes.fork(KEY, "other")
    assert refused.value.code == "volume.exists"


def test_a_volume_that_is_not_there_can_not_be_trimmed_or_forked(machine):
    for act in (lambda: machine.volumes.trim(KEY, unused_for(1)), lambda: machine.volumes.fork(KEY, "other"), lambda: machine.volumes.remove_path(KEY, "a")):
        with pytest.raises(StoreError) as refused:
            act()
        assert refused.value.code == "volume.unknown"


def test_a_damaged_object_is_not_shared_again(machine):
    machine.add("a/a.jar")
    machine.volumes.remove_path(KEY, "nothing")
    machine.volumes.fork(KEY, "other")
    other = VolumeKey("other", KEY.name, KEY.platform)
    path = f"{next(row for row in machine.volumes.list() if row.key == KEY).directories[0]}/fs/a/a.jar"
    found = os.stat(path)
    with open(path, "r+") as file:
        file.write("damage")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    for key in (KEY, other):
        damage = machine.volumes.verify(key)
        assert [item.path for item in damage] == ["a/a.jar"]
        assert machine.volumes.repair(damage[0].volume_id, damage).dropped == {"a/a.jar"}
        assert machine.volumes.verify(key) == ()
    machine.volumes.free()
    assert not any(os.listdir(f"{machine.store.layout.objects}/{name}") for name in os.listdir(machine.store.layout.objects))


def test_after_a_repair_the_store_writes_under_another_name(machine):
    machine.add("a/a.jar", "b/b.jar")
    row = machine.volumes.rows()[0]
    os.unlink(f"{machine.volumes.list()[0].directories[0]}/fs/a/a.jar")
    machine.volumes.repair(row.id, machine.volumes.verify(KEY))
    head = machine.volumes.rows()[0].head
    assert head.slot != row.head.slot
    assert head.vector.count(row.head.slot) == 0, "so that what it wrote is asked for again"
    machine.add("c/c.jar")
    assert machine.files() == {"b/b.jar", "c/c.jar"}

"""Cache volumes under real overlay mounts: what steps see, what is kept, and what concurrent steps can't do to each other."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from chandlery.content.store import Store
from chandlery.errors import StoreError
from chandlery.graph.mount import Sharing
from chandlery.linux import mount
from chandlery.linux.mount import OverlayOptions
from chandlery.volume.garbage import OTHER_FILES
from chandlery.volume.key import VolumeKey
from chandlery.volume.merge import precedence
from chandlery.volume.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlay mounts need root")

KEY = VolumeKey("local", "/root/.m2", "linux/amd64")
OPTIONS = OverlayOptions(follows_renames=True, copies_metadata_only=True)


class Machine:
    """A store with volumes, and a way to run a step on one."""

    def __init__(self, root):
        self.root = root
        self.store = Store.open(str(root / "store"))
        self.volumes = Volumes(self.store)

    def mounted(self, attachment, act):
        point = self.root / f"m{attachment.volume_id}{len(os.listdir(self.root))}"
        point.mkdir()
        mount.mount_overlay(str(point), attachment.lowers, upper=attachment.upper, work=attachment.work, options=OPTIONS)
        try:
            return act(point)
        finally:
            mount.unmount(str(point))
            point.rmdir()

    def run(self, act, session=None, *, succeeded=True, **wishes):
        """One step; in a build of its own unless `session` is given."""
        if session is None:
            with self.store.begin() as session:
                return self.run(act, session, succeeded=succeeded, **wishes)
        attachment = self.volumes.attach(KEY, session, **wishes)
        self.mounted(attachment, act)
        return self.volumes.commit(attachment, succeeded=succeeded)

    def tree(self):
        """What the next build sees: path -> content of files, target of links, None for directories."""
        found = {}

        def look(point):
            for path in sorted(point.rglob("*")):
                name = str(path.relative_to(point))
                found[name] = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_text(errors="replace")

        self.run(look)
        return found


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.volumes.settle()
    made.store.close()


def write(**files):
    def act(point):
        for name, text in files.items():
            path = point / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return act


def test_the_next_build_finds_what_a_step_left(machine):
    report = machine.run(write(a="1", d__x="2"))
    assert (report.files, report.bytes_added, report.generation) == (2, 2, 1)
    assert machine.tree() == {"a": "1", "d": None, "d/x": "2"}


def test_a_step_that_only_reads_makes_no_generation(machine):
    first = machine.run(write(d__x="2"))
    again = machine.run(lambda point: (point / "d/x").read_text())
    assert again.generation == first.generation
    assert again.files == 0


def test_a_failed_step_keeps_its_additions(machine):
    machine.run(write(a="1"), succeeded=False)
    assert machine.tree() == {"a": "1"}


def test_a_new_volume_has_the_mode_and_owner_asked_for(machine):
    seen = []
    machine.run(lambda point: seen.append(os.stat(point)), mode=0o750, uid=1000, gid=1001)
    assert [(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) for found in seen] == [(0o750, 1000, 1001)]


def test_concurrent_steps_see_neither_each_others_files_nor_lose_any(machine):
    machine.run(write(base="0"))
    with machine.store.begin() as one, machine.store.begin() as two:
        first, second = machine.volumes.attach(KEY, one), machine.volumes.attach(KEY, two)
        machine.mounted(first, write(d__one="1"))
        machine.volumes.commit(first, succeeded=True)
        machine.mounted(second, lambda point: (write(d__two="2")(point), sorted(os.listdir(point))))
        machine.volumes.commit(second, succeeded=True)
    assert machine.tree() == {"base": "0", "d": None, "d/one": "1", "d/two": "2"}


def test_an_opaque_directory_of_one_step_does_not_hide_what_another_added(machine):
    machine.run(write(d__old="0"))

    def replace_directory(point):
        (point / "d/old").unlink()
        (point / "d").rmdir()
        write(d__mine="1")(point)

    with machine.store.begin() as one:
        attachment = machine.volumes.attach(KEY, one)
        machine.run(write(d__theirs="2"))
        machine.mounted(attachment, replace_directory)
        machine.volumes.commit(attachment, succeeded=True)
    assert machine.tree() == {"d": None, "d/mine": "1", "d/old": "0", "d/theirs": "2"}


@pytest.mark.parametrize("round_", range(8))
def test_of_two_steps_that_changed_the_same_files_one_wins_in_all_whoever_ends_first(machine, round_):
    for number in range(round_):
        machine.run(write(base=str(number)))
    with machine.store.begin() as one, machine.store.begin() as two:
        first, second = machine.volumes.attach(KEY, one), machine.volumes.attach(KEY, two)
        machine.mounted(first, write(a="1", b="1", only1="1"))
        machine.mounted(second, write(a="2", b="2", only2="2"))
        machine.volumes.commit(first, succeeded=True)
        machine.volumes.commit(second, succeeded=True)
    versions = {entry.path: entry.version for entry in machine.volumes.show(KEY)}
    winner = "1" if precedence(versions["only1"]) > precedence(versions["only2"]) else "2"
    tree = machine.tree()
    assert (tree["a"], tree["b"], tree["only1"], tree["only2"]) == (winner, winner, "1", "2")
    assert versions["a"] == versions["b"] == versions[f"only{winner}"]


@pytest.mark.parametrize("round_", range(6))
def test_a_file_against_a_directory_of_the_same_name_leaves_one_of_them_whole(machine, round_):
    machine.run(write(**{f"filler{number}": "0" for number in range(round_)}))
    with machine.store.begin() as one, machine.store.begin() as two:
        first, second = machine.volumes.attach(KEY, one), machine.volumes.attach(KEY, two)
        machine.mounted(first, write(n="file"))
        machine.mounted(second, write(n__x="1", n__y="2"))
        machine.volumes.commit(first, succeeded=True)
        machine.volumes.commit(second, succeeded=True)
    tree = {path: text for path, text in machine.tree().items() if path.startswith("n")}
    assert tree in ({"n": "file"}, {"n": None, "n/x": "1", "n/y": "2"})
    assert {entry.path for entry in machine.volumes.show(KEY)} - {""} == set(machine.tree())


def test_a_chmod_of_a_large_file_is_kept_with_its_content(machine):
    machine.run(write(big="x" * 100_000))
    machine.run(lambda point: (os.chmod(point / "big", 0o600), os.utime(point / "big", ns=(5, 5))))
    seen = []
    machine.run(lambda point: seen.append((os.stat(point / "big"), (point / "big").read_text())))
    assert (stat.S_IMODE(seen[0][0].st_mode), seen[0][0].st_mtime_ns, seen[0][1]) == (0o600, 5, "x" * 100_000)


def test_a_renamed_directory_arrives_whole_under_both_names(machine):
    machine.run(write(old__a="1", old__deep__b="2"))

    def rename(point):
        os.rename(point / "old", point / "new")
        write(new__c="3")(point)
        os.chmod(point / "new/deep/b", 0o600)

    machine.run(rename)
    # the old name was deleted by a step, and what steps delete comes back for the next build
    assert machine.tree() == {
        "new": None, "new/a": "1", "new/c": "3", "new/deep": None, "new/deep/b": "2",
        "old": None, "old/a": "1", "old/deep": None, "old/deep/b": "2",
    }  # fmt: skip


def test_a_file_renamed_after_a_chmod_keeps_its_content(machine):
    machine.run(write(d__a="content"))
    machine.run(lambda point: (os.chmod(point / "d/a", 0o640), os.rename(point / "d/a", point / "b"), os.rename(point / "d", point / "e")))
    tree = machine.tree()
    assert (tree["b"], tree["d/a"], tree["e"]) == ("content", "content", None)
    assert "e/a" not in tree


def test_deletions_hold_for_their_own_build_and_end_with_it(machine):
    machine.run(write(a="1", d__x="2", d__y="3"))
    with machine.store.begin() as build:
        machine.run(lambda point: subprocess.run(["find", str(point), "-mindepth", "1", "-delete"], check=True), build)
        seen = []
        machine.run(lambda point: (seen.extend(os.listdir(point)), write(d__z="4")(point)), build)
        machine.run(lambda point: seen.extend(sorted(os.listdir(point / "d"))), build)
        assert seen == ["z"]
    assert machine.tree() == {"a": "1", "d": None, "d/x": "2", "d/y": "3", "d/z": "4"}


def test_no_cache_starts_empty_and_only_adds(machine):
    machine.run(write(a="old", d__x="old"))
    seen = []
    machine.run(lambda point: (seen.extend(os.listdir(point)), write(a="new", d__y="new")(point)), starts_empty=True)
    assert seen == []
    assert machine.tree() == {"a": "old", "d": None, "d/x": "old", "d/y": "new"}


def test_a_read_only_mount_keeps_nothing_and_refuses_writes(machine):
    machine.run(write(a="1"))

    def try_to_write(point):
        with pytest.raises(OSError, match="Read-only"):
            (point / "b").write_text("2")

    machine.run(try_to_write, read_only=True)
    assert machine.tree() == {"a": "1"}


def test_a_new_volume_is_filled_from_its_seed(machine, tmp_path):
    seed = tmp_path / "seed"
    write(a="1", d__x="2")(seed)
    os.symlink("a", seed / "link")
    machine.run(write(b="3"), seed_directory=str(seed))
    write(a="changed")(seed)
    machine.run(write(c="4"), seed_directory=str(seed))
    assert machine.tree() == {"a": "1", "b": "3", "c": "4", "d": None, "d/x": "2", "link": "a"}


def test_sockets_set_uid_bits_and_our_own_mount_stubs_are_not_kept(machine):
    def act(point):
        with socket.socket(socket.AF_UNIX) as bound:
            here = os.open(point, os.O_PATH)
            bound.bind(f"/proc/self/fd/{here}/s")
            os.close(here)
        write(tool="x", settings__deep__stub="", other="")(point)
        os.chmod(point / "tool", 0o4755)
        os.mkfifo(point / "pipe")

    machine.run(act, stubs=("settings/deep/stub",))
    assert machine.tree() == {"other": "", "tool": "x"}
    modes = {entry.path: entry.mode for entry in machine.volumes.show(KEY)}
    assert modes["tool"] == 0o755


def test_hard_links_are_kept_and_none_are_invented(machine):
    def act(point):
        write(a="x" * 5000, same="y" * 5000, d__same="y" * 5000)(point)
        os.utime(point / "same", ns=(7, 7))
        os.utime(point / "d/same", ns=(7, 7))
        os.link(point / "a", point / "b")

    machine.run(act)
    for number in range(10):
        machine.run(write(**{f"n{number}": str(number)}))
    machine.volumes.settle()

    def look(point):
        copied = machine.root / "copied"
        subprocess.run(["cp", "-a", str(point), str(copied)], check=True)
        inodes = {path.name if path.parent == copied else "d/same": path.stat().st_ino for path in copied.rglob("*") if path.is_file()}
        assert inodes["a"] == inodes["b"]
        assert inodes["same"] != inodes["d/same"]
        assert (copied / "d/same").read_text() == "y" * 5000

    machine.run(look)
    assert len(machine.volumes.list()[0].directories) < 8


def test_folding_shows_the_same_tree_and_leaves_running_steps_alone(machine):
    machine.run(write(a="0", d__x="0" * 9000))
    with machine.store.begin() as build:
        attachment = machine.volumes.attach(KEY, build)
        for number in range(12):
            machine.run(write(**{f"n{number}": str(number), "a": str(number), f"d__{number}": "z" * 5000}))
        machine.volumes.settle()
        assert len(machine.volumes.list()[0].directories) <= 8
        machine.mounted(attachment, lambda point: write(late="1", a=(point / "a").read_text() + "late")(point))
        machine.volumes.commit(attachment, succeeded=True)
    tree = machine.tree()
    assert {f"n{number}" for number in range(12)} | {f"d/{number}" for number in range(12)} | {"late"} <= set(tree)
    assert tree["a"] == "11", "the late step had not seen eleven deltas: causally the last of them wins"
    machine.volumes.settle()
    named = {path.rsplit("/", 1)[1] for path in machine.volumes.list()[0].directories}
    on_disk = set(os.listdir(f"{machine.store.layout.volumes}/{machine.volumes.list()[0].id}"))
    assert on_disk - named <= OTHER_FILES


def test_volumes_with_the_same_files_share_them_once_folded(machine):
    jar = "j" * 50_000
    other = VolumeKey("local", "/other", "linux/amd64")

    def act(point):
        (point / "jar").write_text(jar)
        os.utime(point / "jar", ns=(7, 7))

    machine.run(act)
    machine.volumes.remove_path(KEY, "nothing")
    with machine.store.begin() as build:
        attachment = machine.volumes.attach(other, build)
        machine.mounted(attachment, act)
        machine.volumes.commit(attachment, succeeded=True)
    machine.volumes.remove_path(other, "nothing")
    inodes = {os.stat(f"{volume.directories[0]}/fs/jar").st_ino for volume in machine.volumes.list()}
    assert len(inodes) == 1


def test_a_removed_path_stays_removed_and_what_a_running_step_adds_below_it_stays(machine):
    machine.run(write(d__x="1", d__y="2", e="3"))
    with machine.store.begin() as build:
        attachment = machine.volumes.attach(KEY, build)
        assert machine.volumes.remove_path(KEY, "d").files == 2
        machine.mounted(attachment, write(d__new="4"))
        machine.volumes.commit(attachment, succeeded=True)
    assert machine.tree() == {"d": None, "d/new": "4", "e": "3"}


def test_a_volume_in_use_is_not_removed(machine):
    machine.run(write(a="1"))
    with machine.store.begin() as build:
        attachment = machine.volumes.attach(KEY, build)
        with pytest.raises(StoreError) as refused:
            machine.volumes.remove(KEY)
        assert refused.value.code == "volume.in-use"
        machine.volumes.discard(attachment)
    machine.volumes.remove(KEY)
    assert machine.tree() == {}


def test_a_locked_volume_is_one_steps_at_a_time(machine):
    waited, order = [], []

    def second():
        with machine.store.begin() as build:
            attachment = machine.volumes.attach(KEY, build, sharing=Sharing.LOCKED, on_wait=waited.append)
            order.append("second")
            machine.mounted(attachment, lambda point: order.append((point / "a").read_text()))
            machine.volumes.commit(attachment, succeeded=True)

    with machine.store.begin() as build:
        attachment = machine.volumes.attach(KEY, build, sharing=Sharing.LOCKED)
        thread = threading.Thread(target=second)
        thread.start()
        while not waited:
            time.sleep(0.005)
        machine.mounted(attachment, write(a="first"))
        order.append("first")
        machine.volumes.commit(attachment, succeeded=True)
    thread.join(30)
    assert order == ["first", "second", "first"]


def test_a_wait_for_a_locked_volume_ends_when_its_callback_raises(machine):
    def refuse(seconds):
        raise KeyboardInterrupt

    with machine.store.begin() as build:
        attachment = machine.volumes.attach(KEY, build, sharing=Sharing.LOCKED)
        with pytest.raises(KeyboardInterrupt):
            machine.volumes.attach(KEY, build, sharing=Sharing.LOCKED, on_wait=refuse)
        machine.volumes.discard(attachment)


def test_private_volumes_are_one_for_each_concurrent_step_and_are_used_again(machine):
    with machine.store.begin() as build:
        one = machine.volumes.attach(KEY, build, sharing=Sharing.PRIVATE)
        two = machine.volumes.attach(KEY, build, sharing=Sharing.PRIVATE)
        assert one.volume_id != two.volume_id
        machine.mounted(two, write(two="2"))
        machine.volumes.commit(two, succeeded=True)
        again = machine.volumes.attach(KEY, build, sharing=Sharing.PRIVATE)
        assert again.volume_id == two.volume_id
        machine.mounted(again, lambda point: (point / "two").read_text())
        machine.volumes.discard(again)
        machine.volumes.discard(one)


def test_a_plain_volume_is_a_real_directory_that_starts_as_the_volume_is(machine):
    machine.run(write(a="1"))
    with machine.store.begin() as build:
        attachment = machine.volumes.attach(KEY, build, plain=True)
        with open(f"{attachment.plain_directory}/a", "a") as file:
            file.write("more")
        machine.volumes.commit(attachment, succeeded=True)
        again = machine.volumes.attach(KEY, build, plain=True)
        with open(f"{again.plain_directory}/a") as file:
            assert file.read() == "1more"
        machine.volumes.discard(again)
    assert machine.tree() == {"a": "1"}
    assert machine.volumes.verify(KEY) == ()


def test_names_that_are_not_utf_8_and_symlinks_that_lead_out_are_kept_as_they_are(machine):
    def act(point):
        with open(os.path.join(os.fsencode(point), b"caf\xe9%41"), "w") as file:
            file.write("1")
        os.symlink("/etc", point / "out")

    machine.run(act)
    machine.volumes.remove_path(KEY, "nothing")
    assert machine.tree() == {os.fsdecode(b"caf\xe9%41"): "1", "out": "/etc"}


def test_a_layer_that_vanished_costs_its_files_and_no_build(machine):
    machine.run(write(a="1"))
    machine.run(write(b="2"))
    subprocess.run(["rm", "-rf", machine.volumes.list()[0].directories[0]], check=True)
    assert machine.tree() == {"b": "2"}


def test_after_an_unclean_boot_what_was_not_on_the_disk_is_dropped(machine):
    machine.run(write(a="1"))
    machine.volumes.settle()
    machine.run(write(b="2"))
    with machine.store.begin() as build:
        machine.store.boot_id = "another boot"
        attachment = machine.volumes.attach(KEY, build)
        seen = []
        machine.mounted(attachment, lambda point: seen.extend(os.listdir(point)))
        machine.volumes.commit(attachment, succeeded=True)
    assert seen == ["a"]


def test_verify_names_a_file_that_was_written_in_place(machine):
    machine.run(write(a="1", b="2"))
    with open(f"{machine.volumes.list()[0].directories[0]}/fs/b", "w") as file:
        file.write("damaged")
    assert [damage.path for damage in machine.volumes.verify(KEY)] == ["b"]


def test_a_damaged_object_is_never_linked_out(machine):
    def act(point):
        (point / "jar").write_text("j" * 50_000)
        os.utime(point / "jar", ns=(7, 7))

    machine.run(act)
    machine.volumes.remove_path(KEY, "nothing")
    path = f"{machine.volumes.list()[0].directories[0]}/fs/jar"
    with open(path, "r+") as file:
        file.write("damage")
    os.utime(path, ns=(7, 7))
    other = VolumeKey("local", "/other", "linux/amd64")
    with machine.store.begin() as build:
        attachment = machine.volumes.attach(other, build)
        machine.mounted(attachment, act)
        machine.volumes.commit(attachment, succeeded=True)
    machine.volumes.remove_path(other, "nothing")
    with open(f"{machine.volumes.list()[0].directories[0]}/fs/jar") as file, open(f"{machine.volumes.list()[1].directories[0]}/fs/jar") as sound:
        assert {file.read(6), sound.read(6)} == {"damage", "jjjjjj"}
    assert machine.volumes.verify(other) == ()


WRITER = """
import os, sys
sys.path.insert(0, {sources!r})
from chandlery.content.store import Store
from chandlery.linux import mount, namespaces
from chandlery.volume.garbage import OTHER_FILES
from chandlery.volume.key import VolumeKey
from chandlery.volume.merge import precedence
from chandlery.volume.volumes import Volumes
root, point, number = sys.argv[1], sys.argv[2], sys.argv[3]
namespaces.enter_private_mounts()
store = Store.open(root)
volumes = Volumes(store)
options = mount.OverlayOptions(follows_renames=True, copies_metadata_only=True)
os.makedirs(point)
for turn in range({turns}):
    with store.begin() as session:
        attachment = volumes.attach(VolumeKey("local", "/root/.m2", "linux/amd64"), session)
        mount.mount_overlay(point, attachment.lowers, upper=attachment.upper, work=attachment.work, options=options)
        os.makedirs(point + "/d", exist_ok=True)
        for file in range(3):
            with open(f"{{point}}/d/{{number}}-{{turn}}-{{file}}", "w") as out:
                out.write("x" * 5000)
        with open(point + "/shared", "w") as out:
            out.write(number)
        mount.unmount(point)
        volumes.commit(attachment, succeeded=True)
        print(turn, flush=True)
volumes.settle()
"""


def writer(machine, number, turns, **environment):
    sources = os.path.join(os.path.dirname(__file__), "../../../src")
    script = WRITER.format(sources=os.path.abspath(sources), turns=turns)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(machine.root / "store"), str(machine.root / f"p{number}"), str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_eight_processes_add_different_files_and_nothing_is_lost(machine):
    running = [writer(machine, number, 5) for number in range(8)]
    for process in running:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    expected = {f"d/{number}-{turn}-{file}" for number in range(8) for turn in range(5) for file in range(3)}
    assert expected | {"d", "shared"} == set(machine.tree())
    assert machine.volumes.verify(KEY) == ()
    shown = {entry.path: entry.version for entry in machine.volumes.show(KEY)}
    assert shown.keys() - {""} == expected | {"d", "shared"}
    assert len({version.sequence for path, version in shown.items() if path in expected}) == 40, "every delta has a name of its own"


def test_kills_at_any_point_leave_a_whole_head(machine):
    committed = set()
    for point in range(1, 60):
        process = writer(machine, point, 12, CHANDLERY_RACE_KILL=str(point))
        out, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), errors
        committed |= {f"d/{point}-{turn}-{file}" for turn in map(int, out.split()) for file in range(3)}
        if point % 6 == 0:
            assert committed <= set(machine.tree())
    assert committed <= set(machine.tree())
    assert machine.volumes.verify(KEY) == ()
    machine.volumes.settle()
    for volume in machine.volumes.list():
        named = {path.rsplit("/", 1)[1] for path in volume.directories}
        assert set(os.listdir(f"{machine.store.layout.volumes}/{volume.id}")) - named <= OTHER_FILES

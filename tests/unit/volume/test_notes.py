"""What machines tell each other of a volume: nothing that one of them read goes in another's trim, and telling it costs little."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.registry import FakeRegistry

from chandlery.content.store import Store
from chandlery.oci import reference
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.scope import Scopes, told_name
from chandlery.volume import notes, reads, remote_head
from chandlery.volume.key import VolumeKey
from chandlery.volume.notes import NOTHING, Notes
from chandlery.volume.remote_registry import RegistryRemote
from chandlery.volume.sharing import VolumePlace, VolumeSharing
from chandlery.volume.trimming import unused_since
from chandlery.volume.volumes import Volumes

KEY = VolumeKey("team/app", "m2", "linux/amd64")
DAYS = st.dictionaries(st.integers(0, (1 << 24) - 1), st.integers(1, 20_000), max_size=30)
NOTES = st.builds(Notes, st.integers(0, 20_000), DAYS, st.dictionaries(st.sampled_from(["w2026-01-a", "w2026-02-b"]), st.text(max_size=5).map(told_name)))


def known(told):
    """What is told of each path, whatever form it has."""
    return told.blind, {hashed: day for hashed, day in told.days.items() if day > told.blind}, told.machines


@given(NOTES)
def test_what_is_told_is_what_is_heard(told):
    assert known(notes.decode(notes.encode(told))) == known(told)


@given(NOTES, NOTES)
def test_of_two_the_later_read_counts_whoever_unites_them(one, other):
    both = notes.united([one, other])
    assert known(both) == known(notes.united([other, one]))
    assert not one.adds_to(both)
    assert not other.adds_to(both)


def test_where_there_is_no_room_for_all_the_oldest_count_as_read():
    told = notes.decode(notes.encode(Notes(0, {hashed: 100 + hashed % 3 for hashed in range(notes.MOST_READS + 3)}, {})))
    assert told.blind == 100
    assert len(notes.encode(told)) < 150_000
    assert notes.decode(notes.encode(Notes(0, dict.fromkeys(range(notes.MOST_READS + 1), 100), {}))).blind == 100


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"blind":-1,"days":[],"machines":{}}', '{"blind":0,"days":[[1,"////////"]],"machines":{}}', "9" * (1 << 21)])
def test_what_is_not_understood_counts_as_everything_read_today(text):
    assert notes.decode(text) == Notes(reads.today(), {}, {})


def test_clocks_that_are_ahead_and_names_that_move_the_cursor_do_no_harm():
    told = notes.decode(notes.encode(Notes(60_000, {1: 60_000}, {"w2026-01-a": "\x1b[2J" + "x" * 100})))
    assert (told.blind, told.days.get(1)) == (reads.today(), None)
    assert told.machines == {"w2026-01-a": "?[2J" + "x" * 60}


@pytest.fixture
def share():
    with FakeRegistry() as fake:
        client = RegistryClient(RegistrySettings(insecure=(fake.host,)), sleep=lambda _: None)
        remote = RegistryRemote(client, reference.parse(f"{fake.host}/caches"), KEY)
        remote.fake = fake
        yield remote
        client.close()


@pytest.fixture
def machines(tmp_path, share):
    with Store.open(str(tmp_path / "a")) as a, Store.open(str(tmp_path / "b")) as b:
        yield Machine(a, share, "builder-a"), Machine(b, share, "builder-b")


class Machine:
    def __init__(self, store, remote, name):
        self.store, self.remote, self.name = store, remote, name

    def build(self, *, adds=(), read=()):
        place = VolumePlace("there", lambda _: self.remote, is_writable=True)
        sharing = VolumeSharing(self.store, (place,), Scopes(KEY.scope, (KEY.scope,), ""), warn=pytest.fail, machine=self.name)
        volumes = Volumes(self.store, sharing)
        with self.store.begin() as session:
            attachment = volumes.attach(KEY, session)
            for path in adds:
                os.makedirs(f"{attachment.upper}/{os.path.dirname(path)}", exist_ok=True)
                with open(f"{attachment.upper}/{path}", "w") as file:
                    file.write(path)
            attachment.read = dict.fromkeys(read, 1)
            assert volumes.commit(attachment, succeeded=True).warning == ""
        volumes.close(60)
        volumes.settle()

    @property
    def directory(self):
        return Volumes(self.store).list()[0].directory

    def age(self, days):
        """All came so many days ago, and nothing was read since."""
        day = reads.today() - days
        for name in os.listdir(self.directory):
            if os.path.isdir(f"{self.directory}/{name}"):
                os.utime(f"{self.directory}/{name}/table.json", (day * reads.DAY_S, day * reads.DAY_S))
        reads._write(self.directory, reads.Reads(day, 0, {}))

    def would_trim(self):
        return Volumes(self.store).trim(KEY, lambda uses: unused_since(uses, reads.today() - 30), dry_run=True).paths


def test_a_trim_keeps_what_another_machine_read(machines):
    a, b = machines
    a.build(adds=["x/x.jar", "y/y.jar", "z/z.jar"])
    a.age(40)
    assert a.would_trim() == ("x", "y", "z")
    b.build(read=["y/y.jar"])
    a.build(read=["z/z.jar"])
    assert a.would_trim() == ("x",)


def test_reads_go_with_what_is_published_anyway_and_alone_once_a_day(machines, share):
    a, b = machines
    a.build(adds=["x/x.jar"])
    b.build(read=["x/x.jar"], adds=["y/y.jar"])
    assert len(remote_head.read_all(share).head.notes) == 1
    b.build(read=["x/x.jar"])
    heads = share.heads()
    share.fake.seen.clear()
    b.build(read=["y/y.jar"])
    assert share.heads() == heads, "it told today already"
    assert [seen.method for seen in share.fake.seen if seen.method not in ("GET", "HEAD")] == []


def test_a_head_says_what_its_writers_machines_are_called(machines, share):
    a, b = machines
    a.build(adds=["x/x.jar"])
    b.build(adds=["y/y.jar"])
    a.build()
    assert sorted(notes.load(a.directory).machines.values()) == ["builder-a", "builder-b"]
    assert sorted(notes.decode(remote_head.read_all(share).head.notes[0]).machines.values()) == ["builder-a", "builder-b"]


def test_a_head_without_notes_is_one_that_tells_nothing(machines, share):
    a, _ = machines
    a.build(adds=["x/x.jar"])
    (name,) = share.heads()
    head = remote_head.decode(share.read_head(name))
    assert notes.united(map(notes.decode, remote_head.RemoteHead(head.vector, head.lamport, head.packs).notes)) == NOTHING
    document = share.read_head(name).replace(b'"notes"', b'"other"')
    assert remote_head.decode(document).packs == head.packs
    assert remote_head.decode(document).notes == ()

"""Volumes that grow by deltas too large to be merged: the tables of contents of their packs come in few requests, whatever becomes of the copies."""

import json
import os
import random
import re

import pytest
from tests.fakes.machine import KEY, Machine
from tests.fakes.registry import FakeRegistry

from chandlery.oci import reference
from chandlery.oci.digest import Digest
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.volume import bundles, compaction, publishing, remote_head, shared
from chandlery.volume.bundles import Bundle
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.remote_registry import RegistryRemote


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def remote(fake):
    client = RegistryClient(RegistrySettings(insecure=(fake.host,)))
    yield RegistryRemote(client, reference.parse(f"{fake.host}/caches"), KEY)
    client.close()


@pytest.fixture(autouse=True)
def a_thousandth(monkeypatch):
    """As if a delta of 100 kB had 100 MB and a table of 5 kB were a large one."""
    monkeypatch.setattr(remote_head, "_MOST_TABLE_BYTES", 1000)
    monkeypatch.setattr(compaction, "CHEAP_BYTES", 8000)
    monkeypatch.setattr(bundles, "CHEAP_BYTES", 8000)
    monkeypatch.setattr(compaction, "_DEAR_BYTES", 250_000)
    monkeypatch.setattr(bundles, "_IDLE_BYTES", 2000)
    monkeypatch.setattr(shared, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(shared, "_FRESH_WHOLE_BYTES", 0)


def delta(number, files=40, size=2500):
    return {f"d{number}/{index}.jar": os.urandom(size) for index in range(files)}


def grown(machine, remote, deltas):
    """A volume to which somebody added those, one after the other; what it holds."""
    expected = {}
    for files in deltas:
        machine.commit(files)
        publishing.publish(machine.store, remote, KEY)
        expected |= files
    return expected


def attached(fake, remote, directory, expected):
    """How many requests a fresh machine needs beside those for packs' data; all is there, and nothing to say."""
    fake.seen.clear()
    with Machine(directory, remote) as fresh:
        assert fresh.sees() == expected
        assert fresh.warnings == []
    asked = [(seen.path.rpartition("/")[2], int((re.findall(r"bytes=(\d+)-", seen.headers.get("Range", "")) or [-1])[0])) for seen in fake.seen]
    tables = {str(item.digest): item.table_at for item in remote_head.read_all(remote).head.packs}
    return sum(1 for digest, at in asked if tables.get(digest, at) == at)


def test_a_volume_that_grew_by_large_deltas_takes_five_requests_to_attach(fake, remote, tmp_path):
    sizes = random.Random(5)
    with Machine(tmp_path / "grows", remote) as machine:
        expected = {}
        for number in range(18):
            expected |= grown(machine, remote, [delta(number, sizes.randrange(10, 120))])
            if number % 6 == 5:
                assert attached(fake, remote, tmp_path / f"fresh-{number}", expected) <= 5
    head = remote_head.read_all(remote).head
    assert len(head.packs) > 6, "there are packs that were not merged"
    assert 0 < len(head.bundles) <= bundles.MOST_REQUESTS


def test_a_small_delta_moves_no_large_bundle(fake, remote, tmp_path):
    with Machine(tmp_path / "grows", remote) as machine:
        grown(machine, remote, [delta(number, 60) for number in range(14)])
        before = remote_head.read_all(remote).head.bundles
        assert before
        for number in range(4):
            blobs = set(fake.blobs)
            grown(machine, remote, [{f"one-{number}.jar": os.urandom(3000)}])
            assert sum(len(fake.blobs[name]) for name in set(fake.blobs) - blobs) < 3000 * (number + 1) + 2000
        assert remote_head.read_all(remote).head.bundles == before


@pytest.mark.parametrize("harm", ["lost", "other", "short"])
def test_a_bundle_that_is_not_what_it_says_costs_requests_alone(fake, remote, tmp_path, harm):
    with Machine(tmp_path / "grows", remote) as machine:
        expected = grown(machine, remote, [delta(number) for number in range(10)])
        (bundle, *_) = remote_head.read_all(remote).head.bundles
        (name,) = [name for name in fake.blobs if name[1] == str(bundle.digest)]
        if harm == "lost":
            del fake.blobs[name]
        else:
            fake.blobs[name] = b"x" * bundle.size_bytes if harm == "other" else fake.blobs[name][:100]
        assert attached(fake, remote, tmp_path / "fresh", expected) > 5
        with Machine(tmp_path / "next", remote) as other:
            other.build(delta("next"))
            assert other.warnings == []
        assert bundle.digest not in {item.digest for item in remote_head.read_all(remote).head.bundles}
        assert attached(fake, remote, tmp_path / "after", machine.sees()) <= 5


def test_a_version_that_knows_of_no_bundles_takes_them_out_and_the_next_one_makes_others(fake, remote, tmp_path, monkeypatch):
    """Both see everything."""
    with Machine(tmp_path / "new", remote) as new, Machine(tmp_path / "old", remote) as old:
        for number in range(12):
            new.build(delta(number))
            with monkeypatch.context() as older:
                older.setattr(bundles, "decode", lambda _: ())
                older.setattr(bundles, "arranged", lambda *_: ())
                old.build(delta(f"old-{number}"))
        assert remote_head.read_all(remote).head.bundles == ()
        expected = new.build(delta("last")) | {path: data for path, data in new.sees().items() if path.startswith("dlast")}
        assert old.sees() == expected
        assert old.warnings == new.warnings == []
        assert attached(fake, remote, tmp_path / "fresh", expected) <= 5


def test_a_shared_directory_keeps_bundles_while_heads_name_them(tmp_path, monkeypatch):
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    collect = remote.collect
    monkeypatch.setattr(remote, "collect", lambda named, unnamed: collect(named, (), older_than_s=-1))
    with Machine(tmp_path / "grows", remote) as machine:
        grown(machine, remote, [delta(number) for number in range(16)])
    head = remote_head.read_all(remote).head
    assert head.bundles
    assert set(os.listdir(remote._blobs)) == {digest.hex for digest, _ in head.blobs}


SOME = "sha256:" + "0" * 64
BAD_BUNDLES = [7, None, {"a": 1}, [7], [{}], [{"digest": 7, "tables": []}], [{"digest": "../../etc", "tables": []}], [{"digest": SOME, "tables": [[7, 7]]}]]
BAD_SIZES = [-1, True, "1", 1.5, 1 << 70, 65 << 20]


@pytest.mark.parametrize("document", [*BAD_BUNDLES, *([{"digest": SOME, "tables": [["a", size], ["b", 1]]}] for size in BAD_SIZES)], ids=str)
def test_bundles_that_can_not_be_are_none(remote, tmp_path, document):
    with Machine(tmp_path / "one", remote) as one:
        one.build({"a.jar": b"a" * 5000})
        head = json.loads(remote.read_head(remote.heads()[0]))
    assert remote_head.decode(json.dumps({**head, "bundles": document}).encode()).bundles == ()


def test_no_more_of_a_bundle_is_read_than_saves_requests():
    bundle = Bundle(Digest(SOME), (("a", 100), ("b", 5000), ("c", 100), ("d", 100)))
    assert bundles.useful([bundle], {"a": 100, "c": 100}) == []
    ((_, span),) = bundles.useful([bundle], {"c": 100, "d": 100, "a": 101})
    assert (span.start, span.size_bytes, span.wanted) == (5100, 200, (("c", 100, 0), ("d", 100, 100)))
    assert bundles.useful([bundle], {"b": 5000}) == []
    assert [span.size_bytes for _, span in bundles.useful([bundle, bundle], dict(bundle.tables))] == [5300]

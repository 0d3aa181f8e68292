"""Heads that somebody made to do harm, and machines that aren't who they were: honest additions stay, the build goes on, one warning says why."""

import json
import os
import shutil
import time

import pytest
import zstandard
from tests.fakes import packs
from tests.fakes.machine import KEY, Machine
from tests.fakes.packs import Forgery

from chandlery.errors import StoreError
from chandlery.oci.digest import sha256
from chandlery.values import replace
from chandlery.volume import remote_head
from chandlery.volume.protocol import HeadName
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.tree import MAX_COUNT, VersionVector

JARS = {name: name.encode() * 2000 for name in ("a.jar", "b.jar", "c.jar", "d.jar")}


@pytest.fixture
def remote(tmp_path):
    return DirectoryRemote(str(tmp_path / "share"), KEY)


@pytest.fixture
def machines(tmp_path, remote):
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        yield one, two


def jars(*names):
    return {f"{name}.jar": JARS[f"{name}.jar"] for name in names}


def plain_head(**changes):
    document = {"format": 1, "vector": {"w1": 1}, "lamport": 1, "packs": [], "tombstones": [], "absorbed": []}
    return json.dumps({**document, **changes}).encode()


def some_pack(**changes):
    table = {"offset": 10, "size": 10, "sha256": "0" * 64}
    return {"digest": str(sha256(b"")), "size": 100, "table": table, "by": {"w1": 1}, **changes}


BAD_HEADS = [
    b"",
    b"[" * 100_000,
    b"\xff{}",
    b"null",
    b"[]",
    plain_head(format=2),
    plain_head(requires=["tree"]),
    plain_head(vector={"w1": 1 << 63}),
    plain_head(vector={"w1": -1}),
    plain_head(vector={"w1": "1"}),
    plain_head(vector={"w1": True}),
    plain_head(vector={"": 1}),
    plain_head(vector={"w\n": 1}),
    plain_head(vector=[["w1", 1]]),
    plain_head(lamport=1 << 63),
    plain_head(lamport=-1),
    plain_head(lamport=1.5),
    plain_head(lamport="1"),
    plain_head(lamport=None),
    plain_head(tombstones=[[{"w1": 1}, [".."]]]),
    plain_head(tombstones=[[{"w1": 1.5}, ["a"]]]),
    plain_head(tombstones=[[7, ["a"]]]),
    plain_head(tombstones={}),
    plain_head(tombstones=[[{}, 7]]),
    plain_head(absorbed=7),
    plain_head(absorbed=[7]),
    plain_head(absorbed=["../../x"] * 2 + ["a" * 1000]),
    plain_head(packs={}),
    plain_head(packs=[some_pack()] * 65),
    plain_head(packs=[some_pack(digest="../../../etc/passwd")]),
    plain_head(packs=[some_pack(digest=7)]),
    plain_head(packs=[some_pack(size=-1)]),
    plain_head(packs=[some_pack(size=1 << 70)]),
    plain_head(packs=[some_pack(table={"offset": 95, "size": 10, "sha256": ""})]),
    plain_head(packs=[some_pack(table={"offset": -5, "size": 10, "sha256": ""})]),
    plain_head(packs=[some_pack(size=1 << 40, table={"offset": 0, "size": 1 << 39, "sha256": ""})]),
    plain_head(packs=[some_pack(by={"w1": 1 << 63})]),
    plain_head(packs=[some_pack(by=7)]),
    plain_head(packs=[7]),
]


@pytest.mark.parametrize("document", BAD_HEADS, ids=range(len(BAD_HEADS)))
def test_a_head_that_can_not_be_is_left_alone_and_said_once(tmp_path, remote, machines, document):
    one, two = machines
    one.build(jars("a"))
    bad = remote.put_head("w2026-01-bad", document, [])
    assert two.build(jars("b")) == jars("a")
    assert one.sees() == jars("a", "b")
    assert bad in remote.heads(), "whoever can't read a head doesn't delete it"
    # of two pulls and a publication of each machine only the pulls are told of
    assert len(two.warnings) == 1
    assert "w2026-01-bad" in two.warnings[0]
    ((what, why),) = two.codes
    assert what == "volume.not-whole"
    assert why in ("volume.format", "volume.bad-head", "volume.bad-table", "volume.malformed", "digest.malformed")
    assert (why == "volume.format") == (document in (b"null", b"[]", plain_head(format=2), plain_head(requires=["tree"])))


@pytest.mark.parametrize("document", [plain_head(vector=3), plain_head(lamport=[]), plain_head(format=2), b"{"])
def test_what_is_wrong_with_a_head_has_a_code(document):
    with pytest.raises((StoreError, ValueError, KeyError, TypeError, AttributeError)) as caught:
        remote_head.decode(document)
    assert getattr(caught.value, "code", "volume.").startswith("volume.")


def test_a_head_that_counted_to_the_end_stops_nobody(tmp_path, remote, machines):
    """The largest numbers that are believed; whoever goes on from there must still be understood."""
    one, two = machines
    one.build(jars("a"))
    remote.put_head("w2026-01-end", plain_head(vector={"w2026-01-end": MAX_COUNT}, lamport=MAX_COUNT), [])
    one.build(jars("b"))
    two.build(jars("c"))
    one.build(jars("d"))
    assert one.sees() == two.sees() == JARS
    assert one.warnings == two.warnings == []


def test_a_head_that_claims_our_own_future_loses_nothing(remote, machines):
    one, two = machines
    one.build(jars("a"))
    (name,) = remote.heads()
    document = json.loads(remote.read_head(name))
    (slot,) = document["vector"]
    remote.put_head("w2026-01-liar", plain_head(vector={slot: 1000}, lamport=1000), [])
    one.build(jars("b"))
    assert two.sees() == jars("a", "b")


def test_a_list_of_absorbed_slots_deletes_nothing_that_was_not_absorbed(remote, machines):
    one, two = machines
    one.build(jars("a"))
    slots = [name.slot for name in remote.heads()]
    remote.put_head("w2026-01-liar", plain_head(absorbed=slots), [])
    two.build(jars("b"))
    assert one.sees() == two.sees() == jars("a", "b")


@pytest.mark.parametrize("slot", ["a-first", "z-last"])
def test_a_head_that_names_another_s_blob_with_a_table_of_its_own_hides_nothing(remote, machines, slot):
    one, two = machines
    one.build(jars("a"))
    (name,) = remote.heads()
    (honest,) = remote_head.decode(remote.read_head(name)).packs
    lie = replace(honest, table_at=0, table_bytes=50, table_sha256="0" * 64)
    remote.put_head(slot, remote_head.encode(remote_head.RemoteHead(lie.by, 1, (lie,))), [])
    assert two.build(jars("b")) == jars("a")
    assert one.sees() == jars("a", "b")


def test_tombstones_of_others_remove_only_what_their_author_had_seen(remote, machines):
    one, two = machines
    one.build(jars("a"))
    (name,) = remote.heads()
    vector = remote_head.decode(remote.read_head(name)).vector
    one.build(jars("b"))
    remote.put_head("w2026-01-rm", remote_head.encode(remote_head.RemoteHead(vector, 1, (), (("", vector),))), [])
    assert two.sees() == jars("b")


def test_strange_things_in_a_shared_directory_stop_nobody(tmp_path, remote, machines):
    one, two = machines
    one.build(jars("a"))
    heads = os.path.join(remote._heads)
    os.mkfifo(f"{heads}/w2026-01-fifo@{'0' * 64}")
    os.mkdir(f"{heads}/w2026-01-dir@{'1' * 64}")
    os.symlink("/dev/zero", f"{heads}/w2026-01-zero@{'2' * 64}")
    os.symlink("nowhere", f"{heads}/w2026-01-dangling@{'3' * 64}")
    with open(f"{heads}/w2026-01-cut@{'4' * 64}", "wb") as file:
        file.write(b"{")
    with open(os.fsencode(heads) + b"/w\xff@\xfe", "wb"), open(f"{heads}/README", "w"):
        pass
    assert two.build(jars("b")) == jars("a")
    assert one.sees() == jars("a", "b")
    assert ["(and 4 more)" in warning for warning in two.warnings] == [True]


@pytest.mark.parametrize("place", ["blobs", "blob", "cut"])
def test_a_link_in_a_shared_directory_leads_nobody_elsewhere(tmp_path, remote, machines, place):
    """What is behind it is neither read, nor touched, nor deleted; a blob that isn't whole is written again."""
    one, _ = machines
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("1")
    (elsewhere / ("0" * 64)).write_text("2")
    for path in (*elsewhere.iterdir(), elsewhere):
        os.utime(path, (1, 1))
    if place == "blobs":
        one.build(jars("a"))
        shutil.rmtree(remote._blobs)
        os.symlink(elsewhere, remote._blobs)
        assert remote.collect((), (), older_than_s=0) == 0
        assert {path.name for path in elsewhere.iterdir()} == {"precious", "0" * 64}
        return
    one.commit(jars("a"))
    content = tmp_path / "content"
    content.write_bytes(b"pack" * 1000)
    digest = sha256(content.read_bytes())
    os.makedirs(remote._blobs)
    target = f"{remote._blobs}/{digest.hex}"
    if place == "cut":
        with open(target, "wb") as file:
            file.write(b"pack")
    else:
        os.symlink(elsewhere / "precious", target)
    remote.put_blob(str(content), digest, 4000)
    with open(target, "rb") as file:
        assert file.read() == content.read_bytes()
    assert (elsewhere / "precious").read_text() == "1"
    assert (elsewhere / "precious").stat().st_mtime == 1


@pytest.mark.parametrize("place", ["heads", "blobs", "volume", "scope"])
def test_a_directory_that_became_a_link_gets_nothing_of_ours(tmp_path, remote, machines, place):
    """Whoever may write beside us leads neither what we write nor what we read elsewhere."""
    one, two = machines
    one.build(jars("a"))
    volume = os.path.dirname(remote._heads)
    linked = {"heads": remote._heads, "blobs": remote._blobs, "volume": volume, "scope": os.path.dirname(volume)}[place]
    elsewhere = tmp_path / "elsewhere"
    os.rename(linked, elsewhere)
    os.symlink(elsewhere, linked)
    before = sorted(str(path) for path in elsewhere.rglob("*"))
    assert two.build(jars("b")) == {}
    assert one.build(jars("c")) == jars("a")
    assert sorted(str(path) for path in elsewhere.rglob("*")) == before
    # of blobs there is only something to say where something is to be fetched
    assert {code for machine in machines for code in machine.codes} == {
        *([("volume.not-published", "volume.not-a-directory")]),
        ("volume.not-whole" if place == "blobs" else "volume.not-fetched", "volume.not-a-directory"),
    }
    os.unlink(linked)
    os.rename(elsewhere, linked)
    one.build()
    two.build()
    assert one.sees() == two.sees() == jars("a", "b", "c")


def test_collection_takes_blobs_alone(tmp_path, remote, machines):
    one, _ = machines
    one.build(jars("a"))
    for name in ("README", ".snapshot", "0" * 64, "0" * 64 + ".tmp-123"):
        with open(f"{remote._blobs}/{name}", "w"):
            os.utime(f"{remote._blobs}/{name}", (1, 1))
    assert remote.collect([item.digest for item in remote_head.read_all(remote).head.packs], (), older_than_s=60) == 2
    assert {"README", ".snapshot"} < set(os.listdir(remote._blobs))


# machines that aren't who they were


def test_a_cloned_disk_loses_nothing_of_either_copy(tmp_path, remote):
    with Machine(tmp_path / "original", remote) as original:
        original.build(jars("a"))
    shutil.copytree(tmp_path / "original", tmp_path / "clone", symlinks=True)
    with Machine(tmp_path / "original", remote) as original, Machine(tmp_path / "clone", remote) as clone:
        original.build(jars("b"), publishes=False)
        clone.build(jars("c"), publishes=False)
        original.build({"x": b"x"})
        clone.build({"y": b"y"})
        assert original.sees() == clone.sees() == {**jars("a", "b", "c"), "x": b"x", "y": b"y"}
        assert original.warnings == clone.warnings == []


def test_a_disk_that_was_restored_loses_nothing_that_others_have(tmp_path, remote):
    with Machine(tmp_path / "now", remote) as machine:
        machine.build(jars("a"))
    shutil.copytree(tmp_path / "now", tmp_path / "backup", symlinks=True)
    with Machine(tmp_path / "now", remote) as machine:
        machine.build(jars("b"))
    shutil.rmtree(tmp_path / "now")
    shutil.copytree(tmp_path / "backup", tmp_path / "now", symlinks=True)
    with Machine(tmp_path / "now", remote) as machine, Machine(tmp_path / "other", remote) as other:
        machine.build(jars("c"))
        assert machine.sees() == other.sees() == jars("a", "b", "c")


@pytest.mark.parametrize("hours", [-30, 30, 24 * 400])
def test_a_clock_that_is_hours_off_decides_nothing(remote, machines, monkeypatch, hours):
    one, two = machines
    one.build({"index": b"first", **jars("a")})
    right, shown = time.time, time.gmtime
    monkeypatch.setattr(time, "time", lambda: right() + 3600 * hours)
    monkeypatch.setattr(time, "gmtime", lambda *given: shown(*(given or (right() + 3600 * hours,))))
    assert two.build({"index": b"second", **jars("b")})["index"] == b"first"
    monkeypatch.undo()
    assert one.build({"index": b"third", **jars("c")})["index"] == b"second"
    assert one.sees() == two.sees() == {"index": b"third", **jars("a", "b", "c")}
    assert one.warnings == two.warnings == []


def test_a_later_version_and_this_one_share_a_remote(tmp_path, remote, machines):
    """N+1 writes heads that N can't read: N goes on with what it can read, and neither merges nor deletes the others."""
    one, two = machines
    one.build(jars("a"))
    later = remote.put_head("w2026-02-later", plain_head(format=2, tree="sha256:..."), [])
    newer = remote.put_head("w2026-02-newer", plain_head(requires=["erofs"]), [])
    for name in "bcd":
        (one if name != "c" else two).build(jars(name))
    assert one.sees() == two.sees() == JARS
    assert {later, newer} <= set(remote.heads())
    assert remote.read_head(HeadName(later.slot, later.digest)) == plain_head(format=2, tree="sha256:...")


def test_what_a_later_version_adds_to_a_document_is_no_reason_to_refuse_it(tmp_path, remote, machines):
    one, _ = machines
    forgery = Forgery(str(tmp_path / "pack"), jars("a"))
    forgery.document["made-by"] = {"version": 99}
    forgery.row("a.jar")["hint"] = "hot"
    blob, ref = forgery.seal()
    packs.publish(remote, tmp_path, blob, ref)
    (name,) = remote.heads()
    document = json.loads(remote.read_head(name))
    remote.delete_head(name)
    remote.put_head("w2026-02-later", json.dumps({**document, "signature": "reserved", "packs": [{**document["packs"][0], "kind": "delta"}]}).encode(), [])
    assert one.sees() == jars("a")
    assert one.warnings == []


@pytest.mark.parametrize("change", [{"format": 2}, {"requires": ["erofs"]}])
def test_versions_that_alternate_on_one_remote_keep_each_other_s_heads_and_packs(tmp_path, remote, machines, change):
    """N+1 puts a pack of its own beside ours under a head that we can read, and heads that we can't: we say so by code, and never take them away."""
    one, two = machines
    forgery = Forgery(str(tmp_path / "pack"), {"later.jar": b"later" * 1000})
    forgery.document.update(change)
    blob, ref = forgery.seal()
    packs.publish(remote, tmp_path, blob, ref, slot="h0000000009-w2026-02-later")
    theirs = []
    for number, name in enumerate("abcd" * 2):
        theirs.append(remote.put_head(f"h{number + 20:010}-w2026-02-newer{number}", plain_head(**change, tree=number), []))
        machine = (one, two)[number % 2]
        machine.build({f"{number}-{name}.jar": JARS[f"{name}.jar"]})
        assert set(theirs) <= set(remote.heads())
        assert ref in remote_head.read_all(remote).head.packs
    assert set(one.sees()) == set(two.sees()) == {f"{number}-{name}.jar" for number, name in enumerate("abcd" * 2)}
    assert set(one.codes) == set(two.codes) == {("volume.not-whole", "volume.format")}
    assert remote.has_blob(ref.digest)
    assert [remote.read_head(name) for name in theirs] == [plain_head(**change, tree=number) for number in range(8)]


def test_a_newer_version_s_volume_in_this_store_is_refused_and_left_alone(tmp_path, machines):
    one, _ = machines
    one.build(jars("a"))
    newer = json.dumps({"format": 2, "trees": ["..."]})
    with one.store.db.transaction() as tx:
        tx.execute("UPDATE volume_generation SET document = ?", (newer,))
    with pytest.raises(StoreError) as refused:
        one.commit(jars("b"))
    assert refused.value.code == "volume.format"
    assert one.store.db.read("SELECT document FROM volume_generation") == [(newer,)]


def test_a_removal_of_a_directory_stands_for_those_below_it(remote, machines):
    from chandlery.volume import publishing
    from chandlery.volume.volumes import Volumes

    one, two = machines
    one.build({"d/a.jar": b"a" * 5000, "d/b.jar": b"b" * 5000, "e.jar": b"e" * 5000})
    assert "d/a.jar" in two.sees()
    for path in ("d/a.jar", "e.jar", "d"):
        Volumes(one.store).remove_path(KEY, path)
        publishing.publish(one.store, remote, KEY)
    assert [path for path, _ in remote_head.read_all(remote).head.tombstones] == ["d", "e.jar"]
    two.build({"d/c.jar": b"c" * 5000})
    assert [path for path, _ in remote_head.read_all(remote).head.tombstones] == ["d", "e.jar"]
    assert one.sees() == two.sees() == {"d/c.jar": b"c" * 5000}
    names = remote.heads()
    one.build()
    two.build()
    assert remote.heads() == names, "both say the same"


def test_heads_that_fill_the_memory_are_left_alone_and_hide_no_small_ones(remote, machines):
    one, two = machines
    one.build(jars("a"))
    large = zstandard.ZstdCompressor(level=1).compress(plain_head(vector={f"{number:07}": MAX_COUNT for number in range(305_000)}))
    for number in range(8):
        remote.put_head(f"h00000001{number:02}-w2026-01-large", large, [])
    assert two.build(jars("b")) == jars("a")
    assert one.sees() == jars("a", "b")
    assert set(one.codes) == set(two.codes) == {("volume.not-whole", "volume.heads-too-large")}


def test_nobody_writes_a_head_that_nobody_could_read():
    for vector in (VersionVector(tuple((f"w{number:06}", 1) for number in range(310_000))), VersionVector((("w" * (17 << 20), 1),))):
        with pytest.raises(StoreError) as refused:
            remote_head.encode(remote_head.RemoteHead(vector, 1))
        assert refused.value.code == "volume.heads-too-large"


def test_vectors_of_thousands_of_writers_are_read(remote, machines):
    one, two = machines
    one.build(jars("a"))
    vector = VersionVector(tuple((f"w2026-01-{number:05}", 1) for number in range(20_000)))
    remote.put_head("w2026-01-many", remote_head.encode(remote_head.RemoteHead(vector, 1)), [])
    two.build(jars("b"))
    assert one.sees() == jars("a", "b")
    assert one.warnings == two.warnings == []

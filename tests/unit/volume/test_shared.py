"""Two stores share a volume through a directory or a registry."""

import hashlib
import os
import shutil

import pytest
from tests.fakes.machine import Machine
from tests.fakes.registry import FakeRegistry

from chandlery.content.store import Store
from chandlery.oci import reference
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.scope import Scopes
from chandlery.volume import materialise, publishing, remote_head, shared
from chandlery.volume.key import VolumeKey
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.remote_registry import RegistryRemote
from chandlery.volume.sharing import VolumePlace, VolumeSharing
from chandlery.volume.tree import Entry, EntryType, Version
from chandlery.volume.volumes import Volumes

KEY = VolumeKey("team/app", "m2", "linux/amd64")
SCOPES = Scopes(KEY.scope, (KEY.scope,), "")


@pytest.fixture(params=["directory", "registry"])
def remote(request, tmp_path):
    if request.param == "directory":
        yield DirectoryRemote(str(tmp_path / "share"), KEY)
        return
    with FakeRegistry() as fake:
        client = RegistryClient(RegistrySettings(insecure=(fake.host,)), sleep=lambda _: None)
        remote = RegistryRemote(client, reference.parse(f"{fake.host}/caches"), KEY)
        remote.fake = fake
        yield remote
        client.close()


@pytest.fixture
def stores(tmp_path):
    with Store.open(str(tmp_path / "a")) as a, Store.open(str(tmp_path / "b")) as b:
        yield a, b


def add(store, files, sharing=None, *, key=KEY):
    """Do what a step does that writes `files`."""
    volumes = Volumes(store, sharing)
    with store.begin() as session:
        attachment = volumes.attach(key, session)
        for path, content in files.items():
            target = f"{attachment.upper}/{path}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
        report = volumes.commit(attachment, succeeded=True)
        assert report.warning == ""


def content(store, key=KEY):
    """path -> bytes as the next step would see it."""
    found = {}
    with store.begin() as session:
        attachment = Volumes(store).attach(key, session)
        for lower in attachment.lowers:
            for directory, _, names in os.walk(lower):
                for name in names:
                    path = f"{directory}/{name}"
                    with open(path, "rb") as file:
                        found[os.path.relpath(path, lower)] = file.read()
        Volumes(store).discard(attachment)
    return found


def blobs_of(remote):
    if isinstance(remote, DirectoryRemote):
        return [os.path.join(remote._blobs, name) for name in os.listdir(remote._blobs)]
    return list(remote.fake.blobs)


def test_what_one_machine_adds_another_sees(remote, stores):
    a, b = stores
    files = {"org/x/x.jar": os.urandom(700_000), "org/x/x.pom": b"<pom/>", "big.bin": os.urandom(9 << 20), "empty": b""}
    add(a, files)
    assert publishing.publish(a, remote, KEY).files == 4
    report = shared.pull(b, (remote,), KEY)
    assert report.warnings == ()
    assert report.files == 4
    assert content(b) == files


def test_both_sides_additions_survive_and_meet(remote, stores):
    a, b = stores
    add(a, {"a.jar": b"a" * 5000})
    add(b, {"b.jar": b"b" * 5000})
    publishing.publish(a, remote, KEY)
    publishing.publish(b, remote, KEY)
    shared.pull(a, (remote,), KEY)
    shared.pull(b, (remote,), KEY)
    assert content(a) == content(b) == {"a.jar": b"a" * 5000, "b.jar": b"b" * 5000}
    assert len(remote.heads()) == 1


def test_a_second_pull_and_a_second_publish_do_nothing(remote, stores):
    a, b = stores
    add(a, {"a.jar": b"a" * 5000})
    publishing.publish(a, remote, KEY)
    shared.pull(b, (remote,), KEY)
    assert shared.pull(b, (remote,), KEY).files == 0
    assert publishing.publish(b, remote, KEY).bytes_sent == 0


def test_a_delta_alone_is_sent(remote, stores):
    a, _ = stores
    add(a, {"big.bin": os.urandom(3 << 20)})
    publishing.publish(a, remote, KEY)
    jar = os.urandom(100_000)
    add(a, {"one.jar": jar})
    assert publishing.publish(a, remote, KEY).bytes_sent <= len(jar) * 1.05 + (256 << 10)


def test_credentials_and_secrets_stay(remote, stores):
    a, b = stores
    add(a, {"settings.xml": b"<password/>", "log.txt": b"x" * 1000 + b"s3cr3t-value" + b"y", "ok.jar": b"fine"})
    report = publishing.publish(a, remote, KEY, secrets=(b"s3cr3t-value\n",))
    assert report.left_out == ("log.txt",)
    shared.pull(b, (remote,), KEY)
    assert content(b) == {"ok.jar": b"fine"}


def test_a_damaged_blob_poisons_nothing_and_is_asked_for_again(tmp_path, stores):
    a, b = stores
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    add(a, {"a.jar": os.urandom(50_000)})
    publishing.publish(a, remote, KEY)
    (path,) = blobs_of(remote)
    with open(path, "rb") as file:
        whole = file.read()
    with open(path, "r+b") as file:
        file.seek(20_000)
        file.write(b"\0" * 1000)
    report = shared.pull(b, (remote,), KEY)
    assert report.warnings
    assert content(b) == {}
    with open(path, "wb") as file:
        file.write(whole)
    assert shared.pull(b, (remote,), KEY).warnings == ()
    assert content(b) == content(a)


def test_a_build_publishes_in_the_background_and_another_pulls(remote, stores):
    a, b = stores
    warnings = []
    place = VolumePlace("there", lambda _: remote, is_writable=True)
    first, second = (VolumeSharing(store, (place,), SCOPES, warn=lambda *said: warnings.append(said[0])) for store in stores)
    add(a, {"a.jar": b"a" * 5000}, first)
    assert first.close(30) == ()
    add(b, {"b.jar": b"b" * 5000}, second)
    assert second.close(30) == ()
    assert content(b) == {"a.jar": b"a" * 5000, "b.jar": b"b" * 5000}
    assert warnings == []
    (report,) = second.report()
    assert (report.sources, report.files_fetched, report.files_published, report.not_published) == ((("there", KEY.scope),), 1, 1, "")


def test_a_branch_reads_main_and_publishes_its_own_alone(tmp_path, stores):
    a, b = stores
    place = VolumePlace("there", lambda key: DirectoryRemote(str(tmp_path / "share"), key), is_writable=True)
    add(a, {"main.bin": os.urandom(300_000)})
    publishing.publish(a, place.remote_of(KEY), KEY)
    branch = VolumeKey("team/app@branch", KEY.name, KEY.platform)
    sharing = VolumeSharing(b, (place,), Scopes(branch.scope, (branch.scope, KEY.scope), ""), warn=lambda *said: pytest.fail(str(said)))
    add(b, {"branch.jar": b"b" * 5000}, sharing, key=branch)
    sharing.close(30)
    (report,) = sharing.report()
    assert (report.sources, report.files_fetched, report.files_published) == ((("there", KEY.scope),), 1, 1)
    assert set(content(b, branch)) == {"main.bin", "branch.jar"}
    seen = remote_head.read_all(place.remote_of(branch))
    assert len(seen.head.vector.seen) == 1
    with Store.open(str(tmp_path / "c")) as c:
        shared.pull(c, (place.remote_of(branch),), branch)
        assert content(c, branch) == {"branch.jar": b"b" * 5000}


def test_a_place_that_may_not_be_written_is_read_and_said_so_once(remote, stores):
    a, b = stores
    if isinstance(remote, DirectoryRemote):
        pytest.skip("root may write any directory")
    add(a, {"a.jar": b"a" * 5000})
    publishing.publish(a, remote, KEY)
    remote.fake.access.scheme, remote.fake.access.allows_anonymous_pull = "bearer", True
    warnings = []
    sharing = VolumeSharing(b, (VolumePlace("there", lambda _: remote, is_writable=True),), SCOPES, warn=lambda *said: warnings.append(said[0]))
    for number in range(3):
        add(b, {f"{number}.jar": b"b" * 5000}, sharing)
    sharing.close(30)
    assert warnings == ["volume.read-only"]
    assert set(content(b)) == {"a.jar", "0.jar", "1.jar", "2.jar"}
    assert sharing.report()[0].not_published


def test_an_unreachable_remote_is_a_warning(tmp_path, stores):
    a, _ = stores
    (tmp_path / "file").write_text("no directory")
    warnings = []
    sharing = VolumeSharing(
        a,
        (VolumePlace("there", lambda key: DirectoryRemote(str(tmp_path / "file"), key), is_writable=True),),
        SCOPES,
        warn=lambda *said: warnings.append(said[0]),
    )
    add(a, {"a.jar": b"a" * 5000}, sharing)
    sharing.close(30)
    assert warnings == ["volume.not-fetched", "volume.not-published"]
    assert content(a) == {"a.jar": b"a" * 5000}


def test_a_hundred_writers_leave_few_heads_and_packs(tmp_path):
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    expected = {}
    for number in range(100):
        with Store.open(str(tmp_path / f"w{number}")) as store:
            expected[f"{number}.jar"] = b"%d" % number
            add(store, {f"{number}.jar": b"%d" % number})
            publishing.publish(store, remote, KEY)
    seen = remote_head.read_all(remote)
    assert len(seen.names) == 1
    assert len(seen.head.packs) <= 64
    with Store.open(str(tmp_path / "fresh")) as fresh:
        assert shared.pull(fresh, (remote,), KEY).warnings == ()
        assert content(fresh) == expected


def test_a_layer_that_vanished_is_fetched_again(remote, tmp_path):
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build({"a": b"1"})
        two.build({"b": b"2"})
        lost = Volumes(two.store).list()[0].directories[0]
        shutil.rmtree(lost)
        assert two.build({"c": b"3"}) == {"b": b"2"}
        assert two.build({"d": b"4"}) == {"a": b"1", "b": b"2", "c": b"3"}
        assert one.sees() == {"a": b"1", "b": b"2", "c": b"3", "d": b"4"}


def test_a_volume_of_many_directories_is_shared(remote, tmp_path):
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        files = {f"d{number}/a/b/c/f": b"" for number in range(3000)}
        one.build(files)
        assert two.sees() == files
        assert one.warnings == two.warnings == []


def test_blobs_that_nobody_names_are_collected_when_they_are_old(tmp_path):
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        for number in range(3):
            one.build({f"{number}": b"%d" % number})
        for path in blobs_of(remote):
            os.utime(path, (1, 1))
        one.build({"3": b"3"})
        assert len(blobs_of(remote)) == 4, "somebody may be reading what was named a moment ago"
        for path in blobs_of(remote):
            os.utime(path, (1, 1))
        named = [item.digest for item in remote_head.read_all(remote).head.packs]
        assert remote.collect(named, ()) == 3
        assert two.sees() == {f"{number}": b"%d" % number for number in range(4)}
        assert two.warnings == []


@pytest.mark.parametrize("point", ["volume.blob-published", "volume.head-published"])
def test_an_interrupted_publication_shows_all_or_nothing(remote, tmp_path, monkeypatch, point):
    def stop(name):
        if name == point:
            raise KeyboardInterrupt

    with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
        one.build({"a": b"1"})
        one.commit({"b": b"2"})
        with monkeypatch.context() as patched:
            patched.setattr(publishing, "reach", stop)
            with pytest.raises(KeyboardInterrupt):
                publishing.publish(one.store, remote, KEY)
        assert set(two.sees()) == ({"a"} if point == "volume.blob-published" else {"a", "b"})
        two.build({"c": b"3"})
        publishing.publish(one.store, remote, KEY)
        assert len(remote.heads()) == 1
        assert two.sees() == {"a": b"1", "b": b"2", "c": b"3"}
        assert one.warnings == two.warnings == []


def test_files_that_claim_to_be_one_are_linked_only_where_they_are_alike(tmp_path):
    entries = []
    for path, content, claim in (("first", b"same", ""), ("alike", b"same", "first"), ("other", b"else", "first"), ("lone", b"same", "gone")):
        (tmp_path / path).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        entries.append(Entry(path, EntryType.FILE, 0o644, 0, 0, 0, Version(1, "w", 1), len(content), sha256, claim))
    after = {entry.path: (entry.type, entry.target) for entry in materialise.with_hard_links(str(tmp_path), tuple(entries))}
    alone = (EntryType.FILE, "")
    assert after == {"first": alone, "alike": (EntryType.HARD_LINK, "first"), "other": alone, "lone": alone}
    assert (tmp_path / "first").stat().st_nlink == 2
    assert (tmp_path / "alike").samefile(tmp_path / "first")

"""Two stores share a volume through a directory or a registry."""

import os

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.content.store import Store
from chandlery.oci import reference
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.volume import remote_head, shared
from chandlery.volume.key import VolumeKey
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.remote_registry import RegistryRemote
from chandlery.volume.sharing import VolumeSharing
from chandlery.volume.volumes import Volumes

KEY = VolumeKey("team/app", "m2", "linux/amd64")


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


def add(store, files, sharing=None):
    """Do what a step does that writes `files`."""
    volumes = Volumes(store, sharing)
    with store.begin() as session:
        attachment = volumes.attach(KEY, session)
        for path, content in files.items():
            target = f"{attachment.upper}/{path}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
        report = volumes.commit(attachment, succeeded=True)
        assert report.warning == ""


def content(store):
    """path -> bytes as the next step would see it."""
    found = {}
    with store.begin() as session:
        attachment = Volumes(store).attach(KEY, session)
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
    assert shared.publish(a, remote, KEY).files == 4
    report = shared.pull(b, remote, KEY)
    assert report.warnings == ()
    assert report.files == 4
    assert content(b) == files


def test_both_sides_additions_survive_and_meet(remote, stores):
    a, b = stores
    add(a, {"a.jar": b"a" * 5000})
    add(b, {"b.jar": b"b" * 5000})
    shared.publish(a, remote, KEY)
    shared.publish(b, remote, KEY)
    shared.pull(a, remote, KEY)
    shared.pull(b, remote, KEY)
    assert content(a) == content(b) == {"a.jar": b"a" * 5000, "b.jar": b"b" * 5000}
    assert len(remote.heads()) == 1


def test_a_second_pull_and_a_second_publish_do_nothing(remote, stores):
    a, b = stores
    add(a, {"a.jar": b"a" * 5000})
    shared.publish(a, remote, KEY)
    shared.pull(b, remote, KEY)
    assert shared.pull(b, remote, KEY).files == 0
    assert shared.publish(b, remote, KEY).bytes_sent == 0


def test_a_delta_alone_is_sent(remote, stores):
    a, _ = stores
    add(a, {"big.bin": os.urandom(3 << 20)})
    shared.publish(a, remote, KEY)
    jar = os.urandom(100_000)
    add(a, {"one.jar": jar})
    assert shared.publish(a, remote, KEY).bytes_sent <= len(jar) * 1.05 + (256 << 10)


def test_credentials_and_secrets_stay(remote, stores):
    a, b = stores
    add(a, {"settings.xml": b"<password/>", "log.txt": b"x" * 1000 + b"s3cr3t-value" + b"y", "ok.jar": b"fine"})
    report = shared.publish(a, remote, KEY, secrets=(b"s3cr3t-value\n",))
    assert report.left_out == ("log.txt",)
    shared.pull(b, remote, KEY)
    assert content(b) == {"ok.jar": b"fine"}


def test_a_damaged_blob_poisons_nothing_and_is_asked_for_again(tmp_path, stores):
    a, b = stores
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    add(a, {"a.jar": os.urandom(50_000)})
    shared.publish(a, remote, KEY)
    (path,) = blobs_of(remote)
    with open(path, "rb") as file:
        whole = file.read()
    with open(path, "r+b") as file:
        file.seek(20_000)
        file.write(b"\0" * 1000)
    report = shared.pull(b, remote, KEY)
    assert report.warnings
    assert content(b) == {}
    with open(path, "wb") as file:
        file.write(whole)
    assert shared.pull(b, remote, KEY).warnings == ()
    assert content(b) == content(a)


def test_a_build_publishes_in_the_background_and_another_pulls(remote, stores):
    a, b = stores
    warnings = []
    first, second = (VolumeSharing(store, lambda _: remote, warn=warnings.append) for store in stores)
    add(a, {"a.jar": b"a" * 5000}, first)
    assert first.close(30) == ()
    add(b, {"b.jar": b"b" * 5000}, second)
    assert second.close(30) == ()
    assert content(b) == {"a.jar": b"a" * 5000, "b.jar": b"b" * 5000}
    assert warnings == []


def test_an_unreachable_remote_is_a_warning(tmp_path, stores):
    a, _ = stores
    (tmp_path / "file").write_text("no directory")
    warnings = []
    sharing = VolumeSharing(a, lambda key: DirectoryRemote(str(tmp_path / "file"), key), warn=warnings.append)
    add(a, {"a.jar": b"a" * 5000}, sharing)
    sharing.close(30)
    assert warnings
    assert content(a) == {"a.jar": b"a" * 5000}


def test_a_hundred_writers_leave_few_heads_and_packs(tmp_path):
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    expected = {}
    for number in range(100):
        with Store.open(str(tmp_path / f"w{number}")) as store:
            expected[f"{number}.jar"] = b"%d" % number
            add(store, {f"{number}.jar": b"%d" % number})
            shared.publish(store, remote, KEY)
    seen = remote_head.read_all(remote)
    assert len(seen.names) == 1
    assert len(seen.head.packs) <= 64
    with Store.open(str(tmp_path / "fresh")) as fresh:
        assert shared.pull(fresh, remote, KEY).warnings == ()
        assert content(fresh) == expected

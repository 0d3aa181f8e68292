"""Pinning, pulling and materialising against the fake registry and a real store."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import threading

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.content.store import Store
from chandlery.errors import Cancelled, Lost, LyingRegistry, NotFound, Unavailable
from chandlery.events import Warned
from chandlery.oci import image_config
from chandlery.oci import manifest as manifests
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.platform import Platform
from chandlery.oci.reference import parse
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.source.image import ImageSource, PullPolicy

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


BASE = tar({"etc/hello": b"hello\n", "etc/gone": b"soon", "data": os.urandom(200_000)})
TOP = tar({"etc/more": b"more\n", "etc/.wh.gone": b""})
LAYERS = (BASE, TOP)


def add_image(fake: FakeRegistry, tag: str, *, architecture: str = "amd64", layers: tuple[bytes, ...] = LAYERS, author: str = "") -> manifests.Manifest:
    diff_ids = tuple(sha256(layer) for layer in layers)
    config = image_config.encode(ImageConfig(architecture, "linux", author=author, diff_ids=diff_ids))
    blobs = [gzip.compress(layer, 1, mtime=0) for layer in layers]
    for data in (config, *blobs):
        fake.add_blob("team/app", data)
    descriptors = tuple(Descriptor(types.OCI_LAYER_GZIP, sha256(blob), len(blob)) for blob in blobs)
    made = manifests.build_manifest(config=Descriptor(types.OCI_CONFIG, sha256(config), len(config)), layers=descriptors)
    fake.add_manifest("team/app", tag, made.raw, made.media_type)
    return made


def add_index(fake: FakeRegistry, tag: str, *images: tuple[str, manifests.Manifest]) -> str:
    listed = [
        {"mediaType": made.media_type, "digest": made.digest, "size": len(made.raw), "platform": {"os": "linux", "architecture": architecture}}
        for architecture, made in images
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": listed}).encode()
    return fake.add_manifest("team/app", tag, raw, types.OCI_INDEX)


class Machine:
    """A store with an image source, as a build has them."""

    def __init__(self, root: str) -> None:
        self.store = Store.open(root)
        self.session = self.store.begin()
        self.events: list[object] = []
        self.snapshots = SnapshotStore(self.store)
        self.client = RegistryClient(RegistrySettings(certs_d=(), attempts=2), sleep=lambda _: None)
        self.connected = 0
        self.images = ImageSource(self.store, self.snapshots, self.connect, settings=lambda: self.client.http.settings, emit=self.events.append)

    def connect(self) -> RegistryClient:
        self.connected += 1
        return self.client

    def close(self) -> None:
        self.client.close()
        self.session.close()
        self.store.close()

    def pin(self, ref, platform=AMD64, policy=PullPolicy.DEFAULT):
        return self.images.pin(ref, platform, self.session, policy=policy)

    def materialise(self, pinned):
        return self.images.materialise(pinned, self.session)

    def pull(self, ref):
        return self.images.pull(ref, AMD64, self.session)

    def warnings(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, Warned)]

    def add_local(self, name: str, config: ImageConfig) -> None:
        digest = self.store.blobs.put(image_config.encode(config), session=self.session)
        with self.store.db.transaction() as tx:
            tx.execute("INSERT OR REPLACE INTO image VALUES (?, ?, NULL, ?, 0, 0)", (name, digest, json.dumps(config.diff_ids)))


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def machine(tmp_path):
    made = Machine(str(tmp_path / "store"))
    yield made
    made.close()


@pytest.fixture
def ref(fake):
    return parse(f"{fake.host}/team/app:1")


def scratch(machine: Machine) -> list[str]:
    return sorted(set(os.listdir(machine.session.directory)) - {"lock", "leases"})


# pin


def test_tag_is_pinned_to_its_manifest_and_config(fake, machine, ref):
    made = add_image(fake, "1")
    pinned = machine.pin(ref)
    assert (pinned.manifest_digest, pinned.config_digest, pinned.layers) == (made.digest, made.config.digest, made.layers)
    assert pinned.config.diff_ids == (sha256(BASE), sha256(TOP))
    assert not pinned.is_local


def test_second_pin_is_one_head(fake, machine, ref):
    add_index(fake, "1", ("amd64", add_image(fake, "a")))
    first = machine.pin(ref)
    fake.seen.clear()
    connected, machine.images._client = machine.connected, None
    assert machine.pin(ref) == first
    assert [seen.method for seen in fake.seen] == ["HEAD"]
    assert machine.connected == connected


def test_index_is_followed_to_the_platform(fake, machine, ref):
    amd64, arm64 = add_image(fake, "a"), add_image(fake, "b", architecture="arm64")
    add_index(fake, "1", ("arm64", arm64), ("amd64", amd64))
    assert machine.pin(ref).manifest_digest == amd64.digest
    assert machine.pin(ref, ARM64).manifest_digest == arm64.digest
    with pytest.raises(NotFound) as caught:
        machine.pin(ref, Platform("linux", "s390x"))
    assert caught.value.code == "registry.no-platform"
    assert "linux/arm64" in caught.value.hint


def test_single_image_of_another_platform_is_used_with_a_warning(fake, machine, ref):
    add_image(fake, "1", architecture="arm64")
    machine.pin(ref)
    assert machine.warnings() == ["image.platform"]


def test_moved_tag_is_noticed(fake, machine, ref):
    machine_first = add_image(fake, "1")
    assert machine.pin(ref).manifest_digest == machine_first.digest
    moved = add_image(fake, "1", author="somebody else")
    assert machine.pin(ref).manifest_digest == moved.digest


def test_digest_that_is_here_needs_no_registry(fake, machine, ref):
    made = add_image(fake, "1")
    by_digest = parse(f"{fake.host}/team/app@{made.digest}")
    machine.pin(by_digest)
    fake.seen.clear()
    assert machine.pin(by_digest).manifest_digest == made.digest
    assert fake.seen == []


def test_absent_tag_is_not_found(machine, ref):
    with pytest.raises(NotFound) as caught:
        machine.pin(ref)
    assert caught.value.code == "registry.not-found"


def test_unreachable_registry_falls_back_to_what_is_here(fake, machine, ref):
    first = add_image(fake, "1")
    machine.pin(ref)
    fake.faults.status_for_all = 503
    assert machine.pin(ref).manifest_digest == first.digest
    assert machine.warnings() == ["image.unchecked"]


def test_unreachable_registry_of_an_unknown_image_is_an_error(fake, machine, ref):
    fake.faults.status_for_all = 503
    with pytest.raises(Unavailable):
        machine.pin(ref)


def test_name_made_here_resolves_here(fake, machine, ref):
    add_image(fake, "1")
    machine.add_local(str(ref), ImageConfig("amd64", "linux", author="me"))
    pinned = machine.pin(ref)
    assert pinned.is_local
    assert pinned.config.author == "me"
    assert machine.connected == 0
    assert not machine.pin(ref, policy=PullPolicy.ALWAYS).is_local


def test_pulled_name_is_checked_again_and_a_build_takes_it_over(fake, machine, ref):
    add_image(fake, "1")
    machine.pull(ref)
    moved = add_image(fake, "1", author="somebody else")
    assert machine.pin(ref).manifest_digest == moved.digest
    machine.add_local(str(ref), ImageConfig("amd64", "linux", author="me"))
    assert machine.pin(ref).is_local


def test_config_that_knows_other_layers_is_a_lie(fake, machine, ref):
    made = add_image(fake, "1")
    lying = manifests.build_manifest(config=made.config, layers=made.layers[:1])
    fake.add_manifest("team/app", "1", lying.raw, lying.media_type)
    with pytest.raises(LyingRegistry) as caught:
        machine.pin(ref)
    assert caught.value.code == "registry.bad-config"


# materialise and pull


def read(machine: Machine, snapshot: str, name: str) -> bytes:
    with open(f"{machine.snapshots.path(snapshot)}/{name}", "rb") as file:
        return file.read()


def test_layers_become_snapshots_bottom_first_and_blobs_stay(fake, machine, ref):
    made = add_image(fake, "1")
    base, top = machine.materialise(machine.pin(ref))
    assert read(machine, base, "etc/hello") == b"hello\n"
    assert read(machine, top, "etc/more") == b"more\n"
    assert os.stat(f"{machine.snapshots.path(top)}/etc/gone").st_rdev == 0
    assert all(machine.store.blobs.has(layer.digest) for layer in made.layers)
    assert scratch(machine) == []


def test_layers_that_are_here_move_nothing(fake, machine, ref):
    add_image(fake, "1")
    pinned = machine.pin(ref)
    first = machine.materialise(pinned)
    fake.seen.clear()
    assert machine.materialise(pinned) == first
    assert fake.seen == []


def test_snapshot_that_is_gone_is_extracted_from_its_blob(fake, machine, ref):
    add_image(fake, "1")
    pinned = machine.pin(ref)
    machine.materialise(pinned)
    with machine.store.db.transaction() as tx:
        tx.execute("DELETE FROM snapshot")
    fake.seen.clear()
    base, _ = machine.materialise(pinned)
    assert read(machine, base, "etc/hello") == b"hello\n"
    assert fake.seen == []


def test_damaged_blob_is_fetched_again(fake, machine, ref):
    made = add_image(fake, "1")
    pinned = machine.pin(ref)
    machine.materialise(pinned)
    with machine.store.db.transaction() as tx:
        tx.execute("DELETE FROM snapshot")
    with open(machine.store.blobs.path(made.layers[0].digest), "r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"damage")
    base, _ = machine.materialise(pinned)
    assert read(machine, base, "etc/hello") == b"hello\n"
    assert machine.store.blobs.read(made.layers[0].digest)


@pytest.mark.parametrize(("fault", "code"), [("wrong_bytes", "registry.wrong-digest"), ("short_body", "registry.short-body"), ("cuts", "registry.unavailable")])
def test_layer_that_is_not_what_was_promised_leaves_nothing(fake, machine, ref, fault, code):
    made = add_image(fake, "1")
    pinned = machine.pin(ref)
    setattr(fake.faults, fault, 1000)
    fake.faults.cut_after = 0
    with pytest.raises((LyingRegistry, Unavailable)) as caught:
        machine.materialise(pinned)
    assert caught.value.code == code
    assert not any(machine.store.blobs.has(layer.digest) for layer in made.layers)
    assert machine.store.db.read("SELECT * FROM snapshot") == []
    assert scratch(machine) == []


def test_layer_with_another_diff_id_than_its_config_says_leaves_no_snapshot(fake, machine, ref):
    made = add_image(fake, "1")
    config = image_config.encode(ImageConfig("amd64", "linux", diff_ids=(sha256(b"other"), sha256(TOP))))
    fake.add_blob("team/app", config)
    lying = manifests.build_manifest(config=Descriptor(types.OCI_CONFIG, sha256(config), len(config)), layers=made.layers)
    fake.add_manifest("team/app", "1", lying.raw, lying.media_type)
    with pytest.raises(LyingRegistry) as caught:
        machine.materialise(machine.pin(ref))
    assert caught.value.code == "layer.wrong-diff-id"
    assert machine.store.db.read("SELECT * FROM snapshot WHERE diff_id = ?", (sha256(b"other"),)) == []
    assert scratch(machine) == []


def test_cut_layer_is_resumed_while_it_is_extracted(fake, machine, ref):
    add_image(fake, "1")
    pinned = machine.pin(ref)
    fake.faults.cuts, fake.faults.cut_after = 3, 50_000
    base, _ = machine.materialise(pinned)
    assert read(machine, base, "etc/hello") == b"hello\n"


def test_one_layer_twice_in_an_image_is_fetched_once(fake, machine, ref):
    add_image(fake, "1", layers=(BASE, TOP, TOP))
    base, top, again = machine.materialise(machine.pin(ref))
    assert base != top == again
    assert fake.count("GET", "/blobs/") == 3


def test_layers_of_an_image_made_here_come_from_its_snapshots_or_are_lost(machine, ref):
    machine.add_local(str(ref), ImageConfig("amd64", "linux", diff_ids=(sha256(BASE),)))
    pinned = machine.pin(ref)
    with pytest.raises(Lost):
        machine.materialise(pinned)
    active = machine.snapshots.prepare(machine.session)
    snapshot = machine.snapshots.commit(active, diff_id=sha256(BASE), size_bytes=0)
    assert machine.materialise(pinned) == (snapshot,)
    assert machine.connected == 0


def test_pull_names_the_image_and_a_second_one_moves_nothing(fake, machine, ref):
    made = add_image(fake, "1")
    receipt = machine.pull(ref)
    sizes = [len(made.raw), made.config.size_bytes, *(layer.size_bytes for layer in made.layers)]
    assert receipt.bytes_moved == sum(sizes)
    rows = machine.store.db.read("SELECT name, config_digest, manifest_digest, layers FROM image")
    assert rows == [(str(ref), made.config.digest, made.digest, json.dumps([sha256(BASE), sha256(TOP)]))]
    again = machine.pull(ref)
    assert again.bytes_moved == 0
    assert again.snapshots == receipt.snapshots


def test_two_machines_sharing_a_store_fetch_a_layer_once(fake, machine, ref, tmp_path):
    add_image(fake, "1")
    other = Machine(str(tmp_path / "store"))
    fake.faults.delay_s = 0.05
    found = []
    threads = [threading.Thread(target=lambda made=made: found.append(made.materialise(made.pin(ref)))) for made in (machine, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert found[0] == found[1]
    layers = [seen for seen in fake.seen if seen.method == "GET" and "/blobs/" in seen.path]
    assert len({seen.path for seen in layers}) == 3
    assert len([seen for seen in layers if seen.headers.get("Range") is None]) <= 4


def test_cancelled_build_ends_its_downloads(fake, machine, ref):
    add_image(fake, "1")
    pinned = machine.pin(ref)
    machine.images.watch(lambda: fake.count("GET", "/blobs/") > 1)
    with pytest.raises(Cancelled):
        machine.materialise(pinned)
    assert scratch(machine) == []


def test_cached_pin_of_a_tag_loads_no_http_library(fake, machine, ref, tmp_path):
    add_image(fake, "1")
    machine.materialise(machine.pin(ref))
    script = f"""
import sys
from chandlery.content.store import Store
from chandlery.oci.platform import Platform
from chandlery.oci.reference import parse
from chandlery.registry.settings import RegistrySettings
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.source.image import ImageSource
with Store.open({machine.store.root!r}) as store, store.begin() as session:
    images = ImageSource(store, SnapshotStore(store), lambda: 1 / 0, settings=lambda: RegistrySettings(certs_d=()))
    images.materialise(images.pin(parse({str(ref)!r}), Platform("linux", "amd64"), session), session)
print(*sorted({{"urllib3", "ssl", "email", "http", "concurrent.futures", "logging", "chandlery.registry.client"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")

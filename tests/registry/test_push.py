"""Pushing to the fake: what is skipped, mounted, sent; in which order; and what a failure leaves."""

import io
import os
import signal
import threading
import time

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.errors import Cancelled, Lost, RegistryError
from chandlery.oci import manifest as manifests
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.oci.reference import parse
from chandlery.registry.client import RegistryClient
from chandlery.registry.push import push
from chandlery.registry.settings import RegistrySettings

BLOBS = {sha256(data): data for data in [b"{}", *(os.urandom(50_000 + n) for n in range(6))]}
CONFIG, *LAYERS = [Descriptor(types.OCI_LAYER_GZIP, digest, len(data)) for digest, data in BLOBS.items()]
MANIFEST = manifests.build_manifest(config=CONFIG, layers=tuple(LAYERS))


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def client():
    made = RegistryClient(RegistrySettings(certs_d=()), sleep=lambda _: None)
    yield made
    made.close()


@pytest.fixture
def ref(fake):
    return parse(f"{fake.host}/team/app:1")


class OnItsWay:
    """A blob that somebody else sends, or said that they would."""

    def __init__(self, blob: Descriptor, arrives: bool) -> None:
        self.digest, self._arrives = blob.digest, arrives

    def finish(self) -> bool:
        return self._arrives


def open_blob(blob: Descriptor) -> io.BytesIO:
    return io.BytesIO(BLOBS[blob.digest])


def push_all(client, ref, **more):
    return push(client, ref, blobs=[CONFIG, *LAYERS, LAYERS[0]], open_blob=open_blob, manifest=MANIFEST, **more)


def test_everything_is_sent_once_and_the_manifest_last(fake, client, ref):
    receipt = push_all(client, ref)
    assert receipt.digest == MANIFEST.digest
    assert (receipt.blobs_sent, receipt.blobs_skipped, receipt.blobs_mounted) == (7, 0, 0)
    assert receipt.bytes_moved == sum(map(len, BLOBS.values()))
    assert {digest: data for (_, digest), data in fake.blobs.items()} == BLOBS
    assert fake.seen[-1].method == "PUT"
    assert fake.seen[-1].path.endswith("/manifests/1")


def test_second_push_costs_one_look_up(fake, client, ref):
    push_all(client, ref)
    fake.seen.clear()
    receipt = push_all(client, ref)
    assert (receipt.bytes_moved, receipt.blobs_skipped) == (0, 7)
    assert [seen.method for seen in fake.seen] == ["HEAD"]


def test_what_was_just_sent_is_not_asked_for(fake, client, ref):
    push_all(client, parse(f"{fake.host}/team/app:0"))
    before = len(fake.seen)
    receipt = push_all(client, ref, streams=(OnItsWay(CONFIG, True), OnItsWay(LAYERS[0], True)))
    asked = [seen.path for seen in fake.seen[before:] if seen.method == "HEAD"]
    assert len(asked) == 5
    assert not any(str(LAYERS[0].digest) in path or "/manifests/" in path for path in asked)
    assert receipt.digest == MANIFEST.digest


def test_what_did_not_arrive_by_itself_is_sent_before_anybody_hears_that_all_is_there(fake, client, ref):
    there = []
    receipt = push_all(client, ref, streams=(OnItsWay(LAYERS[0], False),), on_blobs=lambda: there.append({digest for _, digest in fake.blobs}))
    assert there == [set(BLOBS)]
    assert receipt.blobs_sent == len(BLOBS)


def test_other_tag_moves_no_blob(fake, client, ref):
    push_all(client, ref)
    receipt = push_all(client, parse(f"{fake.host}/team/app:2"))
    assert (receipt.bytes_moved, receipt.blobs_skipped) == (0, 7)
    assert fake.tags("team/app") == ["1", "2"]


@pytest.mark.parametrize("refuses", [False, True])
def test_blobs_of_another_repository_are_mounted_where_that_works(fake, client, ref, refuses):
    push_all(client, ref)
    fake.faults.refuses_mount = refuses
    receipt = push_all(client, parse(f"{fake.host}/other:1"), mount_from=dict.fromkeys(BLOBS, "team/app"))
    assert (receipt.blobs_mounted, receipt.blobs_sent) == ((0, 7) if refuses else (7, 0))
    assert ("other", "1") in fake.manifests


def test_progress_ends_at_the_total(client, ref):
    heard = []
    push_all(client, ref, on_progress=heard.append)
    assert max(item.done_bytes for item in heard) == heard[0].total_bytes == sum(map(len, BLOBS.values()))


def test_index_follows_its_children(fake, client, ref):
    child = Descriptor(MANIFEST.media_type, MANIFEST.digest, len(MANIFEST.raw), platform=(("architecture", "amd64"), ("os", "linux")))
    raw = b'{"schemaVersion":2,"mediaType":"%s","manifests":[{"mediaType":"%s","digest":"%s","size":%d}]}' % (
        types.OCI_INDEX.encode(), child.media_type.encode(), child.digest.encode(), child.size_bytes,
    )  # fmt: skip
    index = manifests.decode(raw)
    push(client, ref, blobs=[CONFIG, *LAYERS], open_blob=open_blob, manifest=index, children=(MANIFEST,))
    assert fake.manifests["team/app", "1"][0] == raw
    assert ("team/app", MANIFEST.digest) in fake.manifests


def test_push_by_digest_alone_makes_no_tag(fake, client):
    push_all(client, parse(f"{fake.host}/team/app@{MANIFEST.digest}"))
    assert fake.tags("team/app") == []
    assert ("team/app", MANIFEST.digest) in fake.manifests


def test_blob_that_is_gone_ends_the_push_without_a_tag(fake, client, ref):
    def lost(blob: Descriptor) -> io.BytesIO:
        if blob is LAYERS[2]:
            raise Lost(blob.digest)
        return open_blob(blob)

    with pytest.raises(Lost):
        push(client, ref, blobs=[CONFIG, *LAYERS], open_blob=lost, manifest=MANIFEST)
    assert fake.manifests == {}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("push")]


def test_refused_blob_ends_the_push(fake, client, ref):
    fake.faults.server_errors, fake.faults.server_error_status = 1000, 400
    with pytest.raises(RegistryError) as caught:
        push_all(client, ref)
    assert caught.value.code == "registry.refused"


def test_signal_ends_a_push_soon_and_no_thread_stays(fake, client, ref):
    def handle(number: int, _: object) -> None:
        raise Cancelled(number)

    fake.faults.delay_s = 0.2
    before = signal.signal(signal.SIGALRM, handle)
    began = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(Cancelled):
            push_all(client, ref, parallel=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 1.5
    assert fake.manifests == {}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("push")]

"""The client against the fake: every endpoint, and every fault of which a registry has been seen capable."""

import base64
import hashlib
import io
import json
import os
import socket
import threading
import time

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.errors import AccessDenied, Cancelled, LyingRegistry, NotFound, RegistryError, Unavailable
from chandlery.oci import manifest as manifests
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.reference import Reference, parse
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import Proxies, RegistrySettings
from chandlery.registry.streamed import StreamedBlob

DATA = os.urandom(300_000)
BLOB = Descriptor(types.OCI_LAYER_GZIP, sha256(DATA), len(DATA))


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def make(waits):
    made = []

    def make_client(**settings: object) -> RegistryClient:
        made.append(RegistryClient(RegistrySettings(certs_d=(), **settings), sleep=waits.append))
        return made[-1]

    yield make_client
    for client in made:
        client.close()


@pytest.fixture
def client(make) -> RegistryClient:
    return make()


@pytest.fixture
def ref(fake) -> Reference:
    return parse(f"{fake.host}/team/app:1")


def image(fake: FakeRegistry, tag: str = "1") -> manifests.Manifest:
    fake.add_blob("team/app", DATA)
    fake.add_blob("team/app", b"{}")
    made = manifests.build_manifest(config=Descriptor(types.OCI_CONFIG, sha256(b"{}"), 2), layers=(BLOB,))
    fake.add_manifest("team/app", tag, made.raw, made.media_type)
    return made


def download(client: RegistryClient, ref: Reference, wanted: Descriptor = BLOB) -> bytes:
    return b"".join(client.read_blob(ref, wanted))


# manifests


def test_head_says_what_a_tag_names_in_one_request(fake, client, ref):
    made = image(fake)
    assert client.head_manifest(ref) == Descriptor(types.OCI_MANIFEST, made.digest, len(made.raw))
    assert fake.count("HEAD") == 1
    assert fake.count("GET", "manifests") == 0


def test_head_of_an_absent_tag_is_none(client, ref):
    assert client.head_manifest(ref) is None


@pytest.mark.parametrize("fault", ["refuses_head", "no_digest_header"])
def test_head_falls_back_to_get(fake, client, ref, fault):
    made = image(fake)
    setattr(fake.faults, fault, True)
    assert client.head_manifest(ref).digest == made.digest


def test_manifest_is_fetched_by_tag_and_by_digest(fake, client, ref):
    made = image(fake)
    assert client.get_manifest(ref) == (made.raw, made.media_type)
    assert client.get_manifest(ref, made.digest)[0] == made.raw


@pytest.mark.parametrize("by_digest", [False, True])
def test_manifest_with_other_bytes_than_its_digest_is_a_lie(fake, client, ref, by_digest):
    made = image(fake)
    fake.faults.wrong_manifest = True
    with pytest.raises(LyingRegistry) as caught:
        client.get_manifest(ref, made.digest if by_digest else "")
    assert caught.value.code == "registry.wrong-digest"


def test_absent_manifest_is_not_found(client, ref):
    with pytest.raises(NotFound) as caught:
        client.get_manifest(ref)
    assert caught.value.code == "registry.not-found"


def test_endless_manifest_is_cut_off(fake, client, ref):
    fake.add_manifest("team/app", "1", b"x" * (manifests.MAX_BYTES + 1), types.OCI_MANIFEST)
    with pytest.raises(LyingRegistry) as caught:
        client.get_manifest(ref)
    assert caught.value.code == "registry.too-large"


def test_manifest_put_is_checked_against_the_answer(fake, client, ref):
    made = image(fake, "old")
    assert client.put_manifest(ref, "new", made) == made.digest
    assert fake.manifests["team/app", "new"] == (made.raw, made.media_type)
    fake.faults.wrong_put_digest = True
    with pytest.raises(LyingRegistry):
        client.put_manifest(ref, "new", made)


def test_immutable_tag_is_a_code_of_its_own(fake, client, ref):
    made = image(fake)
    fake.faults.immutable_tags = True
    with pytest.raises(RegistryError) as caught:
        client.put_manifest(ref, "1", made)
    assert caught.value.code == "registry.tag-immutable"


def test_manifest_whose_blobs_are_missing_is_refused(fake, client, ref):
    made = manifests.build_manifest(config=BLOB, layers=())
    with pytest.raises(RegistryError) as caught:
        client.put_manifest(ref, "1", made)
    assert caught.value.code == "registry.refused"


def test_manifest_is_deleted_or_that_is_refused(fake, client, ref):
    made = image(fake)
    fake.faults.refuses_delete = True
    with pytest.raises(RegistryError) as caught:
        client.delete_manifest(ref, made.digest)
    assert caught.value.code == "registry.refused"
    fake.faults.refuses_delete = False
    client.delete_manifest(ref, made.digest)
    assert client.head_manifest(ref) is None
    with pytest.raises(NotFound):
        client.delete_manifest(ref, made.digest)


@pytest.mark.parametrize("page_size", [0, 1, 2, 3])
def test_tags_are_listed_across_pages(client, page_size):
    with FakeRegistry(page_size=page_size) as fake:
        for tag in ("c", "a", "b"):
            image(fake, tag)
        assert list(client.tags(parse(f"{fake.host}/team/app"))) == ["a", "b", "c"]
        assert list(client.tags(parse(f"{fake.host}/absent"))) == []


# downloads


def test_blob_is_read_whole(fake, client, ref):
    image(fake)
    assert download(client, ref) == DATA


def test_wrong_bytes_are_a_lie(fake, client, ref):
    image(fake)
    fake.faults.wrong_bytes = True
    with pytest.raises(LyingRegistry) as caught:
        download(client, ref)
    assert caught.value.code == "registry.wrong-digest"


def test_short_body_is_a_lie(fake, client, ref):
    image(fake)
    fake.faults.short_body = True
    with pytest.raises(LyingRegistry) as caught:
        download(client, ref)
    assert caught.value.code == "registry.short-body"


def test_long_body_is_a_lie(fake, client, ref):
    image(fake)
    with pytest.raises(LyingRegistry) as caught:
        download(client, ref, Descriptor(types.OCI_LAYER, BLOB.digest, 10))
    assert caught.value.code == "registry.long-body"


def test_cut_download_goes_on_where_it_was(fake, client, ref):
    image(fake)
    fake.faults.cuts, fake.faults.cut_after = 3, 70_000
    assert download(client, ref) == DATA
    ranges = [seen.headers.get("Range") for seen in fake.seen if "/blobs/" in seen.path]
    assert ranges == [None, "bytes=70000-", "bytes=140000-", "bytes=210000-"]


def test_cut_download_starts_again_where_ranges_are_ignored(fake, client, ref):
    image(fake)
    fake.faults.cuts, fake.faults.cut_after, fake.faults.ignores_range = 1, 70_000, True
    assert download(client, ref) == DATA


def test_wrong_range_is_a_lie(fake, client, ref):
    image(fake)
    fake.faults.cuts, fake.faults.wrong_range = 1, True
    with pytest.raises(LyingRegistry) as caught:
        download(client, ref)
    assert caught.value.code == "registry.wrong-range"


def test_download_that_is_always_cut_at_once_is_given_up(fake, client, ref):
    image(fake)
    fake.faults.cuts, fake.faults.cut_after = 1000, 0
    with pytest.raises(Unavailable) as caught:
        download(client, ref)
    assert caught.value.code == "registry.unavailable"
    assert fake.count("GET", "/blobs/") == 5


def test_missing_blob_is_not_found(client, ref):
    with pytest.raises(NotFound):
        download(client, ref)


# uploads


def test_blob_is_uploaded_whole(fake, client, ref):
    heard = []
    assert not client.has_blob(ref, BLOB.digest)
    client.upload_blob(ref, BLOB, lambda: io.BytesIO(DATA), on_bytes=heard.append)
    assert client.has_blob(ref, BLOB.digest)
    assert fake.blobs["team/app", BLOB.digest] == DATA
    assert sum(heard) == len(DATA)


@pytest.mark.parametrize("fault", ["upload_cuts", "server_errors"])
def test_failed_upload_is_begun_again(fake, client, ref, fault):
    heard = []
    setattr(fake.faults, fault, 2)
    client.upload_blob(ref, BLOB, lambda: io.BytesIO(DATA), on_bytes=heard.append)
    assert fake.blobs["team/app", BLOB.digest] == DATA
    assert sum(heard) == len(DATA)


def test_upload_of_other_bytes_than_promised_is_refused_by_the_registry(fake, client, ref):
    with pytest.raises(LyingRegistry) as caught:
        client.upload_blob(ref, BLOB, lambda: io.BytesIO(bytes(len(DATA))))
    assert caught.value.code == "registry.wrong-digest"


def chunks(data: bytes, size: int = 65_536):
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [0, 1, 300_000, 300_001, 900_001])
def test_stream_is_uploaded_in_pieces(fake, client, ref, monkeypatch, size):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 300_000)
    data = os.urandom(size)
    assert client.upload_stream(ref, chunks(data)) == (sha256(data), size)
    assert fake.blobs["team/app", sha256(data)] == data


def test_pieces_are_as_long_as_the_registry_demands(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 1000)
    fake.faults.minimum_chunk = 200_000
    data = os.urandom(900_000)
    client.upload_stream(ref, chunks(data))
    assert min(fake.chunks[:-1]) >= 200_000


def test_absurd_minimum_of_pieces_is_refused(fake, client, ref):
    fake.faults.minimum_chunk = 1 << 40
    with pytest.raises(LyingRegistry) as caught:
        client.upload_stream(ref, chunks(DATA))
    assert caught.value.code == "registry.chunk-size"


def test_cut_piece_goes_on_where_the_registry_got_to(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 100_000)
    fake.faults.upload_cuts = 2
    assert client.upload_stream(ref, chunks(DATA)) == (BLOB.digest, len(DATA))
    assert fake.blobs["team/app", BLOB.digest] == DATA


def test_stream_is_one_request_where_nothing_goes_wrong(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 100_000)
    heard: list[int] = []
    client.upload_stream(ref, chunks(DATA), on_bytes=heard.append)
    assert [seen.method for seen in fake.seen if seen.method in ("PATCH", "PUT")] == ["PATCH", "PUT"]
    assert sum(heard) == len(DATA)


def test_registry_that_wants_to_know_sizes_gets_pieces(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 100_000)
    monkeypatch.setattr("chandlery.registry.upload_stream.KEPT_BYTES", 2 * len(DATA))
    fake.faults.wants_sizes = True
    heard: list[int] = []
    assert client.upload_stream(ref, chunks(DATA), on_bytes=heard.append) == (BLOB.digest, len(DATA))
    assert fake.blobs["team/app", BLOB.digest] == DATA
    assert sum(heard) == len(DATA)


def test_stream_of_which_too_much_is_lost_is_given_up(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 10_000)
    monkeypatch.setattr("chandlery.registry.upload_stream.KEPT_BYTES", 20_000)
    fake.faults.wants_sizes = True
    with pytest.raises(Unavailable) as caught:
        client.upload_stream(ref, chunks(DATA, 10_000))
    assert caught.value.code == "registry.upload-lost"
    assert fake.uploads == {}


def test_failure_of_the_maker_is_not_taken_for_the_networks(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 100_000)

    def broken():
        yield from chunks(DATA)
        raise OSError(5, "the disk")

    with pytest.raises(OSError, match="the disk"):
        client.upload_stream(ref, broken())
    assert fake.uploads == {}


def test_blob_is_sent_while_it_is_made(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 100_000)
    with StreamedBlob(client, ref) as blob:
        for chunk in chunks(DATA):
            blob.write(chunk)
        blob.end(BLOB.digest)
    assert blob.finish()
    assert fake.blobs["team/app", BLOB.digest] == DATA


def test_blob_whose_maker_fails_is_given_up(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 1000)

    def make_and_fail() -> None:
        with StreamedBlob(client, ref) as blob:
            blob.write(DATA)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_and_fail()
    assert fake.uploads == {}
    assert fake.blobs == {}
    assert not [thread for thread in threading.enumerate() if thread.name == "upload"]


def test_wrong_digest_of_the_maker_is_refused_by_the_registry(fake, client, ref):
    def make() -> None:
        with StreamedBlob(client, ref) as blob:
            blob.write(DATA)
            blob.end(sha256(b"other"))
        blob.finish()

    with pytest.raises(LyingRegistry) as caught:
        make()
    assert caught.value.code == "registry.wrong-digest"
    assert fake.blobs == {}


def test_maker_hears_that_the_upload_failed(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 1000)
    fake.access.scheme = "basic"

    def make() -> None:
        with StreamedBlob(client, ref) as blob:
            for _ in range(10_000):
                blob.write(DATA[:1000])
            blob.end(BLOB.digest)
        blob.finish()

    with pytest.raises(AccessDenied):
        make()


def test_lost_answer_to_the_end_of_an_upload_does_not_lose_the_blob(fake, client, ref, monkeypatch):
    monkeypatch.setattr("chandlery.registry.upload_stream.STREAM_PIECE_BYTES", 100_000)
    fake.faults.lost_answers = 1
    assert client.upload_stream(ref, chunks(DATA)) == (BLOB.digest, len(DATA))


def test_mount_spares_the_upload_and_a_refused_one_does_not_hurt(fake, client, ref):
    fake.add_blob("other", DATA)
    fake.faults.refuses_mount = True
    assert not client.mount_blob(ref, BLOB.digest, "other")
    assert fake.uploads == {}
    fake.faults.refuses_mount = False
    assert client.mount_blob(ref, BLOB.digest, "other")
    assert fake.blobs["team/app", BLOB.digest] == DATA


def test_upload_that_continues_on_another_host_goes_there_without_credentials(fake, make, ref, tmp_path):
    fake.access.scheme = "basic"
    client = make(auth_files=(docker_config(tmp_path, fake.host),))
    with FakeRegistry() as storage:
        fake.faults.redirect_uploads_to = storage.url
        storage.uploads = fake.uploads
        storage.blobs = fake.blobs
        client.upload_blob(ref, BLOB, lambda: io.BytesIO(DATA))
        assert storage.count("PUT") == 1
        assert all("Authorization" not in seen.headers for seen in storage.seen)


# the network


def test_errors_of_the_server_are_retried_with_growing_waits(fake, client, ref, waits):
    made = image(fake)
    fake.faults.server_errors = 3
    assert client.get_manifest(ref)[0] == made.raw
    assert len(waits) >= 3
    assert 0.1 <= waits[0] <= 0.2


def test_server_that_stays_broken_is_unavailable(fake, client, ref):
    image(fake)
    fake.faults.server_errors = 1000
    with pytest.raises(Unavailable) as caught:
        client.get_manifest(ref)
    assert caught.value.code == "registry.unavailable"
    assert caught.value.exit_status == 75
    assert fake.count("GET", "manifests") == 5


def test_retry_after_is_honoured(fake, client, ref, waits):
    image(fake)
    fake.faults.rate_limits, fake.faults.retry_after = 1, "3"
    client.get_manifest(ref)
    assert sum(waits) == pytest.approx(3, abs=0.01)


def test_retry_after_of_hours_is_not_waited_for(fake, client, ref, waits):
    image(fake)
    fake.faults.rate_limits, fake.faults.retry_after = 5, "7200"
    with pytest.raises(Unavailable) as caught:
        client.get_manifest(ref)
    assert caught.value.code == "registry.rate-limited"
    assert waits == []


def test_dropped_connections_are_retried(fake, client, ref):
    made = image(fake)
    client.head_manifest(ref)
    fake.faults.drops = 2
    assert client.head_manifest(ref).digest == made.digest


def test_nobody_listening_is_unavailable(client):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable) as caught:
            client.head_manifest(parse(f"127.0.0.1:{taken.getsockname()[1]}/a"))
    assert caught.value.code == "registry.unavailable"


def test_unknown_host_is_unavailable(make):
    with pytest.raises(Unavailable) as caught:
        make(attempts=1).head_manifest(parse("absent.invalid/a"))
    assert caught.value.code == "registry.unavailable"
    assert "absent.invalid" in caught.value.message


def test_silence_is_a_time_out(fake, make, ref):
    image(fake)
    fake.faults.delay_s = 5
    client = make(read_timeout_s=0.2, attempts=2)
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        client.head_manifest(ref)
    assert caught.value.code == "registry.timeout"
    assert time.monotonic() - began < 4


def test_redirect_loop_ends(fake, client, ref):
    fake.faults.redirect_loop = True
    with pytest.raises(RegistryError) as caught:
        client.get_manifest(ref)
    assert caught.value.code == "registry.redirect-loop"
    assert fake.count("GET", "manifests") == 11


def test_redirect_to_another_host_loses_the_credentials(fake, make, ref, tmp_path):
    image(fake)
    fake.access.scheme = "basic"
    client = make(auth_files=(docker_config(tmp_path, fake.host),))
    with FakeRegistry() as storage:
        storage.add_blob("team/app", DATA)
        fake.faults.redirect_blobs_to = storage.url
        assert download(client, ref) == DATA
        assert any("Authorization" in seen.headers for seen in fake.seen)
        assert storage.seen
        assert all("Authorization" not in seen.headers for seen in storage.seen)


def test_redirect_to_a_plain_foreign_host_is_refused_for_tls_only():
    from chandlery.registry.http import HttpClient

    http = HttpClient(RegistrySettings(insecure=("ok.example",)))
    http._check_redirect("https://r.example/a", "https://cdn.example/b", "x")
    http._check_redirect("https://r.example/a", "http://ok.example/b", "x")
    with pytest.raises(RegistryError) as caught:
        http._check_redirect("https://r.example/a", "http://cdn.example/b?sig=s3cret", "x")
    assert caught.value.code == "registry.insecure-redirect"
    assert "s3cret" not in str(caught.value)
    with pytest.raises(RegistryError):
        http._check_redirect("http://r.example/a", "file:///etc/passwd", "x")


def test_cancelled_build_stops_a_transfer_and_a_wait(fake, ref):
    image(fake)
    fake.faults.server_errors = 1000
    stopped = []

    def sleep(_: float) -> None:
        stopped.append(True)

    client = RegistryClient(RegistrySettings(certs_d=()), should_stop=lambda: bool(stopped), sleep=sleep)
    with pytest.raises(Cancelled):
        client.get_manifest(ref)
    assert fake.count("GET", "manifests") == 1
    client.close()


def test_proxy_is_used_for_what_is_not_loopback_and_its_password_is_sent(fake, make):
    """The fake answers a proxy's absolute-form requests like its own."""
    client = make(insecure=("r.test",), proxies=Proxies(http=f"http://me:pw@{fake.host}"), attempts=1)
    reference = parse("r.test/team/app:1")
    client.http.contacts.scheme("r.test", lambda: "http")
    assert client.head_manifest(reference) is None
    [seen] = fake.seen
    assert seen.path.startswith("http://r.test/v2/team/app/")
    assert seen.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:pw").decode()


# access


def docker_config(tmp_path, host: str, text: str = "user:secret", **more: object) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(text.encode()).decode(), **more}}}))
    return str(path)


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_push_and_pull_with_a_password(fake, make, ref, tmp_path, scheme):
    fake.access.scheme = scheme
    client = make(auth_files=(docker_config(tmp_path, fake.host),))
    client.upload_blob(ref, BLOB, lambda: io.BytesIO(DATA))
    assert download(client, ref) == DATA


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize("held", ["", "user:wrong", "user:secret"])
def test_refused_access_is_denied_at_once(fake, make, ref, tmp_path, scheme, held):
    fake.access.scheme = scheme
    fake.access.is_refusing = True
    client = make(auth_files=(docker_config(tmp_path, fake.host, held),) if held else ())
    with pytest.raises(AccessDenied) as caught:
        client.get_manifest(ref)
    assert caught.value.code == "registry.denied"
    assert "docker login" in caught.value.hint
    assert len(fake.seen) <= 4


def test_refused_look_up_is_denied_too(fake, client, ref):
    fake.access.scheme = "basic"
    with pytest.raises(AccessDenied):
        client.head_manifest(ref)


def test_anonymous_token_pulls_but_does_not_push(fake, client, ref):
    image(fake)
    fake.access.scheme, fake.access.allows_anonymous_pull = "bearer", True
    assert download(client, ref) == DATA
    with pytest.raises(AccessDenied):
        client.upload_blob(ref, BLOB, lambda: io.BytesIO(DATA))


def test_identity_token_is_exchanged(fake, make, ref, tmp_path):
    fake.access.scheme, fake.access.identity_token = "bearer", "refresh-me"
    client = make(auth_files=(docker_config(tmp_path, fake.host, "x:", identitytoken="refresh-me"),))
    client.upload_blob(ref, BLOB, lambda: io.BytesIO(DATA))
    assert ("team/app", BLOB.digest) in fake.blobs


def test_one_token_serves_a_whole_push_and_mount(fake, make, ref, tmp_path):
    fake.access.scheme = "bearer"
    client = make(auth_files=(docker_config(tmp_path, fake.host),))
    for text in (b"a", b"b", b"c"):
        client.has_blob(ref, sha256(text))
        client.upload_blob(ref, Descriptor(types.OCI_LAYER, sha256(text), 1), lambda text=text: io.BytesIO(text))
    assert sum(1 for seen in fake.seen if seen.path.startswith("/token")) == 1


# mirrors


def test_mirror_is_asked_first(fake, make):
    made = image(fake)
    client = make(mirrors=(("upstream.invalid", (fake.url,)),))
    reference = parse("upstream.invalid/team/app:1")
    assert client.head_manifest(reference).digest == made.digest
    assert download(client, reference) == DATA


def test_mirror_that_fails_or_knows_nothing_is_passed_over(fake, make, ref):
    made = image(fake)
    with FakeRegistry() as broken, FakeRegistry() as empty:
        broken.faults.status_for_all = 500
        client = make(mirrors=((fake.host, (broken.url, empty.url)),))
        assert client.head_manifest(ref).digest == made.digest
        assert client.get_manifest(ref)[0] == made.raw
        assert download(client, ref) == DATA
        assert broken.seen
        assert empty.seen


def test_digest_of_another_algorithm_is_verified(fake, client, ref):
    digest = Digest("sha512:" + hashlib.sha512(DATA).hexdigest())
    fake.blobs["team/app", digest] = DATA
    assert download(client, ref, Descriptor(types.OCI_LAYER, digest, len(DATA))) == DATA
    fake.faults.wrong_bytes = True
    with pytest.raises(LyingRegistry):
        download(client, ref, Descriptor(types.OCI_LAYER, digest, len(DATA)))

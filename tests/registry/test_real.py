"""The client against Debian's docker-registry: open, with a password, with TLS and a client certificate."""

import base64
import io
import json
import os

import pytest

from chandlery.errors import AccessDenied, RegistryError
from chandlery.oci import manifest as manifests
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.oci.reference import parse
from chandlery.registry.client import RegistryClient
from chandlery.registry.push import push
from chandlery.registry.settings import RegistrySettings

BLOBS = {sha256(data): data for data in (b"{}", os.urandom(2_000_000))}
CONFIG, LAYER = [Descriptor(types.OCI_LAYER_GZIP, digest, len(data)) for digest, data in BLOBS.items()]
MANIFEST = manifests.build_manifest(config=CONFIG, layers=(LAYER,))


@pytest.fixture
def make():
    made = []

    def make_client(**settings: object) -> RegistryClient:
        made.append(RegistryClient(RegistrySettings(**{"certs_d": (), "attempts": 2, **settings})))
        return made[-1]

    yield make_client
    for client in made:
        client.close()


def round_trip(client: RegistryClient, host: str) -> None:
    ref = parse(f"{host}/real/app:1")
    push(client, ref, blobs=[CONFIG, LAYER], open_blob=lambda blob: io.BytesIO(BLOBS[blob.digest]), manifest=MANIFEST)
    assert client.get_manifest(ref) == (MANIFEST.raw, MANIFEST.media_type)
    assert b"".join(client.read_blob(ref, LAYER)) == BLOBS[LAYER.digest]


def test_open_registry(make, open_registry):
    client = make()
    round_trip(client, open_registry.host)
    ref = parse(f"{open_registry.host}/real/app:1")
    assert client.mount_blob(parse(f"{open_registry.host}/real/other"), LAYER.digest, "real/app")
    assert list(client.tags(ref)) == ["1"]
    client.delete_manifest(ref, MANIFEST.digest)
    assert client.head_manifest(ref) is None


@pytest.mark.parametrize("size", [0, 5, 9_000_000, 20_000_000])
def test_streamed_upload(make, open_registry, size):
    data = os.urandom(size)
    ref = parse(f"{open_registry.host}/streamed")
    client = make()
    digest, sent = client.upload_stream(ref, (data[at : at + 65_536] for at in range(0, size, 65_536)))
    assert (digest, sent) == (sha256(data), size)
    assert client.has_blob(ref, digest)


def test_blob_is_resumed_by_range(make, open_registry):
    client = make()
    round_trip(client, open_registry.host)
    ref = parse(f"{open_registry.host}/real/app:1")
    at = client._endpoints.of_registry(ref.registry)
    assert b"".join(client._blob_from(at, ref, LAYER, 1_500_000)) == BLOBS[LAYER.digest][1_500_000:]


def test_password(make, password_registry, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {password_registry.host: {"auth": base64.b64encode(b"user:secret").decode()}}}))
    round_trip(make(auth_files=(str(path),)), password_registry.host)
    with pytest.raises(AccessDenied):
        make().head_manifest(parse(f"{password_registry.host}/real/app:1"))


def test_client_certificate(make, tls_registry):
    round_trip(make(certs_d=(tls_registry.certs_d(),)), tls_registry.host)


def test_missing_client_certificate_is_refused(make, tls_registry):
    with pytest.raises(RegistryError) as caught:
        make(back_off_s=0.0).head_manifest(parse(f"{tls_registry.host}/real/app:1"))
    assert caught.value.code in ("registry.tls", "registry.refused", "registry.unavailable")


def test_certificate_of_a_stranger_is_refused(make, tls_registry, tmp_path):
    """Where certs.d names an authority, loopback or not, another's certificate won't do."""
    from tests.registry.conftest import make_certificates

    place = tmp_path / tls_registry.host
    place.mkdir()
    make_certificates(place)
    for name in ("server.crt", "client.crt"):
        (place / name).unlink()
    with pytest.raises(RegistryError) as caught:
        make(certs_d=(str(tmp_path),), back_off_s=0.0).head_manifest(parse(f"{tls_registry.host}/real/app:1"))
    assert caught.value.code == "registry.untrusted"
    assert not caught.value.retryable


def test_damaged_certificate_is_named(make, tls_registry, tmp_path):
    place = tmp_path / tls_registry.host
    place.mkdir()
    (place / "ca.crt").write_text("not a certificate")
    with pytest.raises(RegistryError) as caught:
        make(certs_d=(str(tmp_path),)).head_manifest(parse(f"{tls_registry.host}/real/app:1"))
    assert caught.value.code == "registry.bad-certs"

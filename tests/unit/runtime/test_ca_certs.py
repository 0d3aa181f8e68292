import pytest

from chandlery.errors import RequestError
from chandlery.runtime import ca_certs

A, B, C = b"certificate a" * 9, b"certificate b" * 9, b"certificate c" * 9


def test_a_bundle_gets_what_it_lacks_and_gives_it_back():
    bundle = b"# Comment\n" + ca_certs.to_pem([A]) + b"# Another\n" + ca_certs.to_pem([B])
    longer = ca_certs.add_to_bundle(bundle, [A, C])
    assert ca_certs.certificates_in(longer) == [A, B, C]
    assert ca_certs.subtract_from_bundle(longer, [C]) == bundle


def test_what_is_there_already_changes_nothing():
    bundle = ca_certs.to_pem([A])
    assert ca_certs.add_to_bundle(bundle, [A]) == bundle


def test_one_of_two_copies_stays():
    bundle = b"# package\n" + ca_certs.to_pem([A]) + ca_certs.to_pem([B, A])
    assert ca_certs.subtract_from_bundle(bundle, [A]) == b"# package\n" + ca_certs.to_pem([A, B])


def test_a_bundle_without_a_last_newline(tmp_path):
    bundle = ca_certs.to_pem([A]).rstrip()
    assert ca_certs.certificates_in(ca_certs.add_to_bundle(bundle, [B])) == [A, B]


def test_other_kinds_of_block_and_line_ends_are_read():
    pem = ca_certs.to_pem([A]).replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE").replace(b"\n", b"\r\n")
    key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    assert ca_certs.certificates_in(key + pem) == [A]


def test_a_file_and_the_machines_own(tmp_path):
    (tmp_path / "extra.pem").write_bytes(ca_certs.to_pem([A, A]))
    (tmp_path / "host.pem").write_bytes(ca_certs.to_pem([B]))
    environment = {"SSL_CERT_FILE": str(tmp_path / "host.pem")}
    found = ca_certs.load_ca_certs(str(tmp_path / "extra.pem"), environment)
    assert (found.certificates, found.companions) == ((A,), (B,))
    assert ca_certs.load_ca_certs("host", environment).certificates == (B,)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_certificates_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "extra.pem").write_bytes(content)
    with pytest.raises(RequestError) as caught:
        ca_certs.load_ca_certs(str(tmp_path / "extra.pem"), {})
    assert caught.value.code == "request.ca-certs"

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from chandlery.runtime import trust_store
from chandlery.runtime.trust_store import NotATrustStore


def certificate(name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(datetime.datetime(2020, 1, 1)).not_valid_after(datetime.datetime(2049, 1, 1))
    return builder.sign(key, hashes.SHA256())


def der(one):
    return one.public_bytes(serialization.Encoding.DER)


OLD, NEW = certificate("old"), certificate("new")
EMPTY_JKS = trust_store._write_jks([])
PKCS12_STORE = pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(OLD, b"old")], serialization.NoEncryption())
PROTECTED = pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(OLD, b"old")], serialization.BestAvailableEncryption(b"changeit"))


def test_a_jks_is_given_back_byte_for_byte():
    store = trust_store.add(EMPTY_JKS, [der(OLD)], "old-")
    longer = trust_store.add(store, [der(OLD), der(NEW)], "ours-")
    assert trust_store.certificates_in(longer) == [der(OLD), der(NEW)]
    assert trust_store.subtract(longer, "ours-") == store


@pytest.mark.parametrize("store", [PKCS12_STORE, PROTECTED])
def test_a_pkcs12_store_loses_only_ours(store):
    longer = trust_store.add(store, [der(NEW)], "ours-")
    assert trust_store.certificates_in(longer) == [der(OLD), der(NEW)]
    assert trust_store.certificates_in(trust_store.subtract(longer, "ours-")) == [der(OLD)]


def test_what_is_there_already_changes_nothing():
    store = trust_store.add(EMPTY_JKS, [der(OLD)], "old-")
    assert trust_store.add(store, [der(OLD)], "ours-") == store


def test_the_same_authority_under_anothers_alias_stays():
    store = trust_store.add(EMPTY_JKS, [der(OLD)], "corporate-")
    assert trust_store.subtract(store, "ours-") == store


@pytest.mark.parametrize("data", [b"", b"not a store", b"\xfe\xed\xfe\xed", EMPTY_JKS[:-1], EMPTY_JKS[:-1] + b"x", PKCS12_STORE[:50]])
def test_what_is_no_store_is_not_touched(data):
    with pytest.raises(NotATrustStore):
        trust_store.add(data, [der(NEW)], "ours-")

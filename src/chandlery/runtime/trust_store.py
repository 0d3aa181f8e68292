"""Java trust stores: which authorities one holds, and the same store with some more or some fewer.

A store in the JKS format is edited entry by entry, so that what we don't touch stays byte for byte. One in PKCS12 (from Java 18 on) is written anew by
`cryptography`, with the mark that Java wants on a trusted certificate. Both end up as the JDK reads them without a password or with "changeit".
JKS: magic, version, count, entries, SHA-1 over password, a phrase and all before (sun.security.provider.JavaKeyStore).
"""

import hashlib
import struct

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate

_MAGIC = 0xFEEDFEED
_PASSWORD = "changeit"
_PHRASE = b"Mighty Aphrodite"
_TRUSTED = 2
_DIGEST_BYTES = 20


class NotATrustStore(Exception):
    """The bytes are no store that we can edit: damaged, of another kind, under another password."""


@value
class _Entry:
    """One of a JKS, as it is in the file; `certificate` is DER, empty for a private key."""

    raw: bytes
    alias: bytes
    certificate: bytes


def certificates_in(store: bytes) -> list[bytes]:
    """Raises NotATrustStore."""
    if _is_jks(store):
        return [entry.certificate for entry in _jks_entries(store) if entry.certificate]
    return [_der(one) for one in _pkcs12_certificates(store)]


def add(store: bytes, extra: "Iterable[bytes]", alias_prefix: str) -> bytes:
    """`store` with those of `extra` that it lacks, under aliases of that prefix. Raises NotATrustStore."""
    present = set(certificates_in(store))
    missing = [certificate for certificate in extra if certificate not in present]
    if not missing:
        return store
    if _is_jks(store):
        made = [_jks_entry(f"{alias_prefix}{number}", certificate) for number, certificate in enumerate(missing)]
        return _write_jks([*_jks_entries(store), *made])
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate

    made12 = [PKCS12Certificate(x509.load_der_x509_certificate(certificate), f"{alias_prefix}{number}".encode()) for number, certificate in enumerate(missing)]
    return _write_pkcs12([*_pkcs12_certificates(store), *made12])


def subtract(store: bytes, alias_mark: str) -> bytes:
    """`store` without the certificates whose alias contains `alias_mark`: ours, also where a tool imported them under a longer name
    ("debian:chandlery-..."). Raises NotATrustStore."""
    mark = alias_mark.encode()
    if _is_jks(store):
        entries = _jks_entries(store)
        kept = [entry for entry in entries if mark not in entry.alias or not entry.certificate]
        return store if len(kept) == len(entries) else _write_jks(kept)
    certificates = _pkcs12_certificates(store)
    kept12 = [one for one in certificates if mark not in (one.friendly_name or b"")]
    return store if len(kept12) == len(certificates) else _write_pkcs12(kept12)


def _is_jks(store: bytes) -> bool:
    return store[:4] == _MAGIC.to_bytes(4, "big")


def _jks_entries(store: bytes) -> list[_Entry]:
    try:
        version, count = struct.unpack_from(">II", store, 4)
        if version != 2:
            raise NotATrustStore(f"JKS version {version}")
        entries: list[_Entry] = []
        at = 12
        for _ in range(count):
            entry, at = _jks_entry_at(store, at)
            entries.append(entry)
    except (struct.error, IndexError) as error:
        raise NotATrustStore("a JKS that ends early") from error
    if at + _DIGEST_BYTES != len(store) or _jks_digest(store[:at]) != store[at:]:
        raise NotATrustStore("a JKS under another password, or damaged")
    return entries


def _jks_entry_at(store: bytes, start: int) -> tuple[_Entry, int]:
    (tag,) = struct.unpack_from(">I", store, start)
    alias_end = _after_text(store, start + 4)
    alias, at = store[start + 6 : alias_end], alias_end + 8  # a date follows
    if tag == _TRUSTED:
        certificate, at = _certificate_at(store, at)
        return _Entry(store[start:at], alias, certificate), at
    (key_length,) = struct.unpack_from(">I", store, at)
    (chain_length,) = struct.unpack_from(">I", store, at + 4 + key_length)
    at += 8 + key_length
    for _ in range(chain_length):
        _, at = _certificate_at(store, at)
    return _Entry(store[start:at], alias, b""), at


def _certificate_at(store: bytes, at: int) -> tuple[bytes, int]:
    at = _after_text(store, at)
    (length,) = struct.unpack_from(">I", store, at)
    end = at + 4 + length
    if end > len(store):
        raise NotATrustStore("a JKS that ends early")
    return store[at + 4 : end], end


def _after_text(store: bytes, at: int) -> int:
    (length,) = struct.unpack_from(">H", store, at)
    return int(at + 2 + length)


def _jks_entry(alias: str, certificate: bytes) -> _Entry:
    # Aliases are ASCII, for which Java's modified UTF-8 is the same; the date is the epoch, which Java takes.
    name, kind = alias.encode("ascii"), b"X.509"
    head = struct.pack(">IH", _TRUSTED, len(name)) + name + struct.pack(">Q", 0)
    return _Entry(head + struct.pack(">H", len(kind)) + kind + struct.pack(">I", len(certificate)) + certificate, name, certificate)


def _write_jks(entries: "Sequence[_Entry]") -> bytes:
    body = struct.pack(">III", _MAGIC, 2, len(entries)) + b"".join(entry.raw for entry in entries)
    return body + _jks_digest(body)


def _jks_digest(body: bytes) -> bytes:
    return hashlib.sha1(_PASSWORD.encode("utf-16-be") + _PHRASE + body, usedforsecurity=False).digest()


def _pkcs12_certificates(store: bytes) -> "list[PKCS12Certificate]":
    from cryptography.hazmat.primitives.serialization import pkcs12

    for password in (None, _PASSWORD.encode()):
        try:
            found = pkcs12.load_pkcs12(store, password)
        except (ValueError, TypeError):
            continue
        if found.key is not None:
            raise NotATrustStore("a store with a private key")
        return list(found.additional_certs)
    raise NotATrustStore("no PKCS12 store, or under another password")


def _write_pkcs12(certificates: "Sequence[PKCS12Certificate]") -> bytes:
    from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

    return _without_mac(pkcs12.serialize_java_truststore(certificates, NoEncryption()))


def _without_mac(store: bytes) -> bytes:
    """PFX is a sequence of version, content and optional MAC (RFC 7292, section 4). One made for an empty password stops keytool's "changeit";
    none at all, as in the JDK's own since Java 18, stops nobody."""
    start, _ = _der_bounds(store, 0)
    _, version_end = _der_bounds(store, start)
    _, content_end = _der_bounds(store, version_end)
    body = store[start:content_end]
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return b"\x30" + (bytes([0x80 | len(length)]) + length if len(body) > 0x7F else length) + body


def _der_bounds(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins and ends."""
    length, start = data[at + 1], at + 2
    if length & 0x80:
        width = length & 0x7F
        length, start = int.from_bytes(data[start : start + width], "big"), start + width
    return start, start + length


def _der(one: "PKCS12Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return one.certificate.public_bytes(Encoding.DER)

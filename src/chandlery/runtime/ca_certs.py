"""Certificate authorities that steps trust beside their image's own: `--ca-certs host` or a file.

Certificates are compared by their bytes (DER). A PEM bundle is edited as text, block by block, so that everything else in it (comments, order) stays
as whoever wrote it left it. Nothing here touches an image: that is ca_injection.
"""

import base64
import binascii
import os
import re

from chandlery.errors import RequestError
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HOST_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_BLOCK = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END (?:X509 |TRUSTED )?CERTIFICATE-----[ \t]*\r?\n?", re.DOTALL)


@value
class CaCertificates:
    """The extra authorities, in their order, each once, as DER. `companions` are this machine's, for steps whose image has none at all."""

    certificates: tuple[bytes, ...]
    companions: tuple[bytes, ...] = ()


def load_ca_certs(setting: str, environment: "Mapping[str, str]") -> CaCertificates:
    """`setting` is "host" (SSL_CERT_FILE or where this machine's bundle is) or a PEM file. Raises RequestError "request.ca-certs"."""
    host = _host_bundle(environment)
    if setting != "host":
        return CaCertificates(_read(setting), _read(host) if host else ())
    if not host:
        raise RequestError(
            "--ca-certs host: this machine has no bundle of certificate authorities",
            code="request.ca-certs",
            hint="install ca-certificates, set SSL_CERT_FILE, or name a file",
        )
    return CaCertificates(_read(host))


def _read(path: str) -> tuple[bytes, ...]:
    try:
        with open(path, "rb") as file:
            found = certificates_in(file.read())
    except OSError as error:
        raise RequestError(f"--ca-certs: can't read {path}: {error.strerror}", code="request.ca-certs", hint="name a readable PEM file") from error
    if not found:
        raise RequestError(f"--ca-certs: no certificate in {path}", code="request.ca-certs", hint="it must hold certificates in PEM form")
    return tuple(dict.fromkeys(found))


def certificates_in(pem: bytes) -> list[bytes]:
    """Every certificate of a PEM text, as DER; damaged blocks are skipped."""
    decoded = (_decode(match.group(1)) for match in _BLOCK.finditer(pem))
    return [certificate for certificate in decoded if certificate]


def to_pem(certificates: "Iterable[bytes]") -> bytes:
    blocks = []
    for certificate in certificates:
        text = base64.b64encode(certificate)
        lines = [text[start : start + 64] for start in range(0, len(text), 64)]
        blocks.append(b"-----BEGIN CERTIFICATE-----\n" + b"\n".join(lines) + b"\n-----END CERTIFICATE-----\n")
    return b"".join(blocks)


def add_to_bundle(pem: bytes, extra: "Iterable[bytes]") -> bytes:
    """`pem` with those of `extra` behind it that it lacks."""
    present = set(certificates_in(pem))
    missing = [certificate for certificate in extra if certificate not in present]
    separator = b"" if not pem or pem.endswith(b"\n") or not missing else b"\n"
    return pem + separator + to_pem(missing)


def subtract_from_bundle(pem: bytes, extra: "Iterable[bytes]") -> bytes:
    """`pem` without one occurrence, the last, of each of `extra`: a tool that built the bundle anew from ours and a package's own copy of the
    same authority has it twice, and the package's stays."""
    unwanted = set(extra)
    pieces: list[bytes] = []
    end = len(pem)
    for match in reversed(list(_BLOCK.finditer(pem))):
        certificate = _decode(match.group(1))
        if certificate in unwanted:
            unwanted.discard(certificate)
            pieces.append(pem[match.end() : end])
            end = match.start()
    pieces.append(pem[:end])
    return b"".join(reversed(pieces))


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return b""


def _host_bundle(environment: "Mapping[str, str]") -> str:
    """Where this machine's bundle is, "" if it has none."""
    candidates = (environment.get("SSL_CERT_FILE", ""), *_HOST_BUNDLES)
    return next((path for path in candidates if path and os.path.isfile(path)), "")

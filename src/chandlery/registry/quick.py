"""One HEAD over a bare socket, for the registry tags of a fully cached build.

Such a build asks a registry one question and is done; loading the HTTP library for it would take longer than everything else (design.md, section 8).
So a loopback registry is asked like this first. It either gives the plain answer that was hoped for, or nothing is concluded
and the real client asks again: passwords, redirects, TLS, errors and retries are all its business.
"""

import socket

from chandlery.errors import InputError
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.reference import Reference
from chandlery.registry import host as hosts
from chandlery.registry import tls
from chandlery.registry.settings import RegistrySettings

ACCEPTED_MANIFESTS = ", ".join((types.OCI_MANIFEST, types.DOCKER_MANIFEST, types.OCI_INDEX, types.DOCKER_INDEX))
MAX_HEAD_BYTES = 32 * 1024
TIMEOUT_S = 2.0


def head_manifest(settings: RegistrySettings, reference: Reference) -> Descriptor | None:
    """What a tag or digest names at a loopback registry that is plain and open; None where it takes more than one bare request to know."""
    host = reference.registry
    if not hosts.is_loopback(host) or dict(settings.mirrors).get(host) or tls.certs_directories(settings, host):
        return None
    headers = head(host, f"/v2/{reference.repository}/manifests/{reference.digest or reference.tag}", ACCEPTED_MANIFESTS) or {}
    length = headers.get("content-length", "")
    try:
        digest = Digest(headers.get("docker-content-digest", ""))
    except InputError:
        return None
    return Descriptor(headers.get("content-type", "").partition(";")[0], digest, int(length)) if length.isdigit() else None


def head(host: str, path: str, accept: str) -> dict[str, str] | None:
    """The headers, names in lower case, of a 200 answer to a HEAD in plain http; None for any other outcome."""
    name, port = hosts.split_port(host)
    request = f"HEAD {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: chandlery\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    try:
        # as bytes: for a str the standard library loads its IDNA tables
        address = (name.encode("ascii"), int(port or 80))
        with socket.create_connection(address, timeout=TIMEOUT_S) as connection:  # type: ignore[arg-type]
            connection.sendall(request.encode("ascii"))
            answer = _receive(connection)
    except (OSError, ValueError):
        return None
    lines = answer.decode("latin-1").split("\r\n")
    if not lines[0].startswith(("HTTP/1.1 200", "HTTP/1.0 200")):
        return None
    pairs = (line.partition(":") for line in lines[1:])
    return {name.strip().lower(): text.strip() for name, _, text in pairs}


def _receive(connection: socket.socket) -> bytes:
    """An answer's head, without the empty line that ends it; raises ValueError where none comes."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.recv(8192)
        answer += data
        if not data or len(answer) > MAX_HEAD_BYTES:
            raise ValueError("no answer")
    return answer.partition(b"\r\n\r\n")[0]

"""TLS contexts for registries: the system's authorities (or SSL_CERT_FILE's), and what certs.d holds for one host.

`certs.d/<host[:port]>/` may hold *.crt (authorities), and *.cert with a *.key of the same name (client certificates): containers-certs.d(5),
and docker's "Verify repository client with certificates".
"""

import os

from chandlery.errors import RegistryError
from chandlery.registry import host as hosts
from chandlery.registry.settings import RegistrySettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl


def certs_directories(settings: RegistrySettings, host: str) -> tuple[str, ...]:
    """The directories of certs.d that exist for a host, named as references name it."""
    candidates = (os.path.join(base, host) for base in settings.certs_d if "/" not in host)
    return tuple(path for path in candidates if os.path.isdir(path))


def context(settings: RegistrySettings, host: str) -> "ssl.SSLContext":
    """The context for connections to a host. An insecure or loopback one may show any certificate, unless certs.d says by whom it must be signed."""
    import ssl

    class Socket(ssl.SSLSocket):
        """One whose peer was gone before the handshake is closed by nobody: urllib3 never gets it."""

        def __del__(self) -> None:
            self.close()

    made = ssl.create_default_context(cafile=settings.ca_file or None)
    made.sslsocket_class = Socket
    is_pinned = False
    for directory in certs_directories(settings, host):
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            try:
                if name.endswith(".crt"):
                    made.load_verify_locations(path)
                    is_pinned = True
                elif name.endswith(".cert"):
                    made.load_cert_chain(path, path.removesuffix(".cert") + ".key")
            except (OSError, ssl.SSLError) as broken:
                hint = "each NAME.cert needs its NAME.key, both PEM"
                raise RegistryError(f"{path} can't be used: {broken.strerror or broken}", code="registry.bad-certs", hint=hint) from broken
    if not is_pinned and (hosts.is_loopback(host) or hosts.is_insecure(host, settings.insecure)):
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made

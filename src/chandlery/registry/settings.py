"""`RegistrySettings`: everything that talking to registries depends on, as one value.

It is made once, at an entry point, from flags, configuration and environment (`from_environment`); nothing below reads the environment
again. Values that may hold secrets (a proxy's URL) are never printed whole.
"""

import os

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CERTS_D = ("/etc/docker/certs.d", "/etc/containers/certs.d")


@value
class Proxies:
    """Proxy URLs by the scheme of the target ("" for none); `bypass` is NO_PROXY's text."""

    http: str = ""
    https: str = ""
    bypass: str = ""

    def __repr__(self) -> str:
        return f"Proxies(http={bool(self.http)}, https={bool(self.https)}, bypass={self.bypass!r})"


@value
class RegistrySettings:
    """`insecure` are "host[:port]" names that may speak plain http or show any certificate; loopback hosts always may.

    `mirrors` maps a registry's name to base URLs that are asked first for pulls. `auth_files` are docker's config.json and files of its form,
    in order of precedence. `ca_file` replaces the system's certificate authorities ("" keeps them). Time-outs are for one wait each:
    a connection being made, a next piece of an answer; `attempts` bounds how often one request is sent. `first_answer_s` bounds what all requests to a host
    that never answered anything wait for it together, whichever client sends them; 0 doesn't.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[tuple[str, tuple[str, ...]], ...] = ()
    certs_d: tuple[str, ...] = CERTS_D
    auth_files: tuple[str, ...] = ()
    ca_file: str = ""
    proxies: Proxies = Proxies()
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    first_answer_s: float = 0.0
    attempts: int = 5
    back_off_s: float = 0.2


def from_environment(
    environment: "Mapping[str, str]", *, insecure: tuple[str, ...] = (), mirrors: tuple[tuple[str, tuple[str, ...]], ...] = ()
) -> RegistrySettings:
    """Settings from a process's environment, as docker and podman read it; flags and configuration add `insecure` and `mirrors`."""
    home = environment.get("HOME", "")
    docker_directory = environment.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
    runtime_directory = environment.get("XDG_RUNTIME_DIR", "")
    files = [environment.get("REGISTRY_AUTH_FILE", ""), os.path.join(docker_directory, "config.json")]
    if runtime_directory:
        files.append(os.path.join(runtime_directory, "containers", "auth.json"))
    personal = (os.path.join(home, ".config", "containers", "certs.d"),) if home else ()
    named = tuple(part.strip() for part in environment.get("CHANDLERY_INSECURE_REGISTRIES", "").split(",") if part.strip())
    auth_files = tuple(path for path in files if path)
    return RegistrySettings(
        insecure=insecure + named,
        mirrors=mirrors,
        certs_d=CERTS_D + personal,
        auth_files=auth_files,
        ca_file=environment.get("SSL_CERT_FILE", ""),
        proxies=proxies_from(environment, auth_files),
    )


def proxies_from(environment: "Mapping[str, str]", config_files: tuple[str, ...] = ()) -> Proxies:
    """The proxies of an environment, or else those of docker's config.json ("proxies", "default").

    HTTP_PROXY in capitals is not believed inside a CGI program, where a client's "Proxy:" header sets it (CVE-2016-5386).
    """
    upper_http = "" if "REQUEST_METHOD" in environment else environment.get("HTTP_PROXY", "")
    found = Proxies(
        environment.get("http_proxy") or upper_http,
        environment.get("https_proxy") or environment.get("HTTPS_PROXY", ""),
        environment.get("no_proxy") or environment.get("NO_PROXY", ""),
    )
    if found.http or found.https:
        return found
    from chandlery.registry.credentials import read_config

    for path in config_files:
        default = (read_config(path).get("proxies") or {}).get("default") or {}
        if default.get("httpProxy") or default.get("httpsProxy"):
            return Proxies(str(default.get("httpProxy") or ""), str(default.get("httpsProxy") or ""), str(default.get("noProxy") or ""))
    return found

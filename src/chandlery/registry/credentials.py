"""Credentials for a registry: docker's config.json (auths, credHelpers, credsStore), and podman's auth.json, which has the same form.

Looked up when a registry asks for them, never before. A credential helper is a program `docker-credential-NAME` that reads a server's name and
writes JSON (docker/docker-credential-helpers, README). A helper that fails leaves us anonymous: most base images are public; why it failed is
kept and shown if access is then denied.
"""

import json
import os

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELPER_TIMEOUT_S = 20.0
_HUB_KEY = "https://index.docker.io/v1/"


@value
class Credentials:
    """A user name with a password, or an identity token to be exchanged. `problem` says why a helper could not be asked."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    problem: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, ***)"

    @property
    def is_anonymous(self) -> bool:
        return not (self.username or self.identity_token)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        import base64

        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find(auth_files: tuple[str, ...], registry: str, repository: str = "") -> Credentials:
    """What the files know for a registry ("docker.io", "host:port"), the first file that knows something; anonymous otherwise."""
    problem = ""
    for path in auth_files:
        config = read_config(path)
        found = _from_helper(config, registry) or _from_auths(config, registry, repository)
        if found and not found.is_anonymous:
            return found
        problem = problem or (found.problem if found else "")
    return Credentials(problem=problem)


def read_config(path: str) -> "dict[str, Any]":
    """A docker config.json as a dict; an absent or unreadable file is an empty one."""
    try:
        with open(path, "rb") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _from_helper(config: "dict[str, Any]", registry: str) -> Credentials | None:
    helpers = config.get("credHelpers") or {}
    name = next((helpers[key] for key in _keys(registry) if key in helpers), None) or config.get("credsStore")
    if not name:
        return None
    answer = _ask_helper(str(name), _HUB_KEY if registry == "docker.io" else registry)
    return answer


def _ask_helper(name: str, server: str) -> Credentials | None:
    import subprocess

    program = f"docker-credential-{name}"
    if os.sep in name:
        return Credentials(problem=f"{program} is not a name of a credential helper")
    try:
        done = subprocess.run([program, "get"], input=server.encode(), capture_output=True, timeout=HELPER_TIMEOUT_S, check=False)
    except FileNotFoundError:
        return Credentials(problem=f"{program} is not installed")
    except (OSError, subprocess.TimeoutExpired) as broken:
        return Credentials(problem=f"{program} could not be asked ({type(broken).__name__})")
    if done.returncode != 0:
        is_unknown = b"not found" in done.stdout + done.stderr
        return None if is_unknown else Credentials(problem=f"{program} failed with status {done.returncode}")
    try:
        document = json.loads(done.stdout)
        username, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError):
        return Credentials(problem=f"{program} wrote no credentials")
    return Credentials(identity_token=secret) if username == "<token>" else Credentials(username, secret)


def _from_auths(config: "dict[str, Any]", registry: str, repository: str) -> Credentials | None:
    auths = {_bare(key): entry for key, entry in (config.get("auths") or {}).items()}
    parts = repository.split("/") if repository else []
    namespaced = ["/".join([registry, *parts[:count]]) for count in range(len(parts), 0, -1)]
    for key in [*namespaced, *(_bare(key) for key in _keys(registry))]:
        if isinstance(auths.get(key), dict):
            return _decode(auths[key])
    return None


def _decode(entry: "dict[str, Any]") -> Credentials | None:
    token = str(entry.get("identitytoken") or "")
    if token:
        return Credentials(identity_token=token)
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        import base64

        try:
            username, _, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except ValueError:
            return Credentials(problem="an entry of the docker configuration is damaged")
    return Credentials(username, password.strip("\0")) if username else None


def _keys(registry: str) -> tuple[str, ...]:
    if registry == "docker.io":
        return (_HUB_KEY, "docker.io", "index.docker.io", "registry-1.docker.io")
    return (registry, f"https://{registry}", f"http://{registry}")


def _bare(key: str) -> str:
    """docker compares host names only: a key may be a URL with a path ("https://host/v1/"); podman's may name a namespace."""
    without_scheme = key.removeprefix("https://").removeprefix("http://")
    is_url = without_scheme != key
    return without_scheme.partition("/")[0] if is_url else without_scheme.rstrip("/")

"""Running git: a quiet environment, a time limit, and what its messages mean.

git never asks a terminal, never runs `ext::` helpers, and what it may read of the user's configuration is what reaching a remote needs
(credential helpers, url.insteadOf, proxies); checkouts read none, so that two machines get the same files. Secrets travel in the environment.
"""

import os
import re

from chandlery.errors import AccessDenied, MachineError, NoSpace, NotFound, RegistryError, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_TIMEOUT_S = 1800.0
_PROTOCOLS = "file:git:http:https:ssh"
# in git's words (LC_ALL=C): the first that is found decides
_MEANINGS: tuple[tuple[type[RegistryError], str, str, str], ...] = (
    (AccessDenied, "git.denied", "give git credentials for it (a credential helper, an ssh key, or the secret GIT_AUTH_TOKEN)", "|".join((
        "authentication failed", "could not read username", "could not read password", "permission denied", "access denied", "(?:returned error:|http) 40[13]",
        "terminal prompts disabled", "host key verification failed"))),
    (NotFound, "git.not-found", "check the URL, and that you may see the repository", "|".join((
        "repository .*not found", "does not appear to be a git repository", "returned error: 404", "does not exist", "no such file or directory",
        "repository not exported"))),
    (Unavailable, "git.unreachable", "check the network and the host's name, and try again", "|".join((
        "could not resolve", "unable to connect", "failed to connect", "connection (?:refused|timed out|reset|closed)", "timed out", "early eof",
        "hung up", "network is unreachable", "no route to host", "unable to access", "operation too slow", "returned error: 5\\d\\d",
        "unable to look up", "could not read from remote repository", "rpc failed"))),
)  # fmt: skip


class GitFailed(Exception):
    """git ended badly; `text` is the end of what it said, passwords removed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def run(*arguments: str, env: "Mapping[str, str]", cwd: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> str:
    """Run git and return its output. Raises GitFailed; MachineError (code git.missing); Unavailable (code git.timeout)."""
    import signal
    import subprocess

    try:
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        process = subprocess.Popen(
            ("git", *arguments), stdin=null, stdout=pipe, stderr=pipe, env=dict(env), cwd=cwd, umask=0o022, start_new_session=True
        )  # fmt: skip
    except FileNotFoundError:
        raise MachineError("git isn't installed", code="git.missing", hint="install it (apt-get install git)") from None
    try:
        out, error = process.communicate(timeout=timeout_s)
    except BaseException as stopped:
        # its helpers (git-remote-https, ssh) share its session's process group
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(stopped, subprocess.TimeoutExpired):
            raise Unavailable(f"git {arguments[0]} took longer than {timeout_s:g} s", code="git.timeout", hint="try again") from None
        raise
    if process.returncode:
        raise GitFailed(_end_of(error.decode("utf-8", "replace")))
    return out.decode("utf-8", "surrogateescape")


def remote_environment(auth_header: str = "", auth_url: str = "") -> dict[str, str]:
    """The environment for talking to a remote, in which `auth_header` goes to URLs below `auth_url`."""
    env = {name: content for name, content in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    env.update({"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS, "LC_ALL": "C", "GIT_ASKPASS": env.get("GIT_ASKPASS", "true")})
    if "GIT_SSH" not in env:
        env.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=30")
    settings = [
        ("safe.directory", "*"), ("protocol.ext.allow", "never"), ("http.lowSpeedLimit", "1000"), ("http.lowSpeedTime", "60"),
        ("uploadpack.allowAnySHA1InWant", "true"), ("gc.auto", "0"), ("core.hooksPath", "/dev/null"), ("fetch.recurseSubmodules", "false"),
    ]  # fmt: skip
    if auth_header:
        settings.append((f"http.{auth_url}.extraHeader", auth_header))
    return _with_settings(env, settings)


def allowing_files(env: dict[str, str]) -> dict[str, str]:
    """The environment for submodules of a repository that itself came from this machine: they may be on it too (git forbids it since CVE-2022-39253)."""
    count = int(env["GIT_CONFIG_COUNT"])
    return env | {"GIT_CONFIG_COUNT": str(count + 1), f"GIT_CONFIG_KEY_{count}": "protocol.file.allow", f"GIT_CONFIG_VALUE_{count}": "always"}


def local_environment(**variables: str) -> dict[str, str]:
    """The environment for work on local repositories: nobody's configuration."""
    env = {name: content for name, content in os.environ.items() if not name.startswith("GIT_")}
    env.update({"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_ATTR_NOSYSTEM": "1", "LC_ALL": "C", **variables})
    settings = [("safe.directory", "*"), ("core.hooksPath", "/dev/null"), ("gc.auto", "0"), ("uploadpack.allowAnySHA1InWant", "true")]
    return _with_settings(env, settings)


_KEPT = frozenset(
    {"GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY", "GIT_PROXY_COMMAND"}
)


def _with_settings(env: dict[str, str], settings: list[tuple[str, str]]) -> dict[str, str]:
    env["GIT_CONFIG_COUNT"] = str(len(settings))
    for at, (name, content) in enumerate(settings):
        env[f"GIT_CONFIG_KEY_{at}"], env[f"GIT_CONFIG_VALUE_{at}"] = name, content
    return env


def translated(failed: GitFailed, doing: str) -> "RegistryError | MachineError":
    """What a failure with a remote means for a person."""
    text = failed.text.lower()
    if "no space left" in text or "disk quota exceeded" in text:
        return NoSpace(f"{doing}: the disk is full", hint="free space, or run `chandlery prune`")
    for kind, code, hint, pattern in _MEANINGS:
        if re.search(pattern, text):
            return kind(f"{doing}: {failed.text}", code=code, hint=hint)
    return RegistryError(f"{doing}: {failed.text}", code="git.failed", hint="run the same with git by hand to see more")


def _end_of(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("hint:", "From "))]
    wanted = [line.removeprefix("fatal: ") for line in lines if line.startswith(("fatal:", "error:", "remote:", "ssh:"))] or lines
    return re.sub(r"(://[^/@\s:]*):[^/@\s]*@", r"\1:***@", "; ".join(wanted[-3:])) or "it failed without a word"

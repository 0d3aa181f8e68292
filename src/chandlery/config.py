"""`Settings`: how this machine, this user and this project want Chandlery to behave, read once at an entry point.

Three files, each optional, later ones win: /etc/chandlery/chandlery.toml (machine), ~/.config/chandlery/chandlery.toml (user), ./chandlery.toml (project, in
the working directory). Then the environment. A table named for a command holds defaults of that command's flags:

    root = "/srv/chandlery"            # the store; CHANDLERY_ROOT, --root
    runtime = "crun"                   # or "runc"; CHANDLERY_RUNTIME
    mount = "fsconfig"                 # or "legacy", "copy"; CHANDLERY_MOUNT; probed when not given
    max-steps = 64                     # steps of one build that run at once
    insecure-registries = ["registry.lan:5000"]    # CHANDLERY_INSECURE_REGISTRIES, comma separated
    [mirrors]
    "docker.io" = ["https://mirror.lan"]
    [prune]
    max-used-space = "100GB"           # what the policy at the end of each build keeps to
    [volumes]
    max-size = "20GB"                  # of one cache volume; "off" for none
    [build]
    progress = "plain"

A project's file is the project's author's: it can set defaults of commands, but not where the store is, whom to trust, nor what of this machine a
build reads or writes (_OWNERS_FLAGS): whoever builds a stranger's source must not lend it their keys by doing so.
"""

import os

from chandlery.errors import RequestError
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_MACHINE_KEYS = frozenset({"root", "runtime", "mount", "max-steps", "insecure-registries", "mirrors", "prune", "volumes", "certs-d"})
_OWNERS_FLAGS = frozenset(
    {
        "root",
        "insecure-registry",
        "ca-certs",
        "secret",
        "network",
        "volume",
        "build-context",
        "output",
        "iidfile",
        "metadata-file",
        "cache-scope",
        "cache-fork-from",
        "cache-remote",
        "deps-cache",
        "cache-from",
        "cache-to",
    }
)
_VOLUMES_KEYS = frozenset({"max-size"})
_PRUNE_KEYS = frozenset({"max-used-space", "min-free-space", "reserved-space", "keep-duration"})


@value
class Settings:
    """`commands` are (command, ((key, text), ...)) in file order; `environment` is the process's, captured once."""

    environment: "Mapping[str, str]"
    root: str
    runtime: str = ""
    mount: str = ""
    max_steps: int = 64
    insecure_registries: tuple[str, ...] = ()
    mirrors: tuple[tuple[str, tuple[str, ...]], ...] = ()
    certs_d: tuple[str, ...] = ()
    prune: tuple[tuple[str, str], ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    commands: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()

    def defaults(self, command: str) -> list[tuple[str, str]]:
        """The configured defaults of a command's flags, least important first."""
        return [pair for name, pairs in self.commands if name == command for pair in pairs]


def load(environment: "Mapping[str, str]", working_directory: str) -> Settings:
    """The settings in force. Raises RequestError (config.unreadable, config.unknown-key, config.bad-value)."""
    home = environment.get("HOME", "")
    files = [(environment.get("CHANDLERY_CONFIG") or "/etc/chandlery/chandlery.toml", True)]
    files += [(f"{environment.get('XDG_CONFIG_HOME') or home + '/.config'}/chandlery/chandlery.toml", True)] if home else []
    files += [(os.path.join(working_directory, "chandlery.toml"), False)]
    merged: dict[str, Any] = {}
    commands: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for path, is_trusted in files:
        if os.path.isfile(path):
            _take(_read(path), path, is_trusted, merged, commands)
    return _settings(environment, home, merged, tuple(commands))


def _read(path: str) -> "dict[str, Any]":
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as broken:
        raise RequestError(f"{path} can't be read: {broken}", code="config.unreadable", hint="it must be TOML") from broken


def _take(document: "dict[str, Any]", path: str, is_trusted: bool, merged: "dict[str, Any]", commands: "list[tuple[str, tuple[tuple[str, str], ...]]]") -> None:
    for key, item in document.items():
        if key in _MACHINE_KEYS:
            if not is_trusted:
                raise RequestError(f"{path} may not set {key!r}", code="config.untrusted-key", hint="set it in the user's or the machine's file")
            merged[key] = item
        elif isinstance(item, dict):
            if not is_trusted and (taken := sorted(_OWNERS_FLAGS.intersection(item))):
                hint = "give the flag on the command line, or set it in the user's or the machine's file"
                raise RequestError(f"{path} may not set {taken[0]!r} of 'chandlery {key}'", code="config.untrusted-key", hint=hint)
            commands.append((key, tuple((name, text) for name, entry in item.items() for text in _texts(entry, f"{path}: {key}.{name}"))))
        else:
            known = ", ".join(sorted(_MACHINE_KEYS))
            raise RequestError(f"{path} sets {key!r}, which is not a setting", code="config.unknown-key", hint=f"settings are {known}, and tables of commands")


def _texts(entry: object, where: str) -> list[str]:
    """A flag's default as the command line would say it; a list is a flag given many times."""
    if isinstance(entry, bool):
        return ["true" if entry else "false"]
    if isinstance(entry, str | int):
        return [str(entry)]
    if isinstance(entry, list) and all(isinstance(item, str | int) for item in entry):
        return [str(item) for item in entry]
    raise RequestError(f"{where} must be a text, a number, true or false, or a list of texts", code="config.bad-value")


def _settings(
    environment: "Mapping[str, str]", home: str, merged: "dict[str, Any]", commands: "tuple[tuple[str, tuple[tuple[str, str], ...]], ...]"
) -> Settings:
    user_root = f"{environment.get('XDG_DATA_HOME') or home + '/.local/share'}/chandlery"
    default_root = "/var/lib/chandlery" if os.geteuid() == 0 else user_root
    insecure = environment.get("CHANDLERY_INSECURE_REGISTRIES", "")
    max_steps = merged.get("max-steps", 64)
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 1:
        raise RequestError("max-steps must be a whole number above 0", code="config.bad-value")
    mirrors = merged.get("mirrors", {})
    if not isinstance(mirrors, dict):
        raise RequestError("mirrors must be a table of registries", code="config.bad-value", hint='[mirrors] and below it "docker.io" = ["https://mirror.lan"]')
    return Settings(
        environment=environment,
        root=os.path.abspath(environment.get("CHANDLERY_ROOT") or _text(merged, "root") or default_root),
        runtime=environment.get("CHANDLERY_RUNTIME") or _text(merged, "runtime"),
        mount=environment.get("CHANDLERY_MOUNT") or _text(merged, "mount"),
        max_steps=max_steps,
        insecure_registries=tuple(item.strip() for item in insecure.split(",") if item.strip()) or _texts_of(merged, "insecure-registries"),
        mirrors=tuple((name, _texts_of(mirrors, name)) for name in mirrors),
        certs_d=_texts_of(merged, "certs-d"),
        prune=_table(merged, "prune", _PRUNE_KEYS),
        volumes=_table(merged, "volumes", _VOLUMES_KEYS),
        commands=commands,
    )


def _table(document: "dict[str, Any]", key: str, known: frozenset[str]) -> tuple[tuple[str, str], ...]:
    found = document.get(key, {})
    if not isinstance(found, dict) or not known.issuperset(found):
        raise RequestError(f"[{key}] knows {', '.join(sorted(known))}", code="config.unknown-key")
    return tuple((name, str(text)) for name, text in found.items())


def _text(document: "dict[str, Any]", key: str) -> str:
    found = document.get(key, "")
    if not isinstance(found, str):
        raise RequestError(f"{key} must be a text", code="config.bad-value", hint=f'write {key} = "..."')
    return found


def _texts_of(document: "dict[str, Any]", key: str) -> tuple[str, ...]:
    """A list of texts; a single one may stand for itself."""
    found = document.get(key, ())
    texts = (found,) if isinstance(found, str) else tuple(found) if isinstance(found, list | tuple) else (None,)
    if not all(isinstance(item, str) for item in texts):
        raise RequestError(f"{key} must be a list of texts", code="config.bad-value", hint=f'write {key} = ["..."]')
    return texts

"""The places where a volume is shared, for the commands that reach out to them: from --cache-remote, the configuration, or the environment."""

import contextlib
import os
import sys

from chandlery.cli.settings import apply
from chandlery.errors import RegistryError, RequestError
from chandlery.scope import MACHINE_SCOPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.cli.volume.open_volumes import Opened
    from chandlery.config import Settings
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.sharing import VolumeReport
    from chandlery.volume.volumes import Volumes

_MACHINES_OWN = "the volume belongs to this machine alone"


class Shared:
    """One volume with the places where it is shared. What goes wrong there is told on standard error, and by `missing`."""

    def __init__(self, volumes: "Volumes", key: "VolumeKey", warnings: list[str]) -> None:
        self.volumes, self.key, self._warnings = volumes, key, warnings

    def fetch(self) -> "VolumeReport":
        """Bring the volume up to date. Raises RegistryError volume.not-fetched if no place could be read."""
        self.volumes.fetch(self.key)
        report = self._report()
        if self._warnings and not report.sources:
            raise RegistryError(self._warnings[-1], code="volume.not-fetched", hint="check the address, the credentials and the network")
        self._tell()
        return report

    def publish(self) -> "VolumeReport":
        """Show others what the volume holds and what was removed from it; `not_published` says why not, "" if they see it now."""
        self.volumes.publish(self.key)
        self.volumes.close(None)
        report = self._report()
        if not report.not_published:
            self._tell()
        return report

    def _report(self) -> "VolumeReport":
        from chandlery.volume.sharing import VolumeReport

        reports = self.volumes.reports()
        return reports[0] if reports else VolumeReport(self.key.name, self.key.platform)

    def _tell(self) -> None:
        for text in self._warnings:
            print(f"WARNING: {text}", file=sys.stderr)
        self._warnings.clear()


def add_remote_arguments(parser: "Parser") -> None:
    parser.many("--cache-remote", help="where the volume is shared, as for `chandlery build`", metavar="ADDRESS")
    parser.many("--insecure-registry", help="a registry to reach by plain HTTP or with an unknown certificate", metavar="HOST:PORT")


def add_scope_argument(parser: "Parser") -> None:
    parser.one("--cache-scope", help="whose volume (default: that of the working directory's project)", metavar="SCOPE")


def remotes_of(arguments: "Arguments", settings: "Settings") -> tuple[str, ...]:
    """The addresses given, or those that builds are configured with."""
    configured = [text for name, text in settings.defaults("build") if name == "cache-remote"]
    return tuple(arguments.cache_remote) or tuple(configured)


def need_remote(arguments: "Arguments", settings: "Settings") -> None:
    """Raises RequestError request.no-cache-remote."""
    mode = settings.environment.get("CHANDLERY_CACHE", "")
    if mode in ("off", "local"):
        raise RequestError(f"CHANDLERY_CACHE={mode} keeps volumes on this machine", code="request.no-cache-remote", hint="set it to ro or rw, or unset it")
    if not remotes_of(arguments, settings):
        hint = "give --cache-remote registry://HOST/REPOSITORY or file:///DIRECTORY, or set it in the configuration"
        raise RequestError("there is no place where volumes are shared", code="request.no-cache-remote", hint=hint)


def chosen_key(opened: "Opened", arguments: "Arguments", settings: "Settings") -> "VolumeKey":
    """The volume that is meant, which may be one that this machine has yet to get. Raises RequestError."""
    from chandlery.oci import platform
    from chandlery.scope import find
    from chandlery.volume.key import VolumeKey

    scope = arguments.cache_scope or next((text for name, text in reversed(settings.defaults("build")) if name == "cache-scope"), "")
    try:
        return opened.find(arguments.volume, scope=scope)
    except RequestError as failure:
        if failure.code != "volume.unknown":
            raise
    name = arguments.volume
    if not scope and ":" in name:
        scope, _, name = name.rpartition(":")
    if not scope:
        found = find(os.getcwd(), settings.environment)
        if not found.is_shared:
            raise RequestError(f"whose cache volume {name} is meant?", code="volume.no-scope", hint="write SCOPE:NAME, or give --cache-scope")
        scope = found.write
    return VolumeKey(scope, name, opened.platform or str(platform.native()))


@contextlib.contextmanager
def shared(opened: "Opened", arguments: "Arguments", settings: "Settings", key: "VolumeKey") -> "Iterator[Shared]":
    """The volume with the places where it is shared. Raises RequestError for one that has no scope that means anything to others."""
    from chandlery.engine.request import BuildRequest
    from chandlery.events import discard
    from chandlery.wiring import tools

    if _is_of_machine(key):
        raise RequestError(
            f"{key.scope}:{key.name} belongs to this machine alone",
            code="volume.no-scope",
            hint=f"`chandlery volume fork {key.scope} SCOPE {key.name}` gives a scope one that can be shared",
        )
    request = BuildRequest(cache_remotes=remotes_of(arguments, settings), cache_scope=key.scope)
    warnings: list[str] = []
    with opened.store.begin() as session:
        made = tools(apply(arguments, settings), opened.store, session, discard, request)
        yield Shared(made.volumes(lambda _code, text, _cause: warnings.append(text), tuple), key, warnings)


class Published:
    """Whether a change was shown to others: `why_not` is "" if so."""

    def __init__(self, why_not: str = "", *, is_failure: bool = False) -> None:
        self.why_not, self._is_failure = why_not, is_failure

    def failed(self, why: str) -> None:
        self.why_not, self._is_failure = why, True

    def text(self) -> str:
        """Behind what was done: "; published", or why not; nothing for a volume that nobody else knows."""
        if not self.why_not:
            return "; published"
        if self.why_not == _MACHINES_OWN:
            return ""
        later = "; the next build here that shares the volume publishes it" if self._is_failure else ""
        return f"; not published: {self.why_not}{later}"

    @property
    def exit_status(self) -> int:
        return RegistryError.exit_status if self._is_failure else 0


@contextlib.contextmanager
def published(opened: "Opened", arguments: "Arguments", settings: "Settings", key: "VolumeKey") -> "Iterator[Published]":
    """The block changes the volume, which is brought up to date before and published afterwards, where it is shared at all."""
    why = _why_not(key, arguments, settings)
    if why:
        yield Published(why)
        return
    outcome = Published()
    with shared(opened, arguments, settings, key) as volume:
        try:
            volume.fetch()
        except RegistryError as failure:
            outcome.failed(failure.message)
        yield outcome
        if not outcome.why_not and (why := volume.publish().not_published):
            outcome.failed(why)


def is_shared(key: "VolumeKey", arguments: "Arguments", settings: "Settings") -> bool:
    return not _why_not(key, arguments, settings)


def _is_of_machine(key: "VolumeKey") -> bool:
    return key.scope == MACHINE_SCOPE or key.scope.startswith("local/")


def _why_not(key: "VolumeKey", arguments: "Arguments", settings: "Settings") -> str:
    if _is_of_machine(key):
        return _MACHINES_OWN
    try:
        need_remote(arguments, settings)
    except RequestError as failure:
        return failure.message
    return ""

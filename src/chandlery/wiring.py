"""Constructs and connects: with wiring_caches.py, which makes what machines share, the only module that knows how the parts fit together. Nothing
else makes a component for somebody else."""

import os
import time

from chandlery.config import Settings
from chandlery.content.policy import SETTLED_S, PrunePolicy, default_policies, is_exceeded, is_time_to_sync, limits_logs
from chandlery.content.session import clean_dead_sessions, machine_prefix
from chandlery.content.store import Store
from chandlery.engine.request import BuildRequest, BuildResult
from chandlery.engine.stop_flag import StopFlag
from chandlery.engine.tools import Tools
from chandlery.errors import Cancelled, ChandleryError
from chandlery.events import EventSink, Warned, discard
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.source.image import ImageSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from chandlery.content.gc import PruneReport
    from chandlery.content.session import Session
    from chandlery.linux.mount import MountMethod
    from chandlery.registry.client import RegistryClient
    from chandlery.registry.contacts import Contacts
    from chandlery.registry.settings import RegistrySettings
    from chandlery.runtime.ca_certs import CaCertificates
    from chandlery.runtime.network import NetworkPool
    from chandlery.runtime.protocol import Runtime
    from chandlery.scope import Scopes
    from chandlery.source.http import HttpSource
    from chandlery.wiring_caches import SharedCaches

    T = TypeVar("T")

FIRST_ANSWER_S = 4.5


def build(request: BuildRequest, *, sink: EventSink = discard, settings: Settings | None = None) -> BuildResult:
    """Build an image: a request in, events on the way, a result out.

    `sink` is called with every event of chandlery.events, from several threads. `settings` are this machine's and user's (chandlery.config.load) unless given.
    Raises chandlery.errors.ChandleryError: `code` says what happened, `retryable` whether the same build may pass later.
    """
    from chandlery.engine import pipeline

    chosen = settings or default_settings()
    with Store.open(chosen.root) as store:
        clean_dead_sessions(store)
        policies = prune_policies(chosen, store.root)
        with store.begin() as session:
            result = pipeline.build(_obeying(chosen, request), tools(chosen, store, session, sink, request), sink)
            wrote_log = os.path.exists(store.layout.log(session.id))
        settle(store, tuple(policy for policy in policies if wrote_log or not limits_logs(policy)), sink)
        return result


def default_settings() -> Settings:
    """This machine's, this user's and the working directory's settings."""
    from chandlery.config import load

    return load(dict(os.environ), os.getcwd())


def tools(settings: Settings, store: Store, session: "Session", sink: EventSink, request: BuildRequest | None = None) -> Tools:
    """What one build works with, each part made when it is first called for."""
    snapshots = SnapshotStore(store)
    stop = StopFlag()
    contacts = _once(_contacts)
    client = _once(lambda: connect(settings, contacts(), should_stop=stop.is_set))
    images = ImageSource(store, snapshots, client, settings=lambda: registry_settings(settings), emit=sink)
    images.watch(stop.is_set)
    scopes = _scopes(settings, request)
    caches = _once(lambda: _shared_caches(settings, store, scopes, request, stop, contacts))
    return Tools(
        store=store,
        session=session,
        snapshots=snapshots,
        images=images,
        environment=settings.environment,
        client=client,
        http=_once(lambda: _http_source(settings, store)),
        runtime=lambda directory: _runtime(settings, directory),
        mount_method=_once(lambda: _mount_method(settings, session)),
        network=_network,
        volumes=lambda warn, secrets: caches().volumes(warn, secrets),
        remotes=lambda: caches().step_remotes() if request is not None and request.cache_remotes else (),
        down=lambda: caches().down if request is not None and request.cache_remotes else {},
        imports=lambda platform: caches().imported(platform),
        scopes=scopes,
        ca_certs=lambda chosen: _ca_certs(chosen, settings),
        clean=lambda: _clean(store),
        make_room=lambda: _make_room(store),
        stop=stop,
        max_steps=settings.max_steps,
        cache_mode=settings.environment.get("CHANDLERY_CACHE", ""),
        plain_volumes=frozenset(name for name in settings.environment.get("CHANDLERY_CACHE_PLAIN", "").split(",") if name),
    )


def _obeying(settings: Settings, request: BuildRequest) -> BuildRequest:
    """CHANDLERY_CACHE overrides whatever else was asked for: `off` runs every step anew."""
    from chandlery.values import replace

    mode = settings.environment.get("CHANDLERY_CACHE", "")
    if mode not in ("", "off", "local", "ro", "rw"):
        from chandlery.errors import RequestError

        raise RequestError(f"CHANDLERY_CACHE={mode} is not a mode", code="config.bad-value", hint="use off, local, ro or rw")
    return replace(request, no_cache=True) if mode == "off" else request


def _scopes(settings: Settings, request: BuildRequest | None) -> "Scopes":
    """The scopes of a build; found only where something is shared, since files are read for it."""
    from chandlery.scope import Scopes, find

    if request is None or not (request.cache_remotes or request.cache_scope or request.deps_caches):
        return Scopes("", (), "nothing is shared", is_shared=False)
    return find(request.context, settings.environment, chosen=request.cache_scope, fork_from=request.cache_fork_from)


def _shared_caches(
    settings: Settings, store: Store, scopes: "Scopes", request: BuildRequest | None, stop: StopFlag, contacts: "Callable[[], Contacts]"
) -> "SharedCaches":
    from chandlery.wiring_caches import Clients, SharedCaches

    clients = Clients(
        asking=_once(lambda: connect(settings, contacts(), is_brief=True, first_answer_s=FIRST_ANSWER_S)),
        fetching=_once(lambda: connect(settings, contacts(), is_brief=True, first_answer_s=FIRST_ANSWER_S, should_stop=stop.is_set)),
        moving=_once(lambda: connect(settings, contacts(), first_answer_s=FIRST_ANSWER_S)),
    )
    return SharedCaches(settings, store, scopes, request, clients)


def _contacts() -> "Contacts":
    from chandlery.registry.contacts import Contacts

    return Contacts()


def connect(
    settings: Settings,
    contacts: "Contacts | None" = None,
    *,
    should_stop: "Callable[[], bool]" = lambda: False,
    is_brief: bool = False,
    first_answer_s: float = 0.0,
) -> "RegistryClient":
    """A registry client with this machine's credentials, mirrors, proxies and certificates; a brief one gives up after a few seconds. Those of one build
    share `contacts`; those that have a `first_answer_s` wait together no longer than that for a host that says nothing at all."""
    from chandlery.registry.client import RegistryClient
    from chandlery.values import replace

    found = replace(registry_settings(settings), first_answer_s=first_answer_s)
    if is_brief:
        found = replace(found, connect_timeout_s=2.0, read_timeout_s=4.0, attempts=3)
    return RegistryClient(found, contacts=contacts, should_stop=should_stop)


def registry_settings(settings: Settings) -> "RegistrySettings":
    from chandlery.registry.settings import from_environment
    from chandlery.values import replace

    found = from_environment(settings.environment, insecure=settings.insecure_registries, mirrors=settings.mirrors)
    return replace(found, certs_d=settings.certs_d) if settings.certs_d else found


def settle(store: Store, policies: "tuple[PrunePolicy, ...]", sink: EventSink) -> None:
    """What every build does for the store when it is over: make durable what the kernel has mostly written by itself meanwhile, and keep to the space
    policy, where that is exceeded. A build that succeeded stays one."""
    try:
        _make_durable(SnapshotStore(store))
        for policy in policies:
            if is_exceeded(store, policy):
                prune(store, policy)
    except Cancelled:
        raise
    except (ChandleryError, OSError) as failure:
        sink(Warned("store.unsettled", f"the store could not be tidied: {failure}", time.time()))


def _make_durable(snapshots: SnapshotStore) -> None:
    waited_s = snapshots.unsynced_for_s()
    if is_time_to_sync(waited_s):
        snapshots.sync(older_than_s=SETTLED_S)


def prune(store: Store, policy: "PrunePolicy", *, dry_run: bool = False) -> "PruneReport":
    """Free space in everything that a store holds, cache volumes' objects included."""
    from chandlery.content import gc
    from chandlery.volume import garbage

    return gc.prune(store, policy, dry_run=dry_run, also=(garbage.prune,))


def prune_policies(settings: Settings, root: str) -> "tuple[PrunePolicy, ...]":
    """The configured policy of the end of builds, or the default ones."""
    if not settings.prune:
        return default_policies(root)
    from chandlery.quantities import parse_duration, parse_size

    given = dict(settings.prune)
    sizes = {key: parse_size(given[key], f"[prune] {key}") for key in ("max-used-space", "min-free-space", "reserved-space") if key in given}
    return (
        PrunePolicy(
            max_used_bytes=sizes.get("max-used-space"),
            min_free_bytes=sizes.get("min-free-space"),
            reserved_bytes=sizes.get("reserved-space", 0),
            keep_duration_s=parse_duration(given["keep-duration"], "[prune] keep-duration") if "keep-duration" in given else 0.0,
        ),
    )


def _http_source(settings: Settings, store: Store) -> "HttpSource":
    from chandlery.registry.http import HttpClient
    from chandlery.source.http import HttpSource

    return HttpSource(store, HttpClient(registry_settings(settings)))


def _runtime(settings: Settings, directory: str) -> "Runtime":
    from chandlery.runtime.oci_cli import detect

    return detect(directory, settings.runtime)


def _make_room(store: Store) -> bool:
    """Remove everything that nobody uses."""
    return prune(store, PrunePolicy()).freed_bytes > 0


def _mount_method(settings: Settings, session: "Session") -> "MountMethod":
    from chandlery.errors import RequestError
    from chandlery.linux.mount import MountMethod, probe_method

    if settings.mount:
        if settings.mount not in tuple(MountMethod):
            raise RequestError(f"CHANDLERY_MOUNT={settings.mount} is not a way to mount", code="config.bad-value", hint=f"one of {', '.join(MountMethod)}")
        return MountMethod(settings.mount)
    return probe_method(session.scratch("p"))


def _network() -> "NetworkPool":
    from chandlery.runtime.network import NetworkPool

    return NetworkPool()


def _ca_certs(chosen: str, settings: Settings) -> "CaCertificates | None":
    if not chosen:
        return None
    from chandlery.runtime.ca_certs import load_ca_certs

    return load_ca_certs(chosen, settings.environment)


def _clean(store: Store) -> None:
    """Kill and remove what builds left behind that were killed: their cgroups, and with them their processes."""
    from chandlery.linux import cgroup

    cgroup.remove_dead(machine_prefix(store.layout), lambda build: os.path.isdir(f"{store.layout.builds}/{build}"))


def _once(make: "Callable[[], T]") -> "Callable[[], T]":
    """A function that makes something at its first call and gives the same ever after. Calls at once from two threads may make two; one is kept."""
    made: list[T] = []

    def get() -> "T":
        if not made:
            made.append(make())
        return made[0]

    return get

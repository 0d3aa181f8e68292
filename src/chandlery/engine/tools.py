"""`Tools`: what a build works with, constructed elsewhere (wiring). What a fully cached build doesn't need is made when first called for."""

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.engine.stop_flag import StopFlag
from chandlery.scope import Scopes
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.source.image import ImageSource
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chandlery.buildcache.imported import ImportedCache
    from chandlery.buildcache.remote import StepRemote
    from chandlery.linux.mount import MountMethod
    from chandlery.oci.platform import Platform
    from chandlery.registry.client import RegistryClient
    from chandlery.runtime.ca_certs import CaCertificates
    from chandlery.runtime.network import NetworkPool
    from chandlery.runtime.protocol import Runtime
    from chandlery.source.http import HttpSource
    from chandlery.volume.volumes import Volumes


@value
class Tools:
    """For one build. `stop` ends it; `runtime` is given an empty directory in memory for its state; `clean` removes what earlier builds left that were
    killed; `volumes(warn, secrets)` are told where to warn and what must not leave this machine; `make_room` frees what nobody uses when the disk is
    full, and says whether that was anything."""

    store: Store
    session: Session
    snapshots: SnapshotStore
    images: ImageSource
    environment: "Mapping[str, str]"
    client: "Callable[[], RegistryClient]"
    http: "Callable[[], HttpSource]"
    runtime: "Callable[[str], Runtime]"
    mount_method: "Callable[[], MountMethod]"
    network: "Callable[[], NetworkPool]"
    volumes: "Callable[[Callable[[str, str, str], None], Callable[[], tuple[bytes, ...]]], Volumes]"
    remotes: "Callable[[], tuple[StepRemote, ...]]"
    down: "Callable[[], dict[str, str]]"
    imports: "Callable[[Platform], tuple[ImportedCache, ...]]"
    scopes: Scopes
    ca_certs: "Callable[[str], CaCertificates | None]"
    clean: "Callable[[], None]"
    make_room: "Callable[[], bool]"
    stop: StopFlag
    max_steps: int = 64
    cache_mode: str = ""
    plain_volumes: frozenset[str] = frozenset()

"""Constructs what machines share, and cache volumes, for wiring.py, which connects them to the rest of a build. Not loaded by a build that needs neither."""

from chandlery.scope import machine_name
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.buildcache.address import RemoteAddress
    from chandlery.buildcache.imported import ImportedCache
    from chandlery.buildcache.inventory import Inventory
    from chandlery.buildcache.remote import StepRemote
    from chandlery.config import Settings
    from chandlery.content.store import Store
    from chandlery.engine.request import BuildRequest
    from chandlery.oci.platform import Platform
    from chandlery.registry.client import RegistryClient
    from chandlery.scope import Scopes
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.protocol import VolumeRemote
    from chandlery.volume.sharing import VolumePlace
    from chandlery.volume.size_limit import SizeLimit
    from chandlery.volume.volumes import Volumes

    Connect = Callable[[], RegistryClient]

_LARGEST_VOLUME = "20GB"


@value
class Clients:
    """Registry clients, made when first called for: look-ups (`asking`) and volumes' downloads (`fetching`) give up soon, and the latter end with the build;
    what is published needs patience, and a build that failed still publishes (`moving`)."""

    asking: "Connect"
    fetching: "Connect"
    moving: "Connect"


class SharedCaches:
    """The caches of one build. `down` are those that it can't reach, and why, whoever finds out: the user is told once."""

    def __init__(self, settings: "Settings", store: "Store", scopes: "Scopes", request: "BuildRequest | None", clients: Clients) -> None:
        self._settings, self._store, self._scopes, self._request, self._clients = settings, store, scopes, request, clients
        self._mode = settings.environment.get("CHANDLERY_CACHE", "")
        self._places: tuple[VolumePlace, ...] | None = None
        self._remotes: tuple[StepRemote, ...] | None = None
        self.down: dict[str, str] = {}

    def step_remotes(self) -> "tuple[StepRemote, ...]":
        """Where the build's steps are shared."""
        if self._remotes is None:
            self._remotes = tuple(map(self._step_remote, self._addresses()))
        return self._remotes

    def imported(self, platform: "Platform") -> "tuple[ImportedCache, ...]":
        """The caches of --cache-from."""
        if self._request is None or not self._request.cache_from or self._mode in ("off", "local"):
            return ()
        from chandlery.buildcache.cache_place import LayoutPlace, RegistryPlace
        from chandlery.buildcache.imported import ImportedCache
        from chandlery.engine.request import CacheKind
        from chandlery.oci import reference

        made = []
        for spec in self._request.cache_from:
            if spec.kind is CacheKind.LOCAL:
                made.append(ImportedCache(LayoutPlace(spec.name, spec.option("src"), spec.option("digest") or spec.option("tag", "latest")), platform))
            else:
                named = reference.parse(spec.option("ref"))
                made.append(ImportedCache(RegistryPlace(spec.name, named, asking=self._clients.asking, moving=self._clients.moving), platform))
        return tuple(made)

    def volumes(self, warn: "Callable[[str, str, str], None]", secrets: "Callable[[], tuple[bytes, ...]]") -> "Volumes":
        """The build's cache volumes, which stay on this machine where there is no place to share them."""
        from chandlery.volume.volumes import Volumes

        if self._places is None:
            self._places = tuple(map(self._volume_place, self._addresses()))
        sharing = None
        if self._places:
            from chandlery.volume.sharing import VolumeSharing

            machine = machine_name(self._settings.environment)
            sharing = VolumeSharing(self._store, self._places, self._scopes, warn=warn, secrets=secrets, machine=machine, down=self.down)
        return Volumes(self._store, sharing, reads=self._scopes.reads, limit=_volume_limit(self._settings, warn))

    def _addresses(self) -> "tuple[RemoteAddress, ...]":
        """The shared caches in the order in which they are read; none for a scope that means nothing to other machines."""
        if self._request is None or not self._request.cache_remotes or not self._scopes.is_shared or self._mode in ("off", "local"):
            return ()
        from chandlery.buildcache.address import parse

        parsed = tuple(map(parse, self._request.cache_remotes))
        return tuple(replace(address, is_writable=self._mode == "rw") for address in parsed) if self._mode else parsed

    def _step_remote(self, address: "RemoteAddress") -> "StepRemote":
        from chandlery.buildcache.directory import DirectoryRemote
        from chandlery.buildcache.repository import RegistryRemote

        if address.is_directory:
            return DirectoryRemote(address.text, address.location, is_writable=address.is_writable)
        return RegistryRemote(address, asking=self._clients.asking, moving=self._clients.moving)

    def _volume_place(self, address: "RemoteAddress") -> "VolumePlace":
        from chandlery.volume.remote_directory import DirectoryRemote
        from chandlery.volume.remote_registry import RegistryRemote
        from chandlery.volume.sharing import VolumePlace

        if address.is_directory:
            return VolumePlace(address.text, lambda key: DirectoryRemote(address.location, key), address.is_writable)

        def over(client: "Connect") -> "Callable[[VolumeKey], VolumeRemote]":
            return lambda key: RegistryRemote(client(), address.reference(key.scope), key)

        return VolumePlace(address.text, over(self._clients.fetching), address.is_writable, over(self._clients.moving))


def inventory(text: str, scope: str, connect: "Connect") -> "Inventory":
    """What a shared cache holds, in one scope or in all; `text` as --cache-remote has it."""
    from chandlery.buildcache.address import parse
    from chandlery.buildcache.directory_inventory import DirectoryInventory
    from chandlery.buildcache.registry_inventory import RegistryInventory

    address = parse(text)
    if address.is_directory:
        return DirectoryInventory(address.text, address.location, scope=scope)
    return RegistryInventory(address, connect(), scope=scope)


def _volume_limit(settings: "Settings", warn: "Callable[[str, str, str], None]") -> "SizeLimit | None":
    """How large a cache volume may be when a build ends."""
    from chandlery.quantities import parse_size
    from chandlery.volume.size_limit import SizeLimit

    text = dict(settings.volumes).get("max-size", _LARGEST_VOLUME)
    return SizeLimit(parse_size(text, "[volumes] max-size"), warn) if text != "off" else None

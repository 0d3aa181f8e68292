"""What the builds of other scopes tell of their reads. A branch begins with main's volume and may not write there, so it tells its own scope of what it reads
of that; whoever trims main's can listen to the branches they name. Names of scopes can't be found out: a registry's repositories carry hashes of them.
"""

from chandlery.errors import RegistryError
from chandlery.volume import notes, shared
from chandlery.volume.head import FIND, SHARED_INSTANCE, volume_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chandlery.content.store import Store
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.protocol import VolumeRemote


def hear(store: "Store", key: "VolumeKey", scopes: "Mapping[str, Sequence[VolumeRemote]]") -> tuple[str, ...]:
    """Keep, with the volume here, what was told in the places of these scopes; those that have no such volume anywhere.

    Raises RegistryError volume.not-heard: what isn't known to be unused counts as used. OSError, MachineError lock.timeout.
    """
    rows = store.db.read(FIND, (key.scope, key.name, key.platform, SHARED_INSTANCE))
    silent = []
    for scope, remotes in scopes.items():
        looks = shared.look_at(store, remotes, key)
        for look in looks:
            if look.error is not None:
                hint = "check the address, the credentials and the network, or leave the scope away"
                raise RegistryError(f"what {scope} read of cache volume {key.name} is not known: {look.error}", code="volume.not-heard", hint=hint)
        if not any(look.names for look in looks):
            silent.append(scope)
        if rows:
            directory = f"{store.layout.volumes}/{volume_row(rows[0]).id}"
            notes.keep(directory, [text for look in looks if look.seen is not None for text in look.seen.head.notes])
    return tuple(silent)

"""An aged cache volume: what the builds of many other machines left in it, none of which reads what the measured build reads.

Each writer is a machine of its own, which commits and publishes as a build does, but straight to the registry and without the steps of a build.
"""

import os
import shutil
from pathlib import Path

from chandlery.buildcache import address
from chandlery.content.store import Store
from chandlery.oci.platform import native
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.volume import publishing
from chandlery.volume.key import VolumeKey
from chandlery.volume.remote_registry import RegistryRemote
from chandlery.volume.volumes import Volumes

WRITERS = 200
TIMES = 5
"""How much more the volume holds in the end than the measured build has put there."""


def age(remote: str, scope: str, name: str, size_bytes: int, scratch: Path) -> None:
    """Have WRITERS machines add to the volume `name` of `scope` until it holds TIMES `size_bytes`."""
    place = address.parse(remote)
    key = VolumeKey(scope, name, str(native()))
    client = RegistryClient(RegistrySettings(insecure=(place.reference(scope).registry,)))
    share = size_bytes * (TIMES - 1) // WRITERS
    for number in range(WRITERS):
        root = scratch / f"writer-{number}"
        with Store.open(str(root)) as store:
            _commit(store, key, f"repository/org/other/library-{number}/1.{number}", share)
            publishing.publish(store, RegistryRemote(client, place.reference(scope), key), key)
        shutil.rmtree(root)
    client.close()


def _commit(store: Store, key: VolumeKey, directory: str, size_bytes: int) -> None:
    volumes = Volumes(store)
    _, artifact, version = directory.rsplit("/", 2)
    with store.begin() as session:
        attachment = volumes.attach(key, session)
        target = Path(attachment.upper) / directory
        target.mkdir(parents=True)
        # what is in jars is compressed
        (target / f"{artifact}-{version}.jar").write_bytes(os.urandom(size_bytes))
        (target / f"{artifact}-{version}.pom").write_text(f"<project><artifactId>{artifact}</artifactId></project>\n")
        volumes.commit(attachment, succeeded=True)
    volumes.settle()

"""A machine in a process of its own, to be killed: `volume_worker.py ROOT SHARE NAME TURNS`. SHARE is a directory or registry://host/repository.

Each turn is a build that adds a file to the shared volume, then a fold or a prune now and then. "kept NAME" is printed when a file is in the volume here,
"shared NAME" when a build that shares it has ended, and none of this process's builds was warned.
"""

import random
import sys

from tests.fakes.machine import KEY, Machine

from chandlery.oci import reference
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.volume import garbage
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.remote_registry import RegistryRemote
from chandlery.volume.volumes import Volumes


def remote_of(share):
    if share.startswith("registry://"):
        return RegistryRemote(RegistryClient(RegistrySettings()), reference.parse(share.removeprefix("registry://")), KEY)
    return DirectoryRemote(share, KEY)


def tell(word, file):
    sys.stdout.write(f"{word} {file}\n")
    sys.stdout.flush()


def main(root, share, name, turns):
    rng = random.Random(name)
    with Machine(root, remote_of(share)) as machine:
        for turn in range(int(turns)):
            file = f"{name}-{turn}.jar"
            machine.commit({file: rng.randbytes(rng.choice((100, 6000, 300_000)))})
            tell("kept", file)
            machine.build({f"{name}.index": b"%d" % turn})
            if machine.warnings:
                sys.stderr.write(f"{machine.warnings}\n")
            else:
                tell("shared", file)
            if turn % 2:
                Volumes(machine.store).settle()
            if turn % 4 == 3:
                garbage.prune(machine.store)


if __name__ == "__main__":
    main(*sys.argv[1:])

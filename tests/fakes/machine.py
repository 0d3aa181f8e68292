"""A machine that shares cache volumes: a store, and what builds on it do with one volume."""

import os

from chandlery.content.store import Store
from chandlery.scope import Scopes
from chandlery.volume.key import VolumeKey
from chandlery.volume.sharing import VolumePlace, VolumeSharing
from chandlery.volume.volumes import Volumes

KEY = VolumeKey("team/app", "m2", "linux/amd64")


class Machine:
    """`remote` is where its builds share KEY. `warnings` are those of all of its builds, `codes` (what happened, why) of the same."""

    def __init__(self, root, remote, *, scopes: Scopes = Scopes(KEY.scope, (KEY.scope,), "told")) -> None:
        self.root = str(root)
        self.remote = remote
        self.scopes = scopes
        self.store = Store.open(self.root)
        self.warnings: list[str] = []
        self.codes: list[tuple[str, str]] = []

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def build(self, files: "dict[str, bytes] | None" = None, *, publishes: bool = True, act=None) -> dict[str, bytes | str]:
        """One build with one step that writes `files` and then does `act(directory)`: what the step found when it began."""
        place = VolumePlace("share", lambda _: self.remote, publishes)
        sharing = VolumeSharing(self.store, (place,), self.scopes, warn=self._warn)
        found = self._step(Volumes(self.store, sharing), files, act)
        assert sharing.close(60) == ()
        return found

    def commit(self, files: dict[str, bytes]) -> None:
        """A step that writes `files`, of a build that shares nothing."""
        self._step(Volumes(self.store), files, None)

    def _warn(self, code: str, text: str, cause: str) -> None:
        self.warnings.append(text)
        self.codes.append((code, cause))

    def _step(self, volumes: Volumes, files: "dict[str, bytes] | None", act) -> dict[str, bytes | str]:
        with self.store.begin() as session:
            attachment = volumes.attach(KEY, session)
            found = content(attachment.lowers)
            for path, data in (files or {}).items():
                target = f"{attachment.upper}/{path}"
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(data)
            if act is not None:
                act(attachment.upper)
            report = volumes.commit(attachment, succeeded=True)
            assert report.warning == ""
        volumes.settle()
        return found

    def sees(self) -> dict[str, bytes | str]:
        """What the volume shows, after a pull."""
        return self.build(publishes=False)

    def entries(self) -> dict:
        return {entry.path: entry for entry in Volumes(self.store).show(KEY)}


def content(lowers: tuple[str, ...]) -> dict[str, bytes | str]:
    """What a stack of directories shows: path -> the bytes of a file, or where a link points."""
    found: dict[str, bytes | str] = {}
    for lower in lowers:
        for directory, below, names in os.walk(lower):
            for name in (*names, *below):
                path = f"{directory}/{name}"
                if os.path.islink(path):
                    found[os.path.relpath(path, lower)] = os.readlink(path)
                elif name in names:
                    with open(path, "rb") as file:
                        found[os.path.relpath(path, lower)] = file.read()
    return found

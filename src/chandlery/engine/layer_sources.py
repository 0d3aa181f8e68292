"""`LayerSources`: where a layer that is known by its diff id alone comes from: the registry of a base image, or a shared cache. Base images come first."""

from chandlery.engine.base_layers import BaseLayers
from chandlery.engine.remote_layers import RemoteLayers
from chandlery.errors import Lost
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest


class LayerSources:
    def __init__(self, base: BaseLayers, remote: RemoteLayers) -> None:
        self._base = base
        self._remote = remote

    def fetch(self, diff_id: str) -> str:
        """The layer's snapshot. Raises Lost, RegistryError."""
        if self.knows(diff_id):
            return self._remote.fetch(diff_id)
        if not self._base.has(diff_id):
            raise Lost(diff_id)
        return self._base.fetch(diff_id)

    def fetch_blob(self, diff_id: str) -> Descriptor | None:
        """The layer's blob, brought into the store; None where nobody is known to have it."""
        blob = self._remote.blob(diff_id) if self.knows(diff_id) else None
        if blob is None:
            return self._base.fetch_blob(diff_id)
        self._remote.bring(blob.digest)
        return blob

    def knows(self, diff_id: str) -> bool:
        return self._remote.knows(diff_id) and not self._base.has(diff_id)

    def is_away(self, diff_id: str) -> bool:
        """Whether the layer's files are to be had, but not here."""
        return self._remote.is_away(diff_id) if self.knows(diff_id) else self._base.is_away(diff_id)

    def blob(self, diff_id: str) -> Descriptor | None:
        return self._remote.blob(diff_id) if self.knows(diff_id) else self._base.blob(diff_id)

    def bring(self, blob: Digest) -> None:
        """Have a blob in the store, where somebody is known to have it."""
        if not self._remote.bring(blob):
            self._base.bring(blob)

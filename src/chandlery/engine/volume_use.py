"""`VolumeUse`: a build's cache volumes, fetched as soon as it is clear that a step will run, and published behind the build's back.

Where nothing is shared a volume is the machine's, whoever builds, as with Docker's cache mounts; where caches follow the build, it is its scope's.
"""

import threading
from _thread import allocate_lock

from chandlery.engine.request import BuildRequest
from chandlery.graph.op import ExecOp
from chandlery.scope import MACHINE_SCOPE, Scopes
from chandlery.worker.step_mounts import VolumePolicy, volume_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.content.session import Session
    from chandlery.volume.key import VolumeKey
    from chandlery.volume.sharing import VolumeReport
    from chandlery.volume.volumes import Volumes


def volume_scope(request: BuildRequest, scopes: Scopes) -> str:
    """The scope of a build's volumes on this machine."""
    if request.cache_scope:
        return request.cache_scope
    return scopes.write if request.cache_remotes and scopes.is_shared else MACHINE_SCOPE


class VolumeUse:
    """For one build. `make` gives the store's volumes, once."""

    def __init__(self, make: "Callable[[], Volumes]", policy: VolumePolicy, session: "Session") -> None:
        self.policy = policy
        self._make = make
        self._session = session
        self._lock = allocate_lock()
        self._volumes: Volumes | None = None
        self._fetching: list[threading.Thread] = []

    def volumes(self) -> "Volumes":
        with self._lock:
            if self._volumes is None:
                self._volumes = self._make()
            return self._volumes

    def foresee(self, ops: "tuple[ExecOp, ...]") -> None:
        """Some of these steps may run: what there is of their volumes is asked beside the questions after the steps."""
        keys = () if self.policy.is_off else tuple(dict.fromkeys(key for op in ops for key in volume_keys(op.mounts, self.policy)))
        if keys:
            self._begin(keys, lambda volumes, key: volumes.look_ahead(key))

    def expect(self, op: ExecOp) -> None:
        """A step will run: what its volumes lack is fetched beside whatever has to happen before it."""
        keys = () if self.policy.is_off else volume_keys(op.mounts, self.policy)
        if keys:
            self._begin(keys, lambda volumes, key: volumes.fetch(key))

    def _begin(self, keys: "tuple[VolumeKey, ...]", work: "Callable[[Volumes, VolumeKey], None]") -> None:
        volumes = self.volumes()

        def run() -> None:
            for key in keys:
                work(volumes, key)

        thread = threading.Thread(target=run, name="chandlery-volumes", daemon=True)
        self._fetching.append(thread)
        thread.start()

    def close(self, timeout_s: float | None) -> "tuple[VolumeReport, ...]":
        """When no step runs any more: wait for what is being published, at most so long. What was shared; no thread is left."""
        if self._volumes is None:
            return ()
        self._volumes.close(timeout_s)
        for thread in self._fetching:
            thread.join()
        # also of what was fetched for a step that never ran
        reports = self._volumes.reports()
        self._volumes.forget(self._session)
        self._volumes.settle()
        return reports

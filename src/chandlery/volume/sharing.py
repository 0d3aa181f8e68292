"""`VolumeSharing`: when a build's volumes are fetched and published. A volume is pulled once a build, when the first step asks for it; what steps
add is published by one thread in the background, so no step waits for it. Nothing that goes wrong here raises: it is told by `warn`.
"""

import threading
import time

from chandlery.errors import ChandleryError
from chandlery.volume import shared
from chandlery.volume.key import VolumeKey
from chandlery.volume.sharing_rules import may_share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.content.store import Store
    from chandlery.volume.protocol import VolumeRemote
    from chandlery.volume.sharing_rules import MayShare


class VolumeSharing:
    """For one build. `remote_of` gives a volume's remote; `secrets` are the values lent to steps; `is_read_only` publishes nothing."""

    def __init__(
        self,
        store: "Store",
        remote_of: "Callable[[VolumeKey], VolumeRemote]",
        *,
        warn: "Callable[[str], None]",
        secrets: "Callable[[], tuple[bytes, ...]]" = tuple,
        is_read_only: bool = False,
        rule: "MayShare" = may_share,
    ) -> None:
        self._store, self._remote_of, self._warn, self._secrets = store, remote_of, warn, secrets
        self._is_read_only, self._rule = is_read_only, rule
        self._turn = threading.Condition()
        self._pulled: dict[VolumeKey, threading.Lock] = {}
        self._waiting: list[VolumeKey] = []
        self._running: VolumeKey | None = None
        self._thread: threading.Thread | None = None

    def pull_once(self, key: VolumeKey) -> None:
        """Bring a volume up to date at its first use; other users of the same volume wait for that."""
        with self._turn:
            is_first = key not in self._pulled
            lock = self._pulled.setdefault(key, threading.Lock())
            if is_first:
                lock.acquire()
        if not is_first:
            with lock:
                return
        try:
            for warning in shared.pull(self._store, self._remote_of(key), key).warnings:
                self._warn(f"cache volume {key.name} was not fetched whole: {warning}")
        except (ChandleryError, OSError, ValueError) as broken:
            self._warn(f"cache volume {key.name} was not fetched: {broken}")
        finally:
            lock.release()

    def publish_later(self, key: VolumeKey) -> None:
        """Publish what a volume has then, soon; returns at once."""
        with self._turn:
            if self._is_read_only or key in self._waiting:
                return
            self._waiting.append(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="chandlery-publish", daemon=True)
                self._thread.start()

    def close(self, timeout_s: float | None) -> tuple[str, ...]:
        """Wait for what is still on its way; the names of volumes that were not published in time, of which the user is warned."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._turn:
            while self._waiting or self._running is not None:
                left_s = None if deadline is None else deadline - time.monotonic()
                if left_s is not None and left_s <= 0:
                    break
                self._turn.wait(left_s)
            late = tuple(key.name for key in (*([self._running] if self._running else []), *self._waiting))
            self._waiting.clear()
        for name in late:
            self._warn(f"what this build added to cache volume {name} was not published within {timeout_s:g} s; the next build here will")
        return late

    def _work(self) -> None:
        while True:
            with self._turn:
                if not self._waiting:
                    self._thread = None
                    return
                self._running = key = self._waiting.pop(0)
            try:
                self._publish(key)
            finally:
                with self._turn:
                    self._running = None
                    self._turn.notify_all()

    def _publish(self, key: VolumeKey) -> None:
        try:
            report = shared.publish(self._store, self._remote_of(key), key, secrets=self._secrets(), rule=self._rule)
        except (ChandleryError, OSError, ValueError) as broken:
            self._warn(f"what this build added to cache volume {key.name} was not published: {broken}")
            return
        if report.left_out:
            self._warn(f"{len(report.left_out)} files of cache volume {key.name} hold the value of a secret and were not published: {report.left_out[0]} ...")

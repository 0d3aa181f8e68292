"""`StepLocks`: one process at a time runs the step, or fetches the layer, of a name. The others wait and then find its result.

A lock is an flock on a file in R/locks, so it dies with its process. The file is removed under the lock; who then wins the lock of a
removed file notices and starts over (linux.flock).
"""

import os
import time

from chandlery.content import faults
from chandlery.errors import StoreError
from chandlery.linux.flock import FileLock
from chandlery.oci.digest import hasher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.content.layout import StoreLayout

_POLL_S = 0.02
_MAX_POLL_S = 0.2


class StepLocks:
    def __init__(self, layout: "StoreLayout") -> None:
        self._layout = layout

    def hold(self, key: str, *, timeout_s: float, on_wait: "Callable[[], None] | None" = None, while_waiting: "Callable[[], None] | None" = None) -> "_Held":
        """`with locks.hold(key, timeout_s=3600):` excludes every other holder of `key`, in this process and in others.

        `on_wait` is called once, when somebody else turns out to hold it; `while_waiting` a few times a second from then on, and may raise
        to give up. Raises StoreError store.step-busy after `timeout_s`.
        """
        name = key if key.isalnum() and len(key) <= 128 else hasher(key.encode("utf-8", "surrogateescape")).hexdigest()
        return _Held(f"{self._layout.locks}/{name}", key, timeout_s, on_wait, while_waiting)

    def is_held(self, key: str) -> bool:
        """Whether anybody holds `key` at this moment."""
        held = self.hold(key, timeout_s=0)
        try:
            with held:
                return False
        except StoreError:
            return True


class _Held:
    def __init__(self, path: str, key: str, timeout_s: float, on_wait: "Callable[[], None] | None", while_waiting: "Callable[[], None] | None") -> None:
        self._lock = FileLock(path)
        self._key = key
        self._timeout_s = timeout_s
        self._on_wait = on_wait
        self._while_waiting = while_waiting

    def __enter__(self) -> None:
        with faults.translated(self._lock.path):
            if not self._lock.try_acquire():
                self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        poll_s = _POLL_S
        if self._on_wait is not None:
            self._on_wait()
        while not self._lock.try_acquire():
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"another build has been running step {self._key} for more than {self._timeout_s:g} s",
                    code="store.step-busy",
                    hint="wait for that build or end it, then try again",
                )
            if self._while_waiting is not None:
                self._while_waiting()
            time.sleep(poll_s)
            poll_s = min(poll_s * 1.5, _MAX_POLL_S)

    def __exit__(self, *_: object) -> None:
        try:
            os.unlink(self._lock.path)
        except FileNotFoundError:
            pass
        finally:
            self._lock.release()

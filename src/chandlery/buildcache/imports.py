"""`Imports`: the caches of --cache-from in one build, read at once when the first step misses, and asked in their order."""

import time
from _thread import allocate_lock

from chandlery.buildcache.entry import Entry, Expected
from chandlery.errors import Cancelled, ChandleryError, NotFound
from chandlery.solver.cache_key import CacheKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.buildcache.buildkit_keys import Node
    from chandlery.buildcache.imported import ImportedCache

LIMIT_S = 20.0


class Imports:
    """`nodes` names the build's steps as BuildKit does; asked for once. `warn(code, text)` tells the user."""

    def __init__(
        self,
        caches: "tuple[ImportedCache, ...]",
        *,
        nodes: "Callable[[], tuple[Node, ...]]",
        keys: "tuple[CacheKey | None, ...]",
        warn: "Callable[[str, str], None]",
        limit_s: float = LIMIT_S,
    ) -> None:
        self.caches = caches
        self._nodes = nodes
        self._keys = keys
        self._warn = warn
        self.limit_s = limit_s
        self._lock = allocate_lock()
        self._usable: list[ImportedCache] | None = None
        self._ready_s = 0.0

    def find(self, key: CacheKey, expected: Expected) -> "tuple[Entry, ImportedCache] | None":
        """A step's result, where it is; waits until the caches are read, or have taken too long."""
        for cache in self._read():
            entry = cache.find(key, expected)
            if entry is not None:
                return entry, cache
        return None

    def ready_s(self) -> float:
        """When the caches were read, by the monotonic clock; waits for it."""
        self._read()
        return self._ready_s

    def _read(self) -> "list[ImportedCache]":
        with self._lock:
            if self._usable is None:
                self._usable = self._load()
                self._ready_s = time.monotonic()
            return self._usable

    def _load(self) -> "list[ImportedCache]":
        import threading

        nodes = self._named()
        loaded: dict[int, bool] = {}

        def load(at: int) -> None:
            loaded[at] = self._is_loaded(self.caches[at], nodes)

        threads = [threading.Thread(target=load, args=(at,), name="chandlery-import", daemon=True) for at in range(len(self.caches))]
        until = time.monotonic() + self.limit_s
        for thread in threads:
            thread.start()
        for thread, cache in zip(threads, self.caches, strict=True):
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self._warn("cache.import", f"the cache {cache.name} is not used by this build: no answer within {self.limit_s:g} s")
        return [cache for at, cache in enumerate(self.caches) if loaded.get(at)]

    def _named(self) -> "tuple[Node, ...]":
        try:
            return self._nodes()
        except (ChandleryError, OSError) as failure:
            self._warn("cache.import", f"steps can't be looked up as BuildKit names them: {failure}")
            return ()

    def _is_loaded(self, cache: "ImportedCache", nodes: "tuple[Node, ...]") -> bool:
        try:
            cache.load(nodes, self._keys)
            return True
        except Cancelled:
            return False
        except NotFound:
            self._warn("cache.import", f"there is no cache {cache.name} yet")
        except ChandleryError as failure:
            self._warn("cache.import", f"the cache {cache.name} is not used by this build: {failure.message}")
        except Exception as failure:
            self._warn("cache.import", f"the cache {cache.name} is not used by this build: {type(failure).__name__}: {failure}")
        return False

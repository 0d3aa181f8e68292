"""`LookUps`: asking shared caches for entries, many at once, beside whatever else the build does.

All keys that may be needed go out together, and each is answered within LIMIT_S or is a miss. A cache that can't be reached is asked no more in this build,
and said so once. Nothing here fails a build.
"""

import time

from chandlery.buildcache.entry import Entry, Expected, decode
from chandlery.buildcache.record import NO_LIMITS, AgeLimits
from chandlery.errors import Cancelled, ChandleryError, LyingRegistry
from chandlery.oci.digest import Digest
from chandlery.solver.cache_key import CacheKey
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import queue
    from collections.abc import Callable, Iterable

    from chandlery.buildcache.imported import ImportedCache
    from chandlery.buildcache.imports import Imports
    from chandlery.buildcache.remote import StepRemote

PARALLEL = 16
LIMIT_S = 5.0
PATIENCE_S = 0.5


@value
class Found:
    """An entry that holds what was asked for, and where it was."""

    entry: Entry
    remote: "StepRemote | ImportedCache"
    scope: str
    size_bytes: int


class LookUps:
    """For one build. `imports` are asked first; `scopes` are read in order, in each remote. `limits`: older entries are misses. `warn(code, text)` tells
    the user. `down` are remotes that aren't used any more, and why."""

    def __init__(
        self,
        remotes: "tuple[StepRemote, ...]",
        scopes: tuple[str, ...],
        *,
        warn: "Callable[[str, str], None]",
        limits: AgeLimits = NO_LIMITS,
        limit_s: float = LIMIT_S,
        imports: "Imports | None" = None,
        down: dict[str, str] | None = None,
    ) -> None:
        self._imports = imports
        self._remotes = remotes
        self._scopes = scopes
        self._warn = warn
        self._limits = limits
        self._limit_s = limit_s
        self._asked: dict[Digest, _Question] = {}
        self._queue: queue.SimpleQueue[_Question] | None = None
        self._threads = 0
        self._patience_s = PATIENCE_S
        self.down = down if down is not None else {}
        self.replaceable: set[Digest] = set()  # keys whose entry is broken or too old: what is made in its place replaces it

    def start(self, wanted: "Iterable[tuple[CacheKey, Expected]]") -> None:
        """Send out questions; those that were sent before are not asked again. Called by one thread at a time."""
        import queue
        import threading

        fresh = [_Question(key, expected, self._limit_s) for key, expected in wanted if key.digest not in self._asked]
        if self._queue is None:
            self._queue = queue.SimpleQueue()
        for question in fresh:
            self._asked[question.key.digest] = question
            self._queue.put(question)
        while self._threads < min(PARALLEL, len(self._asked)):
            self._threads += 1
            threading.Thread(target=self._work, args=(self._queue,), name=f"chandlery-look-up-{self._threads}", daemon=True).start()

    def is_answered(self, key: Digest) -> bool:
        return key in self._asked and self._asked[key].answered.is_set()

    def known(self, key: Digest) -> Found | None:
        """The entry of a key, if it has come."""
        return self._asked[key].found if key in self._asked else None

    def known_soon(self, key: Digest) -> Found | None:
        """As `known`, but an answer that is on its way is waited for a little, all of them together no longer than PATIENCE_S."""
        if key in self._asked and not self._asked[key].answered.is_set() and self._patience_s > 0:
            begun_s = time.monotonic()
            self._asked[key].answered.wait(self._patience_s)
            self._patience_s -= time.monotonic() - begun_s
        return self.known(key)

    def answer(self, key: CacheKey, expected: Expected) -> Found | None:
        """The entry of a key; None where there is none, or none came in time."""
        if key.digest not in self._asked:
            self.start([(key, expected)])
        question, until_s = self._asked[key.digest], self._asked[key.digest].until_s
        if self._imports is not None:
            until_s = max(until_s, self._imports.ready_s() + self._limit_s)
        if not question.answered.wait(max(0.0, until_s - time.monotonic())):
            for remote in self._remotes:
                self._give_up(remote, f"no answer within {self._limit_s:g} s")
        return question.found

    def is_unreachable(self, remote: "StepRemote") -> bool:
        return remote.name in self.down

    def _work(self, questions: "queue.SimpleQueue[_Question]") -> None:
        while True:
            question = questions.get()
            try:
                question.found = self._look(question.key, question.expected)
            except Exception as broken:
                self._warn("cache.look-up", f"a look-up in the shared cache failed: {broken}")
            finally:
                question.answered.set()

    def _look(self, key: CacheKey, expected: Expected) -> Found | None:
        imported = self._imports.find(key, expected) if self._imports is not None else None
        if imported is not None and self._is_young(imported[0]):
            return Found(*imported, "", 0)
        for remote in self._remotes:
            for scope in self._scopes:
                if remote.name in self.down:
                    break
                try:
                    found = self._look_in(remote, scope, key, expected)
                except Cancelled:
                    return None
                except LyingRegistry as lie:
                    self.replaceable.add(key.digest)
                    self._warn(lie.code, f"{lie.message} ({remote.name})")
                    continue
                except ChandleryError as failure:
                    self._give_up(remote, failure.message)
                    break
                if found is not None:
                    return found
        return None

    def _look_in(self, remote: "StepRemote", scope: str, key: CacheKey, expected: Expected) -> Found | None:
        raw = remote.find(scope, key.digest)
        entry = decode(raw, key=key, scope=scope, expected=expected) if raw is not None else None
        if raw is None or entry is None:
            return None
        if not self._is_young(entry):
            self.replaceable.add(key.digest)
            return None
        return Found(entry, remote, scope, len(raw))

    def _is_young(self, entry: Entry) -> bool:
        return self._limits.allow(entry.created_at_s, entry.observed, time.time())

    def _give_up(self, remote: "StepRemote", why: str) -> None:
        if remote.name not in self.down:
            self.down[remote.name] = why
            self._warn("cache.unavailable", f"the shared cache {remote.name} is not used by this build: {why}")


class _Question:
    def __init__(self, key: CacheKey, expected: Expected, limit_s: float) -> None:
        import threading

        self.key = key
        self.expected = expected
        self.until_s = time.monotonic() + limit_s
        self.answered: threading.Event = threading.Event()
        self.found: Found | None = None

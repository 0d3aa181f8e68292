"""`Contacts`: what was found out about hosts, for the clients of one machine's settings that differ in their patience alone."""

import threading
import time

from chandlery.registry import tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from chandlery.registry.settings import RegistrySettings


SILENCE_S = 10.0
LEAST_WAIT_S = 0.5


class Contacts:
    """The scheme of each host that may be plain, whether it ever answered, and TLS contexts, which take 25 ms each to load the system's authorities. Threads
    share it."""

    def __init__(self, clock: "Callable[[], float]" = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._schemes: dict[str, str] = {}
        self._silent_until_s: dict[str, float] = {}
        self._asked_at_s: dict[str, float] = {}
        self._heard: set[str] = set()
        self._contexts: dict[str, ssl.SSLContext] = {}

    def scheme(self, host: str, find: "Callable[[], str]") -> str:
        """The scheme that `find` found, by whichever client; "" where nobody answers, who is left alone for SILENCE_S."""
        with self._lock:
            asking = self._asking.setdefault(host, threading.Lock())
        with asking:
            if host not in self._schemes and self._clock() >= self._silent_until_s.get(host, 0.0):
                if found := find():
                    self._schemes[host] = found
                else:
                    self._silent_until_s[host] = self._clock() + SILENCE_S
            return self._schemes.get(host, "")

    def left_s(self, host: str, limit_s: float) -> float | None:
        """How long a request may wait for a host that has not answered anything yet, where `limit_s` is what all of them may wait together, from the first
        one on; 0 where that is over, None for a host that has answered."""
        with self._lock:
            if host in self._heard:
                return None
            left_s = self._asked_at_s.setdefault(host, self._clock()) + limit_s - self._clock()
        return max(left_s, LEAST_WAIT_S) if left_s > 0 else 0.0

    def heard(self, host: str) -> None:
        """A host answered something: it may be as slow as it likes from now on."""
        self._heard.add(host)

    def refused(self, host: str) -> None:
        """A host didn't answer, but at once: nobody waited, so whoever asks next has all the time again."""
        with self._lock:
            self._asked_at_s.pop(host, None)

    def context(self, settings: "RegistrySettings", host: str) -> "ssl.SSLContext":
        """As tls.context, made once. Raises RegistryError."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = tls.context(settings, host)
            return self._contexts[host]

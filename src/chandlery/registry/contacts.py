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


class Contacts:
    """The scheme of each host that may be plain, and TLS contexts, which take 25 ms each to load the system's authorities. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._schemes: dict[str, str] = {}
        self._silent_until_s: dict[str, float] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    def scheme(self, host: str, find: "Callable[[], str]") -> str:
        """The scheme that `find` found, by whichever client; "" where nobody answers, who is left alone for SILENCE_S."""
        with self._lock:
            asking = self._asking.setdefault(host, threading.Lock())
        with asking:
            if host not in self._schemes and time.monotonic() >= self._silent_until_s.get(host, 0.0):
                if found := find():
                    self._schemes[host] = found
                else:
                    self._silent_until_s[host] = time.monotonic() + SILENCE_S
            return self._schemes.get(host, "")

    def context(self, settings: "RegistrySettings", host: str) -> "ssl.SSLContext":
        """As tls.context, made once. Raises RegistryError."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = tls.context(settings, host)
            return self._contexts[host]

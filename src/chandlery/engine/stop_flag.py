"""`StopFlag`: "this build is to end", told once, looked at by everything that takes long."""

from chandlery.errors import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading


class StopFlag:
    """What a threading.Event offers, without importing `threading` into builds that run nothing."""

    def __init__(self) -> None:
        self._is_set = False
        self._event: threading.Event | None = None

    def is_set(self) -> bool:
        return self._is_set

    def check(self) -> None:
        """Raise Cancelled if the build is to end."""
        if self._is_set:
            raise Cancelled()

    def set(self) -> None:
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        if self._event is None:
            import threading

            event = threading.Event()
            self._event = event
            if self._is_set:
                event.set()
        return self._event.wait(timeout)

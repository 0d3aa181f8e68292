"""`Crew`: the threads that do a build's work, in a mount namespace of their own.

The first piece of work starts one thread that leaves the process's mount namespace and then starts all the others, which inherit the new one: what
a step mounts is seen by nobody else and is gone with the process, however it dies, and a program that embeds the engine keeps its own namespace.
The crew has no fixed size: steps wait for their commands, not for a processor; `max_at_once` bounds it.
"""

from chandlery.errors import Cancelled, InternalError
from chandlery.solver.facts import Fact

TYPE_CHECKING = False
if TYPE_CHECKING:
    import queue
    import threading
    from collections.abc import Callable

    Work = Callable[[], Fact]
    OnFailure = Callable[[int, BaseException], Fact]

STOP_TIMEOUT_S = 30.0


class Crew:
    """`prepare` runs first in the thread that starts the others: it makes the namespace. `cancelled` is what long work watches."""

    def __init__(self, *, prepare: "Callable[[], None]", max_at_once: int = 64) -> None:
        self._prepare = prepare
        self._max_at_once = max_at_once
        self._busy = 0
        self._started = False
        self._tasks: queue.SimpleQueue[tuple[int, Work, OnFailure] | None]
        self._facts: queue.SimpleQueue[Fact | BaseException]
        self.cancelled = _LazyEvent()
        self._threads: list[threading.Thread] = []

    @property
    def is_busy(self) -> bool:
        return self._busy > 0

    def submit(self, vertex: int, work: "Work", on_failure: "OnFailure") -> None:
        """Have `work` done by a thread; its fact, or on_failure's, comes out of `next_fact`."""
        if not self._started:
            self._start()
        self._busy += 1
        self._tasks.put((vertex, work, on_failure))

    def next_fact(self) -> Fact:
        """The next fact, waiting for it; a signal's exception comes through here."""
        fact = self._facts.get()
        self._busy -= 1
        if isinstance(fact, BaseException):
            raise fact
        return fact

    def stop(self) -> None:
        """Tell running work to stop. Does not wait."""
        self.cancelled.set()

    def close(self) -> None:
        """Stop, and wait until every thread has ended; raises InternalError where one doesn't within a generous time."""
        if not self._started:
            return
        for _ in range(self._max_at_once + 1):
            self._tasks.put(None)
        self._spawner.join(STOP_TIMEOUT_S)
        for thread in self._threads:
            thread.join(STOP_TIMEOUT_S)
            if thread.is_alive():
                raise InternalError(f"{thread.name} did not end in {STOP_TIMEOUT_S:.0f} s")

    def _start(self) -> None:
        import queue
        import threading

        self._tasks = queue.SimpleQueue()
        self._facts = queue.SimpleQueue()
        self._spawner = threading.Thread(target=self._spawn, name="chandlery-crew", daemon=True)
        self._started = True
        self._spawner.start()

    def _spawn(self) -> None:
        """Make the namespace, then a thread for each piece of work; threads of its own so that they inherit the namespace."""
        import threading

        failure: BaseException | None = None
        try:
            self._prepare()
        except BaseException as error:
            failure = error
        slots = threading.Semaphore(self._max_at_once)
        while (task := self._tasks.get()) is not None:
            if failure is not None:
                self._facts.put(failure)
                continue
            slots.acquire()
            thread = threading.Thread(target=self._work, args=(task, slots), name=f"chandlery-step-{task[0]}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self, task: "tuple[int, Work, OnFailure]", slots: "threading.Semaphore") -> None:
        vertex, work, on_failure = task
        try:
            fact: Fact | BaseException = on_failure(vertex, Cancelled()) if self.cancelled.is_set() else work()
        except Exception as failure:
            fact = on_failure(vertex, failure)
        except BaseException as failure:
            fact = failure
        finally:
            slots.release()
        self._facts.put(fact)


class _LazyEvent:
    """A flag that can be waited for, without importing `threading` into builds that run nothing."""

    def __init__(self) -> None:
        self._is_set = False
        self._event: threading.Event | None = None

    def is_set(self) -> bool:
        return self._is_set

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

"""`Crew`: the threads that do a build's work, in a mount namespace of their own.

The first piece of work starts one thread that leaves the process's mount namespace and then starts all the others, which inherit the new one: what
a step mounts is seen by nobody else and is gone with the process, however it dies, and a program that embeds the engine keeps its own namespace.
The crew has no fixed size: steps wait for their commands, not for a processor; `max_at_once` bounds it.
"""

from chandlery.engine.stop_flag import StopFlag
from chandlery.errors import Cancelled
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

    def __init__(self, *, prepare: "Callable[[], None]", cancelled: StopFlag | None = None, max_at_once: int = 64) -> None:
        self._prepare = prepare
        self._max_at_once = max_at_once
        self._busy = 0
        self._started = False
        self._tasks: queue.SimpleQueue[tuple[int, Work, OnFailure] | None]
        self._facts: queue.SimpleQueue[Fact | BaseException]
        self.cancelled = cancelled or StopFlag()
        self._ended: threading.Event

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
        """Wait until every thread has ended, those of a stopped build at most STOP_TIMEOUT_S: what they do then ends with the process.

        A signal that comes meanwhile stops the build, and is raised when the threads have ended.
        """
        if not self._started:
            return
        self._tasks.put(None)
        try:
            self._wait()
        except BaseException:
            self.stop()
            self._wait()
            raise

    def _wait(self) -> None:
        """Not by joining the threads: one whose join a signal interrupts counts as ended from then on (bpo-45274)."""
        if self._ended.wait(STOP_TIMEOUT_S if self.cancelled.is_set() else None):
            self._spawner.join()

    def _start(self) -> None:
        import queue
        import threading

        self._tasks = queue.SimpleQueue()
        self._facts = queue.SimpleQueue()
        self._ended = threading.Event()
        self._spawner = threading.Thread(target=self._spawn, name="chandlery-crew", daemon=True)
        self._started = True
        self._spawner.start()

    def _spawn(self) -> None:
        """Make the namespace, then a thread for each piece of work that finds none idle; threads of its own so that they inherit the namespace."""
        import queue
        import threading

        failure: BaseException | None = None
        try:
            self._prepare()
        except BaseException as error:
            failure = error
        slots, idle = threading.Semaphore(self._max_at_once), threading.Semaphore(0)
        ready: queue.SimpleQueue[tuple[int, Work, OnFailure] | None] = queue.SimpleQueue()
        threads: list[threading.Thread] = []
        while (task := self._tasks.get()) is not None:
            if failure is not None:
                self._facts.put(failure)
                continue
            slots.acquire()
            ready.put(task)
            if not idle.acquire(blocking=False):
                threads.append(threading.Thread(target=self._work, args=(ready, slots, idle), name=f"chandlery-worker-{len(threads)}", daemon=True))
                threads[-1].start()
        for _ in threads:
            ready.put(None)
        for thread in threads:
            thread.join()
        self._ended.set()

    def _work(self, ready: "queue.SimpleQueue[tuple[int, Work, OnFailure] | None]", slots: "threading.Semaphore", idle: "threading.Semaphore") -> None:
        """One piece of work after the other: a thread brings a connection to the database along, which costs more than many a step's own work."""
        while (task := ready.get()) is not None:
            vertex, work, on_failure = task
            try:
                fact: Fact | BaseException = on_failure(vertex, Cancelled()) if self.cancelled.is_set() else work()
            except Exception as failure:
                fact = on_failure(vertex, failure)
            except BaseException as failure:
                fact = failure
            finally:
                idle.release()
                slots.release()
            self._facts.put(fact)

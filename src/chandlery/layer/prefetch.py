"""An iterator that runs ahead in a thread of its own, a bounded number of items, and always ends with its user."""

import queue
import threading
from collections.abc import Iterable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Generic, TypeVar

    T = TypeVar("T")
else:

    class Generic:
        def __class_getitem__(cls, _):
            return cls

    T = None


class _End:
    """The last item: what the source raised, or None."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure


class Prefetch(Generic[T]):
    """`with Prefetch(source, depth) as items: for item in items`. What `source` raises is raised at its place in the iteration.

    Leaving the block stops and joins the thread; a source that waits for a network or file is waited for until it yields or fails.
    """

    def __init__(self, source: Iterable[T], depth: int) -> None:
        self._source = source
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="layer-prefetch", daemon=True)

    def _run(self) -> None:
        failure = None
        try:
            for item in self._source:
                if self._stopped:
                    break
                self._queue.put(item)
        except BaseException as raised:
            failure = raised
        self._queue.put(_End(failure))

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._items()

    def _items(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                # a second look must see the end as well
                self._queue.put(item)
                if item.failure is not None:
                    raise item.failure
                return
            yield item

    def __exit__(self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None") -> None:
        self._stopped = True
        while self._thread.is_alive():
            # the thread may be waiting for room
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                pass
        self._thread.join()

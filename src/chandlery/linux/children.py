"""Python processes of our own that take a share of work bound by system calls.

They are spawned, not forked: the engine has threads and SQLite connections, and a forked child that frees an object of either may wait for a lock whose
holder doesn't exist in it, for ever. A child starts in about 20 ms, reads its jobs from a memory file at descriptor 0, and writes what it has
done into one at descriptor 1 that it shares with its parent. It has no other way to speak: what it doesn't finish, the parent does again, and so
meets the error itself.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX = 4


def available() -> int:
    """How many children make sense beside this process; 0 where Python can't be started again."""
    import sys

    if not sys.executable or not os.path.isfile(__file__):
        return 0
    return min(len(os.sched_getaffinity(0)), _MAX) - 1


class Children:
    """For one `with` block: start children, do one's own share, `wait`, read `done`. Leaving by an exception kills them."""

    def __init__(self, slots: int) -> None:
        import mmap

        self._file = os.memfd_create("chandlery-done", os.MFD_CLOEXEC)
        os.ftruncate(self._file, max(slots, 1))
        self.done: mmap.mmap = mmap.mmap(self._file, max(slots, 1))
        self._running: list[int] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is not None:
                import signal

                for child in self._running:
                    os.kill(child, signal.SIGKILL)
            self.wait()
        finally:
            self.done.close()
            os.close(self._file)

    def start(self, module: str, function: str, jobs: "Any") -> None:
        """Run `module.function(jobs, done, is_orphan)` in a child; `jobs` is anything that marshal knows. That it can't be started is no error."""
        import marshal
        import sys

        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        code = f"import sys; sys.path.insert(0, {root!r}); from chandlery.linux.children import run; from {module} import {function} as work; run(work)"
        payload = os.memfd_create("chandlery-jobs", os.MFD_CLOEXEC)
        try:
            with open(payload, "wb", closefd=False) as file:
                marshal.dump((os.getpid(), jobs), file)
            os.lseek(payload, 0, os.SEEK_SET)
            actions = [(os.POSIX_SPAWN_DUP2, payload, 0), (os.POSIX_SPAWN_DUP2, self._file, 1), (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)]
            arguments = (sys.executable, "-I", "-S", "-c", code)
            self._running.append(os.posix_spawn(sys.executable, arguments, {"LC_ALL": "C.UTF-8"}, file_actions=actions, setsigmask=()))
        except OSError:
            return
        finally:
            os.close(payload)

    def wait(self) -> None:
        """Until every child has ended."""
        while self._running:
            os.waitpid(self._running[-1], 0)
            self._running.pop()


def run(work: "Any") -> None:
    """In a child: do the work, and end without a word whatever happens."""
    import marshal
    import mmap

    try:
        with open(0, "rb") as file:
            parent, jobs = marshal.load(file)
        work(jobs, mmap.mmap(1, 0), lambda: os.getppid() != parent)
    finally:
        os._exit(0)

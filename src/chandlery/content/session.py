"""`Session`: one running build (or pull, or prune) and what it holds on to.

A session owns R/builds/<id>: an flocked file, its scratch and its leases. All three are void as soon as its process is gone, however it
went; `clean_dead_sessions` then removes the directory. Leases are a file beside the lock, not rows: a fully cached build takes twenty
of them, and a commit to the database with its checkpoint costs ten times what everything else it does there costs. They obey the
database's write lock all the same (layout.py, rule 2).
"""

import fcntl
import os
from itertools import count

from chandlery.content import faults
from chandlery.content.names import fresh_name
from chandlery.content.race import reach
from chandlery.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from chandlery.content.database import Transaction
    from chandlery.content.layout import StoreLayout
    from chandlery.content.store import Store

LEASE_KINDS = frozenset({"blob", "snapshot", "record", "volume", "image"})
_NEW = ".new"
_ATTEMPTS = 50


class Session:
    """Begin one with `store.begin()`, end it with `close()` or as a context manager. Threads may share it."""

    def __init__(self, layout: "StoreLayout") -> None:
        self._layout = layout
        with faults.translated(layout.root):
            self.id, self._lock = _make(layout.builds)
        self.directory = f"{layout.builds}/{self.id}"
        self._leases = -1
        self._numbers = count()

    def scratch(self, prefix: str) -> str:
        """A new empty directory of this session, with a short path, on the store's file system; it goes with the session."""
        path = f"{self.directory}/{prefix}{next(self._numbers)}"
        with faults.translated(self._layout.root):
            os.mkdir(path, 0o700)
        return path

    def scratch_file(self, prefix: str) -> str:
        """A path in this session's directory at which nothing is yet."""
        return f"{self.directory}/{prefix}{next(self._numbers)}"

    def machine_name(self, suffix: str) -> str:
        """A name for something outside of the store (a cgroup): no other store's build has it, and `machine_prefix` tells whose it is."""
        return f"{machine_prefix(self._layout)}{self.id}-{suffix}"

    def lease(self, tx: "Transaction", kind: str, *names: str) -> None:
        """Keep `names` ("blob": digest, "snapshot": id, "record": key, "volume": id, "image": name) until this session ends.

        Must be called in the transaction in which the caller saw that they are there, or before it looks for them on the disk:
        `tx`, which holds the write lock that prunes need, is the proof.
        """
        assert kind in LEASE_KINDS, kind
        del tx
        if not names:
            return
        with faults.translated(self._layout.root):
            if self._leases < 0:
                self._leases = os.open(f"{self.directory}/leases", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            # the first newline ends whatever a write that ran out of space may have left
            text = "".join(["\n", *[f"{kind} {name}\n" for name in names]]).encode()
            if os.write(self._leases, text) != len(text):
                raise faults.no_space(self._layout.root)

    def close(self) -> None:
        """Give everything back and remove the directory. What fails to go now is removed by the next build."""
        if self._lock < 0:
            return
        try:
            _remove(self.directory)
        finally:
            if self._leases >= 0:
                os.close(self._leases)
            os.close(self._lock)
            self._lock = self._leases = -1

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def machine_prefix(layout: "StoreLayout") -> str:
    """What the machine-wide names of this store's builds begin with: its directory's identity, in letters and digits, and a dot."""
    found = os.stat(layout.root)
    return f"{found.st_dev:x}x{found.st_ino:x}."


def live_leases(layout: "StoreLayout") -> dict[str, set[str]]:
    """What running sessions hold, names by kind. Exact for as long as the caller holds the database's write lock."""
    held: dict[str, set[str]] = {kind: set() for kind in LEASE_KINDS}
    for name in os.listdir(layout.builds):
        if not name.endswith(_NEW) and not _is_dead(f"{layout.builds}/{name}"):
            for kind, leased in _leases_in(f"{layout.builds}/{name}/leases"):
                held[kind].add(leased)
    return held


def dead_sessions(layout: "StoreLayout") -> list[str]:
    """Names of the directories that builds left whose process is gone."""
    return [name for name in os.listdir(layout.builds) if _is_dead(f"{layout.builds}/{name}")]


def clean_dead_sessions(store: "Store") -> int:
    """Remove what builds left whose process is gone; how many there were. Cheap when there are none."""
    builds = store.layout.builds
    removed = 0
    for name in os.listdir(builds):
        path = f"{builds}/{name}"
        lock = _dead_lock(path)
        if lock < 0:
            continue
        try:
            _remove(path)
            removed += 1
        finally:
            os.close(lock)
    return removed


def _make(builds: str) -> tuple[str, int]:
    """A new build directory, already locked when it gets its name: whoever sees it unlocked may remove it."""
    for _ in range(_ATTEMPTS):
        name = fresh_name()
        path = f"{builds}/{name}"
        lock = -1
        try:
            os.mkdir(path + _NEW, 0o700)
            lock = os.open(f"{path}{_NEW}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            reach("session.locked")
            os.rename(path + _NEW, path)
            return name, lock
        except (FileExistsError, FileNotFoundError, BlockingIOError):
            # the name is taken, or a cleaner met the directory before it was locked and took it for dead: draw again
            if lock >= 0:
                os.close(lock)
            if not os.path.isdir(builds):
                break
    raise StoreError(f"can't make a build directory in {builds}", code="store.damaged", hint="check that the directory exists and is writable")


def _dead_lock(path: str) -> int:
    """The lock of a session nobody holds, taken; -1 if it is alive, or was removed by another cleaner."""
    try:
        lock = os.open(f"{path}/lock", os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if path.endswith(_NEW) else 0), 0o600)
    except FileNotFoundError:
        return _lock_remains(path)
    except NotADirectoryError:
        return -1
    return _try_lock(lock)


def _lock_remains(path: str) -> int:
    """The lock of a directory without a lock file: what another cleaner, now dead, had begun to remove."""
    try:
        return _try_lock(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError:
        return -1


def _try_lock(lock: int) -> int:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return -1
    return lock


def _is_dead(path: str) -> bool:
    lock = _dead_lock(path)
    if lock >= 0:
        os.close(lock)
    return lock >= 0


def _leases_in(path: str) -> "Iterable[tuple[str, str]]":
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return
    for line in lines:
        kind, _, name = line.partition(" ")
        if kind in LEASE_KINDS:
            yield kind, name


def _remove(directory: str) -> None:
    """Remove a build directory whose lock we hold, the lock last, so that a crash in between leaves something recognisable."""
    leases, lock = f"{directory}/leases", f"{directory}/lock"
    for path in (leases, lock):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        reach("session.removing")
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError:
        _remove_with_scratch(directory)


def _remove_with_scratch(directory: str) -> None:
    """The thorough way. A mount left below is detached first: removal must not go into what is mounted there."""
    from chandlery.linux import libc
    from chandlery.linux.filesystem import mounts_below
    from chandlery.linux.removal import remove_tree

    for point in mounts_below(directory):
        libc.umount(point, 2)
    remove_tree(directory)

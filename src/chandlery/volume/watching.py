"""Which of a volume's files a step reads, watched beside it; or found out afterwards where that isn't permitted. Never an error, never in the step's way.

    fanotify     an open is a read (studies: every file, mapped ones too, within noise); queued by the kernel, taken from it a few times a second.
                 That of a directory tells that it was listed: the step may depend on what there is, but needs no file of it
    access time  where the volume is a copy instead of an overlay, through which no access time moves
    page cache   where neither works: what the kernel has in memory after the step may have been read. Too much rather than too little

https://man7.org/linux/man-pages/man7/fanotify.7.html
"""

import contextlib
import os
import stat
import threading

from chandlery.linux.fanotify import DELETED, IS_DIRECTORY
from chandlery.volume import nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chandlery.volume.attachment import Attachment

_PAUSE_S = 0.1


@contextlib.contextmanager
def watched(attachment: "Attachment", directory: str, targets: "Sequence[str]", *, is_copy: bool) -> "Iterator[None]":
    """Within the block what is read of an attached volume, mounted or copied at `directory`, is noted in the attachment."""
    try:
        watch = AccessTimes(directory, attachment.lowers) if is_copy else OpensWatch(attachment, directory, targets)
    except (OSError, RuntimeError):
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            attachment.read = watch.finish()
            attachment.listed = watch.listed


class OpensWatch:
    """Watches the overlay of an attachment, mounted at `directory`; `targets` are its places in the container.

    Raises OSError where that is not permitted.
    """

    def __init__(self, attachment: "Attachment", directory: str, targets: "Sequence[str]") -> None:
        from chandlery.linux.fanotify import Opens

        self._opens = Opens(directory)
        self._lowers, self._upper = attachment.lowers, attachment.upper
        self._prefixes = tuple(sorted((place.rstrip("/") + "/" for place in (directory, *targets)), key=len, reverse=True))
        # a volume at /cache may have a directory "cache" of its own
        self._is_ambiguous = any(nodes.lookup(self._lowers, prefix.strip("/")) for prefix in self._prefixes)
        self._met: set[str] = set()
        self._read: dict[str, int] = {}
        self.listed: set[str] = set()
        self._end, self._taken = threading.Event(), threading.Event()
        threading.Thread(target=self._work, name="chandlery-reads", daemon=True).start()

    def finish(self) -> dict[str, int]:
        """End watching: the files that were there before and that somebody opened, with their sizes. Nothing keeps the overlay busy then."""
        self._end.set()
        self._taken.wait()
        return self._read

    def _work(self) -> None:
        try:
            while not self._end.wait(_PAUSE_S):
                self._take()
            self._take()
        finally:
            self._taken.set()
            # for which the kernel takes its time (20 ms)
            self._opens.close()

    def _take(self) -> None:
        for path, size_bytes in self._opens.files():
            if path not in self._met:
                self._met.add(path)
                if size_bytes == IS_DIRECTORY:
                    self.listed.update(self._names(path + "/"))
                    continue
                self._read.update((name, size_bytes) for name in self._served(path))

    def _names(self, path: str) -> list[str]:
        """What a path may be called in the volume: once the container is gone its paths begin at the volume's root, and a directory of it may be called so."""
        names = [path[len(prefix) :] for prefix in self._prefixes if path.startswith(prefix)][:1] or [path]
        return [name.strip("/") for name in ((*names, path) if self._is_ambiguous else names)]

    def _served(self, path: str) -> list[str]:
        """The name in the volume of a file that it had when the step began, none if the step made it; more than one where that can't be told apart."""
        # once the container is gone its paths begin at the volume's root
        names = [path[len(prefix) :] for prefix in self._prefixes if path.startswith(prefix)][:1] or [path.lstrip("/")]
        if self._is_ambiguous or path.endswith(DELETED):
            names += [path.lstrip("/")]
            names += [name.removesuffix(DELETED) for name in names]
            return [name for name in names if _size_of_file(self._lowers, name) is not None]
        return [] if self._upper and _is_there(f"{self._upper}/{names[0]}") else names


class AccessTimes:
    """Watches the copy of a volume in `directory` by the times of access, which the kernel moves at the first read of a new file (relatime).

    Raises OSError where they don't.
    """

    def __init__(self, directory: str, lowers: "Sequence[str]") -> None:
        if os.statvfs(directory).f_flag & os.ST_NOATIME:
            raise OSError("no access times are kept here")
        self._directory, self._lowers = directory, tuple(lowers)
        self.listed: set[str] = set()
        self._before = {path: found.st_atime_ns for path, found in _files_in(directory)}

    def finish(self) -> dict[str, int]:
        read = {}
        for path, found in _files_in(self._directory):
            name = path[len(self._directory) + 1 :]
            if self._before.get(path, found.st_atime_ns) != found.st_atime_ns and (size_bytes := _size_of_file(self._lowers, name)) is not None:
                read[name] = size_bytes
        return read


def in_memory(files: "dict[str, str]") -> list[str]:
    """Of `files` (name -> where it is), those that somebody may have read, by the kernel's page cache. Raises OSError where the kernel doesn't tell."""
    from chandlery.linux.page_cache import is_cached

    found = []
    for name, path in files.items():
        try:
            if is_cached(path):
                found.append(name)
        except FileNotFoundError:
            continue
    return found


def _is_there(path: str) -> bool:
    """Whether the upper has a file; a whiteout is none."""
    try:
        return not nodes.is_whiteout(os.lstat(path))
    except OSError:
        return False


def _size_of_file(lowers: tuple[str, ...], name: str) -> int | None:
    """The size of a file that the volume held when the step began; None if it held none of that name."""
    try:
        path = nodes.lookup(lowers, name)
        found = os.lstat(path) if path else None
    except OSError:
        return None
    return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None


def _files_in(directory: str) -> "Iterator[tuple[str, os.stat_result]]":
    waiting = [directory]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path, entry.stat(follow_symlinks=False)

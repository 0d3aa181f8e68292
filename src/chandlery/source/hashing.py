"""Hash many files of a context, with every core.

Small files are bound by system calls that hold Python's lock in between, so threads gain nothing, and each process of its own nearly a core
(10,000 files: 78 ms alone, 45 ms with one child; linux/children.py). Whatever a child could not hash, the parent hashes again, and so raises the error.
"""

import os

from chandlery.errors import ContextError
from chandlery.linux import children
from chandlery.snapshot.checksum import kept_xattrs
from chandlery.snapshot.tree import open_directory
from chandlery.source.stat_cache import pack_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

    Job = tuple[str, list[tuple[str, bytes, int]]]  # a directory, and (name, packed stat, size) of files in it

MANY_FILES = 2_000
MANY_BYTES = 64 << 20
_FILE_COST = 48 << 10  # opening a file takes as long as hashing this many bytes
_CHUNK = 1 << 20
PLAIN, WITH_XATTRS = b"\x01", b"\x02"
_SLOT = 33  # a mark, zero until it is done, and a sha256
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def hash_files(root: str, jobs: "list[Job]") -> list[bytes]:
    """For every file, in order, a byte that says whether it has xattrs that count (PLAIN, WITH_XATTRS), and its sha256.

    Raises ContextError (codes context.changed, context.unreadable).
    """
    count = sum(len(files) for _, files in jobs)
    total = sum(size for _, files in jobs for _, _, size in files)
    helpers = children.available() if count >= MANY_FILES or total >= MANY_BYTES else 0
    if helpers < 1:
        return [digest for directory, files in jobs for digest in _hash_directory(root, directory, files)]
    return _hash_shared(root, jobs, count, helpers)


def _hash_shared(root: str, jobs: "list[Job]", count: int, helpers: int) -> list[bytes]:
    shares = _split(jobs, helpers + 1)
    with children.Children(count * _SLOT) as others:
        for place, share in shares[1:]:
            others.start(__name__, "hash_share", (root, place, share))
        out = [digest for directory, files in shares[0][1] for digest in _hash_directory(root, directory, files)]
        others.wait()
        for place, share in shares[1:]:
            for directory, files in share:
                done = [others.done[(place + at) * _SLOT : (place + at + 1) * _SLOT] for at in range(len(files))]
                place += len(files)
                out.extend(done if all(slot[0] for slot in done) else _hash_directory(root, directory, files))
    return out


def hash_share(jobs: "tuple[str, int, list[Job]]", done: "mmap", is_orphan: "Callable[[], bool]") -> None:
    """What a child does: hash its share and write each answer into its slot."""
    root, place, share = jobs
    for directory, files in share:
        if is_orphan():
            return
        for digest in _hash_directory(root, directory, files):
            done[place * _SLOT : (place + 1) * _SLOT] = digest
            place += 1


def _split(jobs: "list[Job]", parts: int) -> "list[tuple[int, list[Job]]]":
    """Jobs in `parts` runs of about equal cost, each with the place of its first file."""
    costs = [sum(size + _FILE_COST for _, _, size in files) for _, files in jobs]
    limit = sum(costs) / parts
    shares: list[tuple[int, list[Job]]] = [(0, [])]
    spent, place = 0.0, 0
    for job, cost in zip(jobs, costs, strict=True):
        if spent + cost / 2 > limit * len(shares) and len(shares) < parts:
            shares.append((place, []))
        shares[-1][1].append(job)
        spent += cost
        place += len(job[1])
    return shares


def _hash_directory(root: str, directory: str, files: list[tuple[str, bytes, int]]) -> list[bytes]:
    """For each file a mark (see hash_files) and its sha256."""
    from hashlib import sha256

    out = []
    try:
        at = open_directory(root, directory)
        try:
            for name, stat, size in files:
                file = os.open(name, _FLAGS, dir_fd=at)
                try:
                    before = os.fstat(file)
                    # Asking for little more than there is matters: a fixed megabyte would be mapped and unmapped for every file.
                    data = os.read(file, min(size + 1, _CHUNK))
                    hasher = sha256(data)
                    while len(data) == _CHUNK and (data := os.read(file, _CHUNK)):
                        hasher.update(data)
                    mark = WITH_XATTRS if kept_xattrs(file) else PLAIN
                    if packed(before) != stat or packed(os.fstat(file)) != stat:
                        raise changed(directory, name)
                finally:
                    os.close(file)
                out.append(mark + hasher.digest())
        finally:
            os.close(at)
    except FileNotFoundError as error:
        raise changed(directory, os.fsdecode(error.filename or "")) from error
    except OSError as error:
        raise unreadable(directory, error) from error
    return out


def packed(found: os.stat_result) -> bytes:
    return pack_stat(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_nlink)


def changed(directory: str, name: str) -> ContextError:
    path = f"{directory}/{name}" if directory else name
    return ContextError(
        f"{path} changed while the build read it", code="context.changed", hint="build again when nothing writes to the context, or exclude it in .dockerignore"
    )


def unreadable(directory: str, error: OSError) -> ContextError:
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return ContextError(
        f"the context's {os.path.join(directory, name) or '.'} can't be read: {error.strerror}",
        code="context.unreadable",
        hint="make it readable for this user, or exclude it in .dockerignore",
    )

"""What a context knows of one directory: names and packed stats in columns, not objects, because a build has tens of thousands and may need none."""

import os
import stat as modes

from chandlery.oci.digest import hasher
from chandlery.snapshot import checksum
from chandlery.snapshot.tree import Entry, open_directory
from chandlery.source import hashing
from chandlery.source.stat_cache import STAT, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.source.ignore import State

S_IFMT = 0o170000


class Directory:
    """One listed directory: the names that belong to the context, subdirectories apart from the rest, both sorted."""

    __slots__ = (
        "digest",
        "hashes",
        "is_changed",
        "is_kept",
        "listing",
        "names",
        "own_digest",
        "path",
        "state",
        "stats",
        "subdirectories",
        "with_xattrs",
        "xattrs",
    )

    def __init__(self, path: str, state: "State") -> None:
        self.path = path
        self.state = state
        self.names: list[str] = []
        self.stats = b""
        self.hashes = b""
        self.own_digest = b""
        self.digest = b""
        self.xattrs = checksum.NO_XATTRS
        self.subdirectories: dict[str, tuple[int, bool, State]] = {}
        self.with_xattrs: set[str] = set()  # of the hashed files
        self.is_kept = False
        self.is_changed = False  # the stat cache should hear of it
        self.listing: dict[str, Entry] | None = None  # by name, in order


def fill_hashes(root: str, wanted: list[tuple[Directory, list[int]]]) -> None:
    """Hash the regular files at these places, as far as their hashes aren't known. Raises ContextError (context.changed, context.unreadable)."""
    size = len(UNKNOWN)
    jobs = []
    for found, places in wanted:
        files = []
        for at in places:
            if found.hashes[at * size : (at + 1) * size] == UNKNOWN:
                raw = found.stats[at * STAT.size : (at + 1) * STAT.size]
                stat = STAT.unpack(raw)
                if stat[5] & S_IFMT == modes.S_IFREG:
                    files.append((at, found.names[at], raw, stat[2]))
        if files:
            jobs.append((found, files))
    hashes = iter(hashing.hash_files(root, [(found.path, [file[1:] for file in files]) for found, files in jobs]))
    for found, files in jobs:
        filled = bytearray(found.hashes)
        for at, name, *_ in files:
            answer = next(hashes)
            filled[at * size : (at + 1) * size] = answer[1:]
            if answer[:1] == hashing.WITH_XATTRS:
                found.with_xattrs.add(name)
            else:
                found.with_xattrs.discard(name)
        found.hashes = bytes(filled)
        found.is_changed, found.listing = True, None


def digest_own(root: str, found: Directory) -> bytes:
    """sha256 over the records of what is no directory (checksum.py), sorted."""
    size = len(UNKNOWN)
    lines = []
    at = open_directory(root, found.path) if found.names else -1
    try:
        for place, (name, stat) in enumerate(zip(found.names, STAT.iter_unpack(found.stats), strict=True)):
            mode = stat[5]
            xattrs = checksum.NO_XATTRS
            if mode & S_IFMT == modes.S_IFREG:
                payload = found.hashes[place * size : (place + 1) * size]
                if name in found.with_xattrs:
                    xattrs = checksum.encode_xattrs(checksum.kept_xattrs(os.path.join(root, found.path, name)))
            elif modes.S_ISLNK(mode):
                payload = checksum.link_payload(os.readlink(name, dir_fd=at))
            else:
                rdev = os.stat(name, dir_fd=at, follow_symlinks=False).st_rdev
                payload = checksum.device_payload(rdev) if modes.S_ISCHR(mode) or modes.S_ISBLK(mode) else b""
            lines.append((os.fsencode(name), checksum.record(mode, 0, 0, payload, xattrs)))
    finally:
        if at >= 0:
            os.close(at)
    return hasher(b"".join(name + b"\0" + line for name, line in sorted(lines))).digest()


def make_entry(name: str, stat: "tuple[int, ...]", digest: bytes = b"", has_xattrs: bool = False) -> Entry:
    entry = Entry.__new__(Entry)
    entry.name = name
    entry.dev, entry.ino, entry.size, entry.mtime_ns, entry.ctime_ns, entry.mode, entry.nlink = stat
    entry.uid = entry.gid = entry.rdev = 0
    entry.sha256 = digest
    entry.has_xattrs = has_xattrs
    return entry


def unhashed(found: Directory) -> list[int]:
    size = len(UNKNOWN)
    return [at for at in range(len(found.names)) if found.hashes[at * size : (at + 1) * size] == UNKNOWN]

"""What a step wrote into a directory of `--deps-cache`, less what is no change and what must not be kept; its overlay's upper, before it is committed.

A tool that writes a file anew as it was (Maven does so with metadata that it asked for again) has changed nothing: else every build would write the tar.
"""

import os
import stat

from chandlery.linux import xattr
from chandlery.volume import nodes

_CHUNK = 1 << 20


def reduce(upper: str, lowers: tuple[str, ...], forms: tuple[bytes, ...]) -> None:
    """Remove the files of `upper` that are as `lowers` (bottom first) have them, and those that contain one of `forms`. Raises OSError."""
    # directories with their names in the volume; None where they stand for another place, so that paths don't say what is below them
    pending: list[tuple[str, str | None]] = [(upper, "")]
    while pending:
        directory, name = pending.pop()
        with os.scandir(directory) as listing:
            children = list(listing)
        for child in children:
            inside = None if name is None else nodes.below(name, child.name)
            found = child.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                pending.append((child.path, None if _is_elsewhere(child.path) else inside))
            elif stat.S_ISREG(found.st_mode):
                is_same = inside is not None and _is_same(child.path, found, nodes.lookup(lowers, inside))
                if is_same or (forms and _holds(child.path, found, forms)):
                    os.unlink(child.path)


def _is_elsewhere(path: str) -> bool:
    names = xattr.names(path)
    return any(prefix + mark in names for prefix in xattr.OVERLAY_PREFIXES for mark in ("redirect", "opaque"))


def _is_same(path: str, found: os.stat_result, below: str) -> bool:
    if not below:
        return False
    other = os.lstat(below)
    if (found.st_mode, found.st_uid, found.st_gid, found.st_size) != (other.st_mode, other.st_uid, other.st_gid, other.st_size):
        return False
    with open(path, "rb") as one, open(below, "rb") as two:
        while data := one.read(_CHUNK):
            if data != two.read(_CHUNK):
                return False
    return True


def _holds(path: str, found: os.stat_result, forms: tuple[bytes, ...]) -> bool:
    if not found.st_size:
        return False
    import mmap

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(form) >= 0 for form in forms)

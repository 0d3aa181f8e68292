"""`Tree`: a read-only directory tree that paths are selected from, digested and copied: a context or a mounted view.

It owns the rule that nothing outside the root is ever looked at: symbolic links are resolved by us, inside the root (as chroot would),
one component at a time, and directories are opened without following links.
"""

import os
import stat as modes

from chandlery.errors import InputError
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Resolvable(Protocol):
        """What links are resolved in. Paths are relative to a root, "" is the root itself."""

        def lookup(self, path: str) -> "Entry | None":
            """The entry of a path whose parents are real directories; not followed itself. None where there is none."""

        def read_link(self, path: str) -> str: ...

    class Tree(Resolvable, Protocol):
        """What is selected, digested and copied. `root` is its directory; files of a context (`is_context`) may change and are checked."""

        root: str
        is_context: bool

        def entries(self, directory: str) -> "list[Entry]":
            """What is in a directory, sorted by name."""

        def digest_of(self, path: str) -> bytes:
            """The content digest (checksum.py) of a regular file or directory."""


MAX_DEPTH = 400  # nobody's sources are deeper, and what is costs descriptors and stack at every level
MAX_LINKS = 255  # what Go's and the kernel's resolvers allow, or fewer


class Entry:
    """One name in a directory. `sha256` is b"" and `has_xattrs` True where nobody looked yet."""

    __slots__ = ("ctime_ns", "dev", "gid", "has_xattrs", "ino", "mode", "mtime_ns", "name", "nlink", "rdev", "sha256", "size", "uid")

    def __init__(self, name: str, found: os.stat_result) -> None:
        self.name = name
        self.mode = found.st_mode
        self.uid = found.st_uid
        self.gid = found.st_gid
        self.size = found.st_size
        self.mtime_ns = found.st_mtime_ns
        self.ctime_ns = found.st_ctime_ns
        self.dev = found.st_dev
        self.ino = found.st_ino
        self.nlink = found.st_nlink
        self.rdev = found.st_rdev
        self.sha256 = b""
        self.has_xattrs = True

    @property
    def is_directory(self) -> bool:
        return modes.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return modes.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return modes.S_ISREG(self.mode)


@value
class Match:
    """What a source pattern selected: the `name` that it has in a target directory, and its `path` with links resolved."""

    name: str
    path: str


def join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def check_depth(levels: int, path: str = "") -> None:
    """Raises InputError (code copy.too-deep) beyond MAX_DEPTH directories inside each other."""
    if levels > MAX_DEPTH:
        name = f"/{path[:60]}..." if path else "a directory"
        hint = "exclude it, or flatten it: such trees are made by mistakes and attacks"
        raise InputError(f"{name} is nested more than {MAX_DEPTH} directories deep", code="copy.too-deep", hint=hint)


def clean(path: str) -> str:
    """A path relative to the root, without "." and ".." and doubled slashes; ".." stops at the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def resolve(tree: "Resolvable", path: str, *, follows_last: bool = True) -> str:
    """`path` with every symbolic link resolved inside the root; what doesn't exist is kept as it is written.

    Raises InputError (code copy.link-loop).
    """
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    hops = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del done[-1:]
            continue
        here = "/".join([*done, part])
        found = tree.lookup(here) if follows_last or waiting else None
        if found is None or not found.is_link:
            done.append(part)
            continue
        hops += 1
        if hops > MAX_LINKS:
            raise InputError(f"/{clean(path)}: too many symbolic links", code="copy.link-loop", hint="a link leads back to itself")
        target = tree.read_link(here)
        if target.startswith("/"):
            done.clear()
        waiting.extend(piece for piece in reversed(target.split("/")) if piece not in ("", "."))
    return "/".join(done)


def lstat_beneath(root: str, path: str) -> os.stat_result | None:
    """The stat of a path none of whose parents is a link; None where there is none."""
    parent, _, name = path.rpartition("/")
    try:
        at = open_directory(root, parent)
    except OSError:
        return None
    try:
        return os.stat(name or ".", dir_fd=at, follow_symlinks=False)
    except OSError:
        return None
    finally:
        os.close(at)


def read_link(root: str, path: str) -> str:
    """The target of a symbolic link none of whose parents is a link."""
    parent, _, name = path.rpartition("/")
    at = open_directory(root, parent)
    try:
        return os.readlink(name, dir_fd=at)
    finally:
        os.close(at)


def open_directory(root: str, path: str) -> int:
    """A descriptor of a directory beneath `root`, no component of `path` being a link; the caller closes it. Raises OSError."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.split("/") if path else ():
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at

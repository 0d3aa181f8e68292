"""`LocalContext`: the files that a build may copy from a directory, as values and digests.

It owns one look at the directory for a whole build: every directory is listed once, every file hashed at most once, only what some instruction
selects is read at all, and what is excluded (ignore.py) is not there. Files count as 0:0, so that two machines agree. Every answer refers to the files
as they were listed; reading one that has changed since raises ContextError (code context.changed). Safe for threads.
"""

import os
import stat as modes
from _thread import RLock
from hashlib import sha256
from time import time_ns as now_ns

from chandlery.errors import ContextError, InputError
from chandlery.snapshot import checksum
from chandlery.snapshot.tree import Entry, check_depth, clean, join, open_directory, read_link, resolve
from chandlery.source import hashing
from chandlery.source.ignore import Ignore
from chandlery.source.stat_cache import STAT, UNKNOWN, StatCache, pack_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.oci.digest import Digest
    from chandlery.source.ignore import State

_S_IFMT, _S_IFDIR, _S_IFREG = 0o170000, modes.S_IFDIR, modes.S_IFREG
_NEAREST = 3


class _Directory:
    """One listed directory: the names that belong to the context, subdirectories apart from the rest, both sorted."""

    __slots__ = ("digest", "hashes", "is_kept", "names", "own_digest", "path", "state", "stats", "subdirectories", "with_xattrs", "xattrs")

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


class LocalContext:
    """`root` is a directory; `stat_cache_path` a file in the store, "" for none. Raises ContextError (code context.unreadable)."""

    is_context = True

    def __init__(self, root: str, ignore: Ignore | None = None, *, stat_cache_path: str = "") -> None:
        self.root = os.path.realpath(root)
        self.ignore = ignore or Ignore()
        self._cache_path = stat_cache_path
        self._cache: StatCache | None = None
        self._listed: dict[str, _Directory] = {}
        self._scanned_ns = now_ns()
        self._lock = RLock()

    # -- what a Tree answers

    def entries(self, directory: str) -> list[Entry]:
        """The context's part of a directory, sorted by name; hashes are filled in where they are known."""
        with self._lock:
            found = self._list(directory)
            size = len(UNKNOWN)
            out = []
            for at, (name, stat) in enumerate(zip(found.names, STAT.iter_unpack(found.stats), strict=True)):
                digest = found.hashes[at * size : (at + 1) * size]
                out.append(_entry(name, stat, b"" if digest == UNKNOWN else digest, name in found.with_xattrs))
            out.extend(_entry(name, (0, 0, 0, self._mtime(join(directory, name)), 0, mode, 1)) for name, mode in self._subdirectories(found))
            return sorted(out, key=lambda entry: os.fsencode(entry.name))

    def lookup(self, path: str) -> Entry | None:
        parent, _, name = path.rpartition("/")
        try:
            with self._lock:
                if not path:
                    return _entry("", (0, 0, 0, os.stat(self.root).st_mtime_ns, 0, modes.S_IFDIR | 0o755, 1))
                if parent and not self._is_directory(parent):
                    return None
                found = self._list(parent)
                if name in found.subdirectories:
                    mode = next((mode for below, mode in self._subdirectories(found) if below == name), None)
                    return None if mode is None else _entry(name, (0, 0, 0, self._mtime(path), 0, mode, 1))
                return next((entry for entry in self.entries(parent) if entry.name == name), None)
        except OSError as error:
            raise hashing.unreadable(path, error) from error

    def read_link(self, path: str) -> str:
        return read_link(self.root, path)

    def digest_of(self, path: str) -> bytes:
        with self._lock:
            if path and not self._is_directory(path):
                parent, _, name = path.rpartition("/")
                found = self._list(parent)
                at = found.names.index(name)
                self._hash([(found, [at])])
                return found.hashes[at * len(UNKNOWN) : (at + 1) * len(UNKNOWN)]
            below = list(self._below(path))
            self._hash([(found, _unhashed(found)) for found in below if found.own_digest == b""])
            for found in reversed(below):
                self._digest(found)
            return self._listed[path].digest

    # -- what a build asks

    def digest(self, sources: tuple[str, ...], *, allows_wildcards: bool = True) -> "Digest":
        """The content digest of what the sources select; raises ContextError (code context.missing)."""
        with self._lock:
            try:
                return checksum.digest_selection(self, sources, allows_wildcards=allows_wildcards)
            except InputError as error:
                if error.code != "copy.missing-source":
                    raise
                raise self._missing(sources, allows_wildcards=allows_wildcards) from error
            finally:
                self.save()

    def read_file(self, path: str, max_bytes: int) -> bytes:
        """A file's content whether it is excluded or not (the Dockerfile, the ignore file); links are followed inside the root.

        Raises ContextError (codes context.missing, context.too-large, context.unreadable).
        """
        followed = resolve(checksum.ViewTree(self.root), clean(path))
        parent, _, name = followed.rpartition("/")
        try:
            at = open_directory(self.root, parent)
            try:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
            finally:
                os.close(at)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ContextError(f"there is no {path} in {self.root}", code="context.missing", hint="check the name, or name another file") from error
        except OSError as error:
            raise hashing.unreadable(parent, error) from error
        try:
            if not modes.S_ISREG(os.fstat(file).st_mode):
                raise ContextError(f"{path} in {self.root} is not a file", code="context.unreadable", hint="name a regular file")
            data = b""
            while len(data) <= max_bytes and (more := os.read(file, max_bytes + 1 - len(data))):
                data += more
        finally:
            os.close(file)
        if len(data) > max_bytes:
            raise ContextError(f"{path} is larger than {max_bytes} bytes", code="context.too-large", hint="check that it is the file you meant")
        return data

    def walk(self, path: str = "") -> "Iterator[str]":
        """The paths that belong to the context, below `path`, directories first."""
        for entry in self.entries(path):
            yield join(path, entry.name)
            if entry.is_directory:
                yield from self.walk(join(path, entry.name))

    def save(self) -> None:
        """Keep what was hashed for the next build."""
        if self._cache is not None:
            self._cache.save()

    # -- listing

    def _list(self, path: str) -> _Directory:
        found = self._listed.get(path)
        if found is None:
            check_depth(path.count("/"), path)
            parent, _, name = path.rpartition("/")
            state = self.ignore.root_state if not path else self._list(parent).subdirectories[name][2]
            try:
                at = open_directory(self.root, path)
                try:
                    found = self._scan(at, path, state)
                finally:
                    os.close(at)
            except OSError as error:
                raise hashing.unreadable(path, error) from error
        return found

    def _scan(self, at: int, path: str, state: "State") -> _Directory:
        """List the open directory `at`: the hot loop of a cached build."""
        found = _Directory(path, state)
        kept: dict[str, bytes] = {}
        subdirectories = found.subdirectories
        judge = self.ignore.step if self.ignore else None
        prefix = path + "/" if path else ""
        pack, below, is_excluded = pack_stat, state, False
        with os.scandir(at) as listing:
            for item in listing:
                name = item.name
                if judge is not None:
                    is_excluded, below = judge(prefix + name, state)
                    if is_excluded and not (item.is_dir(follow_symlinks=False) and self.ignore.may_reinclude_below(prefix + name, below)):
                        continue
                stat = item.stat(follow_symlinks=False)
                mode = stat.st_mode
                if mode & _S_IFMT == _S_IFDIR:
                    subdirectories[name] = (mode, is_excluded, below)
                else:
                    kept[name] = pack(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, mode, stat.st_nlink)
        found.names = sorted(kept)
        found.stats = b"".join([kept[name] for name in found.names])
        if pairs := checksum.kept_xattrs(at):
            found.xattrs = checksum.encode_xattrs(pairs)
        self._recall(found)
        self._listed[path] = found
        return found

    def _recall(self, found: _Directory) -> None:
        """Take over what the stat cache knows: everything at once if nothing changed, else name by name."""
        if self._cache is None:
            self._cache = StatCache(self._cache_path)
        table = self._cache.table(found.path)
        if table is None:
            found.hashes = UNKNOWN * len(found.names)
            return
        names, stats, hashes, with_xattrs, digest = table
        found.with_xattrs = set(with_xattrs.split("/")) if with_xattrs else set()
        if stats == found.stats and names == "/".join(found.names):
            found.hashes, found.own_digest = hashes, digest
            return
        size, hash_size = STAT.size, len(UNKNOWN)
        old = {name: at for at, name in enumerate(names.split("/"))}
        recalled = []
        for at, name in enumerate(found.names):
            was = old.get(name, -1)
            is_same = was >= 0 and stats[was * size : (was + 1) * size] == found.stats[at * size : (at + 1) * size]
            recalled.append(hashes[was * hash_size : (was + 1) * hash_size] if is_same else UNKNOWN)
        found.hashes = b"".join(recalled)

    def _below(self, path: str) -> "Iterator[_Directory]":
        """Every directory from `path` down, parents first."""
        waiting = [path]
        while waiting:
            found = self._list(waiting.pop())
            yield found
            waiting.extend(join(found.path, name) for name in found.subdirectories)

    def _subdirectories(self, found: _Directory) -> list[tuple[str, int]]:
        """Names and modes of the subdirectories that belong: an excluded one does if something below it came back."""
        return [
            (name, mode) for name, (mode, is_excluded, _) in found.subdirectories.items() if not is_excluded or self._holds_something(join(found.path, name))
        ]

    def _holds_something(self, path: str) -> bool:
        found = self._list(path)
        return bool(found.names) or any(not excluded or self._holds_something(join(path, name)) for name, (_, excluded, _) in found.subdirectories.items())

    def _is_directory(self, path: str) -> bool:
        """Whether a path is a directory of the context, every parent being one."""
        if path in self._listed:
            return True
        parent, _, name = path.rpartition("/")
        return (not parent or self._is_directory(parent)) and name in self._list(parent).subdirectories

    def _mtime(self, path: str) -> int:
        return os.stat(os.path.join(self.root, path), follow_symlinks=False).st_mtime_ns

    # -- hashing

    def _hash(self, wanted: "list[tuple[_Directory, list[int]]]") -> None:
        """Fill in the hashes of the files at these places, links and devices too (a hash of their record's payload)."""
        size = len(UNKNOWN)
        jobs = []
        for found, places in wanted:
            files = []
            for at in places:
                if found.hashes[at * size : (at + 1) * size] == UNKNOWN:
                    raw = found.stats[at * STAT.size : (at + 1) * STAT.size]
                    stat = STAT.unpack(raw)
                    if stat[5] & _S_IFMT == _S_IFREG:
                        files.append((at, found.names[at], raw, stat[2]))
            if files:
                jobs.append((found, files))
        hashes = iter(hashing.hash_files(self.root, [(found.path, [file[1:] for file in files]) for found, files in jobs]))
        for found, files in jobs:
            filled = bytearray(found.hashes)
            for at, name, *_ in files:
                answer = next(hashes)
                filled[at * size : (at + 1) * size] = answer[1:]
                if answer[:1] == hashing.WITH_XATTRS:
                    found.with_xattrs.add(name)
            found.hashes = bytes(filled)
            self._remember(found)

    def _digest(self, found: _Directory) -> None:
        if not found.own_digest:
            found.own_digest = self._digest_own(found)
            self._remember(found)
        below = []
        found.is_kept = bool(found.names)
        for name in sorted(found.subdirectories, key=os.fsencode):
            mode, is_excluded, _ = found.subdirectories[name]
            sub = self._listed[join(found.path, name)]
            if not is_excluded or sub.is_kept:
                below.append(os.fsencode(name) + b"\0" + checksum.record(mode, 0, 0, sub.digest, sub.xattrs))
                found.is_kept = True
        found.digest = sha256(found.own_digest + b"".join(below)).digest()

    def _digest_own(self, found: _Directory) -> bytes:
        """sha256 over the records of what is no directory (checksum.py), sorted."""
        size = len(UNKNOWN)
        lines = []
        at = open_directory(self.root, found.path) if found.names else -1
        try:
            for place, (name, stat) in enumerate(zip(found.names, STAT.iter_unpack(found.stats), strict=True)):
                mode = stat[5]
                xattrs = checksum.NO_XATTRS
                if mode & _S_IFMT == _S_IFREG:
                    payload = found.hashes[place * size : (place + 1) * size]
                    if name in found.with_xattrs:
                        xattrs = checksum.encode_xattrs(checksum.kept_xattrs(os.path.join(self.root, found.path, name)))
                elif modes.S_ISLNK(mode):
                    payload = checksum.link_payload(os.readlink(name, dir_fd=at))
                else:
                    rdev = os.stat(name, dir_fd=at, follow_symlinks=False).st_rdev
                    payload = checksum.device_payload(rdev) if modes.S_ISCHR(mode) or modes.S_ISBLK(mode) else b""
                lines.append((os.fsencode(name), checksum.record(mode, 0, 0, payload, xattrs)))
        finally:
            if at >= 0:
                os.close(at)
        return sha256(b"".join(name + b"\0" + line for name, line in sorted(lines))).digest()

    def _remember(self, found: _Directory) -> None:
        if self._cache is not None:
            table = ("/".join(found.names), found.stats, found.hashes, "/".join(sorted(found.with_xattrs)), found.own_digest)
            self._cache.put(found.path, table, scanned_ns=self._scanned_ns)

    # -- what to say when something isn't there

    def _missing(self, sources: tuple[str, ...], *, allows_wildcards: bool) -> ContextError:
        for source in sources:
            try:
                checksum.digest_selection(self, (source,), allows_wildcards=allows_wildcards)
            except InputError:
                path = clean(source)
                if os.path.lexists(os.path.join(self.root, path)) and self.ignore.excludes(path):
                    message, hint = f"{path} is excluded by .dockerignore", f'take it back there with "!{path}", or copy something else'
                else:
                    message, hint = f"there is no {path} in the build context {self.root}", self._suggest(path)
                return ContextError(message, code="context.missing", hint=hint)
        return ContextError("a source went away while the build looked at it", code="context.changed", hint="build again")

    def _suggest(self, path: str) -> str:
        from difflib import get_close_matches

        parent, _, name = path.rpartition("/")
        while parent and not self._is_directory(parent):
            parent, _, name = parent.rpartition("/")
        names = [entry.name for entry in self.entries(parent)]
        near = get_close_matches(name, names, _NEAREST, 0.5)
        if near:
            return "did you mean " + " or ".join(join(parent, other) for other in near) + "?"
        return "paths are relative to the context, not to the Dockerfile"


def _entry(name: str, stat: "tuple[int, ...]", digest: bytes = b"", has_xattrs: bool = False) -> Entry:
    entry = Entry.__new__(Entry)
    entry.name = name
    entry.dev, entry.ino, entry.size, entry.mtime_ns, entry.ctime_ns, entry.mode, entry.nlink = stat
    entry.uid = entry.gid = entry.rdev = 0
    entry.sha256 = digest
    entry.has_xattrs = has_xattrs
    return entry


def _unhashed(found: _Directory) -> list[int]:
    size = len(UNKNOWN)
    return [at for at in range(len(found.names)) if found.hashes[at * size : (at + 1) * size] == UNKNOWN]

"""`LocalContext`: the files that a build may copy from a directory, as values and digests.

It owns one look at the directory for a whole build: every directory is listed once, every file hashed at most once, only what some instruction
selects is read at all, and what is excluded (ignore.py) is not there. Files count as 0:0, so that two machines agree. Every answer refers to the files
as they were listed; reading one that has changed since raises ContextError (code context.changed). Safe for threads.
"""

import os
import stat as modes
from _thread import RLock
from time import time_ns as now_ns

from chandlery.errors import ContextError, InputError
from chandlery.oci.digest import hasher
from chandlery.snapshot import checksum
from chandlery.snapshot.selection import select
from chandlery.snapshot.tree import Entry, check_depth, clean, join, open_directory, read_link, resolve
from chandlery.source import hashing
from chandlery.source.ignore import Ignore
from chandlery.source.listing import S_IFMT, Directory, digest_own, fill_hashes, make_entry, unhashed
from chandlery.source.stat_cache import STAT, UNKNOWN, StatCache, pack_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.oci.digest import Digest
    from chandlery.source.ignore import State

_S_IFDIR = modes.S_IFDIR
_NEAREST = 3
_FINGERPRINT_BYTES = 8


class LocalContext:
    """`root` is a directory; `stat_cache_path` a file in the store, "" for none. Raises ContextError (code context.unreadable)."""

    is_context = True

    def __init__(self, root: str, ignore: Ignore | None = None, *, stat_cache_path: str = "") -> None:
        self.root = os.path.realpath(root)
        self.ignore = ignore or Ignore()
        self._cache_path = stat_cache_path
        self._cache: StatCache | None = None
        self._listed: dict[str, Directory] = {}
        self._scanned_ns = now_ns()
        self._lock = RLock()

    # -- what a Tree answers

    def entries(self, directory: str) -> list[Entry]:
        """The context's part of a directory, sorted by name; hashes are filled in where they are known."""
        with self._lock:
            return list(self._listing(self._list(directory)).values())

    def lookup(self, path: str) -> Entry | None:
        parent, _, name = path.rpartition("/")
        with self._lock:
            if not path:
                return make_entry("", (0, 0, 0, self._mtime(""), 0, modes.S_IFDIR | 0o755, 1))
            if parent and not self._is_directory(parent):
                return None
            return self._listing(self._list(parent)).get(name)

    def _listing(self, found: Directory) -> dict[str, Entry]:
        if found.listing is None:
            size = len(UNKNOWN)
            out = []
            for at, (name, stat) in enumerate(zip(found.names, STAT.iter_unpack(found.stats), strict=True)):
                digest = found.hashes[at * size : (at + 1) * size]
                out.append(make_entry(name, stat, b"" if digest == UNKNOWN else digest, name in found.with_xattrs))
            out.extend(make_entry(name, (0, 0, 0, self._mtime(join(found.path, name)), 0, mode, 1)) for name, mode in self._subdirectories(found))
            found.listing = {entry.name: entry for entry in sorted(out, key=lambda entry: os.fsencode(entry.name))}
        return found.listing

    def read_link(self, path: str) -> str:
        return read_link(self.root, path)

    def digest_of(self, path: str) -> bytes:
        with self._lock:
            if path and not self._is_directory(path):
                entry = self.lookup(path)
                if entry is None or not entry.sha256:
                    self._hash_paths([path])
                    entry = self.lookup(path)
                assert entry is not None, path
                return entry.sha256
            below = list(self._below(path))
            fill_hashes(self.root, [(found, unhashed(found)) for found in below if found.own_digest == b""])
            for found in reversed(below):
                self._digest(found)
            return self._listed[path].digest

    # -- what a build asks

    def digest(self, sources: tuple[str, ...], *, allows_wildcards: bool = True) -> "Digest":
        """The content digest of what the sources select; raises ContextError (code context.missing)."""
        with self._lock:
            try:
                self._hash_paths([match.path for source in sources for match in select(self, source, allows_wildcards=allows_wildcards)])
                return checksum.digest_selection(self, sources, allows_wildcards=allows_wildcards)
            except InputError as error:
                if error.code != "copy.missing-source":
                    raise
                raise self._missing(sources, allows_wildcards=allows_wildcards) from error
            finally:
                self.save()

    def fingerprints(self, sources: tuple[str, ...], *, allows_wildcards: bool, most: int) -> "dict[str, str] | None":
        """For each file that the sources select, what changes with its content or mode; None where they are more than `most`. After `digest`."""
        found: dict[str, str] = {}
        with self._lock:
            for path in [match.path for source in sources for match in select(self, source, allows_wildcards=allows_wildcards)]:
                is_directory = not path or self._is_directory(path)
                for directory in self._below(path) if is_directory else [self._list(path.rpartition("/")[0])]:
                    stats = STAT.iter_unpack(directory.stats)
                    for at, (name, stat) in enumerate(zip(directory.names, stats, strict=True)):
                        if is_directory or join(directory.path, name) == path:
                            digest = directory.hashes[at * len(UNKNOWN) : at * len(UNKNOWN) + _FINGERPRINT_BYTES]
                            found[join(directory.path, name)] = f"{digest.hex()}{stat[5]:o}"
                    if len(found) > most:
                        return None
        return found

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
        with self._lock:
            if self._cache is None:
                return
            for found in self._listed.values():
                if found.is_changed:
                    self._remember(found)
            self._cache.save()

    # -- listing

    def _list(self, path: str) -> Directory:
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

    def _scan(self, at: int, path: str, state: "State") -> Directory:
        """List the open directory `at`: the hot loop of a cached build."""
        found = Directory(path, state)
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
                if mode & S_IFMT == _S_IFDIR:
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

    def _recall(self, found: Directory) -> None:
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

    def _below(self, path: str) -> "Iterator[Directory]":
        """Every directory from `path` down, parents first."""
        waiting = [path]
        while waiting:
            found = self._list(waiting.pop())
            yield found
            waiting.extend(join(found.path, name) for name in found.subdirectories)

    def _subdirectories(self, found: Directory) -> list[tuple[str, int]]:
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
        try:
            return os.stat(os.path.join(self.root, path), follow_symlinks=False).st_mtime_ns
        except OSError as error:
            raise hashing.unreadable(path, error) from error

    # -- hashing

    def _hash_paths(self, paths: list[str]) -> None:
        """Hash single files, all at once; directories among them are left alone."""
        wanted: dict[str, set[str]] = {}
        for path in paths:
            if path and path not in self._listed and not self._is_directory(path):
                wanted.setdefault(path.rpartition("/")[0], set()).add(path.rpartition("/")[2])
        jobs = []
        for parent, names in wanted.items():
            found = self._list(parent)
            jobs.append((found, [at for at, name in enumerate(found.names) if name in names]))
        fill_hashes(self.root, jobs)

    def _digest(self, found: Directory) -> None:
        if not found.own_digest:
            found.own_digest = digest_own(self.root, found)
            found.is_changed = True
        below = []
        found.is_kept = bool(found.names)
        for name in sorted(found.subdirectories, key=os.fsencode):
            mode, is_excluded, _ = found.subdirectories[name]
            sub = self._listed[join(found.path, name)]
            if not is_excluded or sub.is_kept:
                below.append(os.fsencode(name) + b"\0" + checksum.record(mode, 0, 0, sub.digest, sub.xattrs))
                found.is_kept = True
        found.digest = hasher(found.own_digest + b"".join(below)).digest()

    def _remember(self, found: Directory) -> None:
        found.is_changed = False
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

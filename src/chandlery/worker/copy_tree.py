"""One selected source to one target path, with the rules of COPY as BuildKit has them (tonistiigi/fsutil, copy).

A target that ends in "/" is a directory; missing parents are made with --chmod's mode (else 0755) for --chown's owner. Of a selected directory the content
is copied; the target directory itself keeps its mode, a subdirectory that exists gets the source's. Nothing changes between file and directory, or
through a link inside the target: that is an error. First everything is planned and directories are made, then the files are copied (copy_files.py).
"""

import os
import stat as modes

from chandlery.errors import InputError
from chandlery.linux import xattr
from chandlery.snapshot.tree import Entry, clean, join, open_directory, resolve
from chandlery.worker.copy_files import Copier, Group, Options, copy_xattrs, with_mode
from chandlery.worker.manifest import Manifest
from chandlery.worker.target import FRESH_MODE, ROOT, is_a_directory, not_a_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.snapshot.tree import Match, Tree
    from chandlery.worker.owner import Owner
    from chandlery.worker.target import Target


class TreeCopy:
    """Copies matches of one source tree to a target; `written` collects the manifest, `files` and `bytes` count what was copied or linked."""

    def __init__(self, source: "Tree", target: "Target", options: Options, *, previous: str = "", manifest: Manifest | None = None, written: Manifest) -> None:
        self.source = source
        self.target = target
        self.options = options
        self.written = written
        self.files = 0
        self.bytes = 0
        self._copier = Copier(source.root, target.root, options, previous, manifest or Manifest())

    def copy(self, match: "Match", path: str) -> None:
        """Copy what was selected to `path` as the Dockerfile writes it. Raises InputError (code copy.*), ContextError, OSError."""
        entry = self.source.lookup(match.path)
        if entry is None:
            raise InputError(f"/{match.path} does not exist", code="copy.missing-source", hint="it was there a moment ago: build again")
        self.target.begin()
        place = self.prepare(path, match.name, is_directory=entry.is_directory)
        if entry.is_directory:
            found = self.target.lookup(place)
            if found is not None and not found.is_directory:
                raise not_a_directory(place)
            if self.target.is_new(place):
                self.target.set_time(place, entry.mtime_ns)
            self._copy_content(match.path, place)
        else:
            self.target.make_room(place)
            parent, _, name = place.rpartition("/")
            self._run([self._group(match.path.rpartition("/")[0], parent, [entry], name)], {})

    def prepare(self, path: str, name: str, *, is_directory: bool) -> str:
        """Make the target's missing directories; where exactly a source of this name goes."""
        owner: Owner = self.options.owner or ROOT
        mode = FRESH_MODE if self.options.mode is None else self.options.mode & 0o777
        target = self.target
        cleaned = clean(path)
        parent = cleaned if path.endswith("/") else cleaned.rpartition("/")[0]
        target.make_directories(resolve(target, parent), owner, mode)
        place = resolve(target, cleaned)
        found = target.lookup(place)
        if is_directory:
            if found is None:
                target.make_directories(place, owner, mode)
        elif found is not None and found.is_directory:
            place = join(place, name)
        target.make_directories(place.rpartition("/")[0], owner, mode)
        return place

    def _copy_content(self, source: str, place: str) -> None:
        waiting = [(source, place)]
        groups: list[Group] = []
        links: dict[tuple[int, int], list[tuple[str, str]]] = {}
        while waiting:
            directory, into = waiting.pop()
            entries = self.source.entries(directory)
            is_new = self.target.is_new(into)
            plain = []
            for entry in entries:
                path = join(into, entry.name)
                if entry.is_directory:
                    self._make_directory(join(directory, entry.name), path, entry, is_new=is_new)
                    waiting.append((join(directory, entry.name), path))
                    continue
                self._make_way(path, is_new=is_new)
                if entry.nlink > 1 and entry.is_file:
                    names = links.setdefault((entry.dev, entry.ino), [])
                    names.append((into, entry.name))
                    if len(names) > 1:
                        continue
                plain.append(entry)
            if plain:
                groups.append(self._group(directory, into, plain))
        self._run(groups, links)

    def _make_way(self, path: str, *, is_new: bool) -> None:
        found = self.target.lookup(path) if not is_new else None
        if found is not None:
            if found.is_directory:
                raise is_a_directory(path)
            self.target.make_room(path)

    def _make_directory(self, source: str, path: str, entry: Entry, *, is_new: bool) -> None:
        owner = self.options.owner or (entry.uid, entry.gid)
        mode = with_mode(entry.mode, self.options.mode)
        found = self.target.lookup(path) if not is_new else None
        if found is None:
            self.target.make_directory(path, mode, owner, entry.mtime_ns)
        elif found.is_directory:
            self.target.change_directory(path, mode, owner, entry.mtime_ns)
        else:
            raise not_a_directory(path)
        at = open_directory(self.source.root, source)
        try:
            if xattr.names(at):
                made = self.target.open(path)
                try:
                    copy_xattrs(at, made, all_of_them=self.options.keeps_all_xattrs)
                finally:
                    os.close(made)
        finally:
            os.close(at)

    def _group(self, source: str, into: str, entries: list[Entry], name: str = "") -> Group:
        at = self.target.open(into)  # copied up before a child or a link needs it
        os.close(at)
        if self.options.is_context:
            for entry in entries:
                line = self._copier.line(entry)
                if line is not None:
                    self.written.add(into, name or entry.name, line)
                elif self.written:
                    self.written.remove(into, name or entry.name)
        self.files += len(entries)
        self.bytes += sum(entry.size for entry in entries if modes.S_ISREG(entry.mode))
        return Group(source, into, entries, name)

    def _run(self, groups: list[Group], links: dict[tuple[int, int], list[tuple[str, str]]]) -> None:
        self._copier.copy(groups)
        for first, *others in links.values():
            for other in others:
                self.written.remove(*first)
                before, at = self.target.open(first[0]), self.target.open(other[0])
                try:
                    os.link(first[1], other[1], src_dir_fd=before, dst_dir_fd=at, follow_symlinks=False)
                finally:
                    os.close(before)
                    os.close(at)

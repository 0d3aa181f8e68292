"""BuildKit's digests of files in a local context (cache/contenthash): what its keys say of COPY's and bind mounts' sources.

A file's digest is the sha256 of a header (Docker's "tarsum v1": mode, owner, size, type, link, devices, xattrs; no name, no time) and its content. A
directory's is over its own header and, sorted, each name with its digest. A pattern's is over the headers and files that it matches, one by one. Files
count as 0:0.
"""

import os
import stat as modes

from chandlery.errors import InputError
from chandlery.oci.digest import hasher
from chandlery.snapshot.checksum import kept_xattrs
from chandlery.snapshot.globs import compile_component, has_wildcards
from chandlery.snapshot.tree import clean, join, open_directory, resolve
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.snapshot.tree import Entry, Tree

_TYPES = {modes.S_IFREG: "0", modes.S_IFLNK: "2", modes.S_IFCHR: "3", modes.S_IFBLK: "4", modes.S_IFDIR: "5", modes.S_IFIFO: "6"}
_PIECE_BYTES = 1 << 20


@value
class _Found:
    path: str
    digest: str


class ContentDigests:
    """Of one context; every file is read at most once."""

    def __init__(self, tree: "Tree") -> None:
        self._tree = tree
        self._known: dict[str, str] = {}

    def of(self, paths: tuple[str, ...], *, is_copy: bool) -> str:
        """The digest of what an operation selects; "" where BuildKit would see something else than we do. Raises ContextError."""
        try:
            if is_copy:
                return self._of_copy(paths)
            return self._joined([self._followed("")]) if "/" in paths else self._joined([self._followed(path) for path in _outermost(paths)])
        except InputError:
            return ""

    def _of_copy(self, paths: tuple[str, ...]) -> str:
        plain = _outermost(tuple(path for path in paths if not has_wildcards(path)))
        selected = [(path, False) for path in plain] + [(path, True) for path in paths if has_wildcards(path)]
        return self._joined([self._matching(path) if is_pattern else self._followed(path) for path, is_pattern in sorted(selected)])

    @staticmethod
    def _joined(digests: list[str]) -> str:
        return _digest("\0".join(digests).encode())

    def _followed(self, path: str) -> str:
        """Links are followed, the last one too."""
        return self._digest(resolve(self._tree, clean(path)))

    def _digest(self, path: str) -> str:
        if path not in self._known:
            entry = self._tree.lookup(path)
            if path and entry is None:
                raise InputError(f"/{path} does not exist", code="copy.missing-source")
            is_directory = not path or (entry is not None and entry.is_directory)
            self._known[path] = self._directory(path) if is_directory else self._file(path, entry)  # type: ignore[arg-type]
        return self._known[path]

    def _directory(self, path: str) -> str:
        digest = hasher(b"\0" + self._header(path).encode())
        for entry in self._tree.entries(path):
            digest.update(b"\0" + os.fsencode(entry.name) + self._digest(join(path, entry.name)).encode())
        return f"sha256:{digest.hexdigest()}"

    def _header(self, path: str) -> str:
        """The digest of a directory itself; the root's says nothing."""
        if not path:
            return _digest(b"")
        entry = self._tree.lookup(path)
        assert entry is not None, path
        return _digest(self._described(path, entry, 0))

    def _file(self, path: str, entry: "Entry") -> str:
        if not entry.is_file:
            return _digest(self._described(path, entry, 0))
        digest = hasher(self._described(path, entry, entry.size), expected_bytes=entry.size)
        parent, _, name = path.rpartition("/")
        at = open_directory(self._tree.root, parent)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
            try:
                while data := os.read(file, min(entry.size + 1, _PIECE_BYTES)):
                    digest.update(data)
            finally:
                os.close(file)
        finally:
            os.close(at)
        return f"sha256:{digest.hexdigest()}"

    def _described(self, path: str, entry: "Entry", size: int) -> bytes:
        kind = _TYPES.get(modes.S_IFMT(entry.mode))
        if kind is None:
            raise InputError(f"/{path} is a socket", code="copy.missing-source")
        link = self._tree.read_link(path) if entry.is_link else ""
        permissions = 0o777 if entry.is_link else entry.mode & 0o7777
        full = os.path.join(self._tree.root, path)
        rdev = os.stat(full, follow_symlinks=False).st_rdev if kind in "34" else 0
        text = f"namemode{permissions}uid0gid0size{size}typeflag{kind}linkname{link}unamegnamedevmajor{os.major(rdev)}devminor{os.minor(rdev)}"
        xattrs = b"".join(os.fsencode(name) + data for name, data in sorted(kept_xattrs(full)))
        return os.fsencode(text) + xattrs

    # patterns

    def _matching(self, pattern: str) -> str:
        parts = clean(pattern).split("/")
        wild = next(at for at, part in enumerate(parts) if has_wildcards(part))
        base = resolve(self._tree, "/".join(parts[:wild]))
        found = [match for path, shown in self._selected(base, parts[wild:]) for match in self._listed(path, shown, is_first=True)]
        if not found:
            return _digest(b"")
        digest = hasher()
        for match in found:
            digest.update(b"\0" + os.fsencode(match.path).replace(b"/", b"\0") + match.digest.encode())
        return f"sha256:{digest.hexdigest()}"

    def _selected(self, base: str, parts: list[str]) -> "Iterator[tuple[str, str]]":
        """The paths that a pattern matches below `base`, each with its name from there on."""
        places = [(base, "")]
        for depth, part in enumerate(parts):
            matches = compile_component(part) if has_wildcards(part) else part.__eq__
            is_last = depth == len(parts) - 1
            places = [
                (join(path, entry.name), join(shown, entry.name))
                for path, shown in places
                for entry in self._tree.entries(path)
                if matches(entry.name) and (is_last or entry.is_directory)
            ]
        yield from places

    def _listed(self, path: str, shown: str, *, is_first: bool = False) -> "Iterator[_Found]":
        """A match and everything below it; a link that is matched itself stands for what it leads to."""
        entry = self._tree.lookup(path)
        if entry is None:
            return
        if not entry.is_directory:
            yield _Found(shown, self._followed(path) if is_first and entry.is_link else self._digest(path))
            return
        yield _Found(shown, self._header(path))
        for below in self._tree.entries(path):
            yield from self._listed(join(path, below.name), join(shown, below.name))


def _outermost(paths: tuple[str, ...]) -> list[str]:
    """The paths without those that lie in another one, sorted."""
    kept = set(paths)
    return sorted(path for path in kept if not any(path != other and path.startswith(other.rstrip("/") + "/") for other in kept))


def _digest(data: bytes) -> str:
    return f"sha256:{hasher(data).hexdigest()}"

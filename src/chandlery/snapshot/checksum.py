"""Content digests of selected paths in a directory tree, format "v1".

What enters, as in BuildKit's cache/contenthash: names, types, contents, permission bits with set-uid, set-gid and sticky, owner and group, link
targets, device numbers, and the xattrs user.* and security.capability. Never times, inode numbers or who links to whom. The bytes:

    record(entry)   = type mode SP uid SP gid LF payload xattrs      type is one of f d l c b p s, mode octal, ids decimal
      payload       = sha256(content) for f, digest(directory) for d, length LF target for l, major SP minor LF for c and b, nothing for p and s
      xattrs        = count LF, then for each, sorted by name: length LF name length LF value
    digest(dir)     = sha256(sha256(of name NUL record for each that is no directory, sorted) and name NUL record for each directory, sorted)
    digest(sources) = sha256("chandlery content v1" LF, then for each source: count LF and for each match name NUL record)

A directory that is the tree's own root counts as d755 0 0 without xattrs: its mode is an accident of the machine. Names sort by their bytes.
"""

import os
import stat as modes

from chandlery.linux import xattr
from chandlery.oci.digest import Digest, from_hex, hasher
from chandlery.snapshot.selection import select
from chandlery.snapshot.tree import Entry, check_depth, lstat_beneath, open_directory, read_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.snapshot.tree import Tree

VERSION = b"chandlery content v1\n"
NO_XATTRS = b"0\n"
_TYPES = {modes.S_IFREG: "f", modes.S_IFDIR: "d", modes.S_IFLNK: "l", modes.S_IFCHR: "c", modes.S_IFBLK: "b", modes.S_IFIFO: "p", modes.S_IFSOCK: "s"}
_CHUNK = 1 << 20


def encode_xattrs(pairs: list[tuple[str, bytes]]) -> bytes:
    """The xattrs part of a record; `pairs` in any order."""
    if not pairs:
        return NO_XATTRS
    out = [b"%d\n" % len(pairs)]
    for name, data in sorted(pairs):
        raw = os.fsencode(name)
        out.append(b"%d\n%b%d\n%b" % (len(raw), raw, len(data), data))
    return b"".join(out)


def record(mode: int, uid: int, gid: int, payload: bytes, xattrs: bytes = NO_XATTRS) -> bytes:
    return b"%b%o %d %d\n%b%b" % (_TYPES[modes.S_IFMT(mode)].encode(), mode & 0o7777, uid, gid, payload, xattrs)


def link_payload(target: str) -> bytes:
    raw = os.fsencode(target)
    return b"%d\n%b" % (len(raw), raw)


def device_payload(rdev: int) -> bytes:
    return b"%d %d\n" % (os.major(rdev), os.minor(rdev))


def kept_xattrs(at: int | str) -> list[tuple[str, bytes]]:
    """The xattrs of an open file, or of a path (a link itself), that are content; none where the file system has none."""
    try:
        names = os.listxattr(at) if isinstance(at, int) else os.listxattr(at, follow_symlinks=False)
    except OSError:
        return []
    return list(xattr.layer_attributes(at).items()) if names else []


def hash_file(file: int) -> bytes:
    """The sha256 of an open file, from where it stands."""
    data = os.read(file, min(os.fstat(file).st_size + 1, _CHUNK))  # asking for a fixed megabyte would map and unmap it for every file
    digest = hasher(data, expected_bytes=_CHUNK if len(data) == _CHUNK else 0)
    while data and (data := os.read(file, _CHUNK)):
        digest.update(data)
    return digest.digest()


def digest_selection(tree: "Tree", sources: tuple[str, ...], *, allows_wildcards: bool = True) -> Digest:
    """The digest of what `sources` select; raises InputError (code copy.missing-source)."""
    digest = hasher(VERSION)
    for source in sources:
        matches = select(tree, source, allows_wildcards=allows_wildcards)
        digest.update(b"%d\n" % len(matches))
        for match in matches:
            digest.update(os.fsencode(match.name) + b"\0" + _selected_record(tree, match.path))
    return from_hex(digest.hexdigest())


def _selected_record(tree: "Tree", path: str) -> bytes:
    entry = tree.lookup(path)
    if not path or entry is None:
        return record(modes.S_IFDIR | 0o755, 0, 0, tree.digest_of(""))
    if entry.is_directory or entry.is_file:
        return record(entry.mode, entry.uid, entry.gid, tree.digest_of(path), encode_xattrs(kept_xattrs(os.path.join(tree.root, path))))
    is_device = modes.S_ISCHR(entry.mode) or modes.S_ISBLK(entry.mode)
    payload = device_payload(os.stat(os.path.join(tree.root, path), follow_symlinks=False).st_rdev) if is_device else b""
    return record(entry.mode, entry.uid, entry.gid, payload)


class ViewTree:
    """A directory as it is: the read-only view of a stage or image, a bind mount's source. Nothing is remembered between calls."""

    is_context = False

    def __init__(self, root: str) -> None:
        self.root = root

    def entries(self, directory: str) -> list[Entry]:
        check_depth(directory.count("/"), directory)
        at = open_directory(self.root, directory)
        try:
            with os.scandir(at) as listing:
                return sorted((Entry(item.name, item.stat(follow_symlinks=False)) for item in listing), key=lambda entry: os.fsencode(entry.name))
        finally:
            os.close(at)

    def lookup(self, path: str) -> Entry | None:
        found = lstat_beneath(self.root, path)
        return None if found is None else Entry(path.rpartition("/")[2], found)

    def read_link(self, path: str) -> str:
        return read_link(self.root, path)

    def digest_of(self, path: str) -> bytes:
        entry = self.lookup(path)
        parent, _, name = path.rpartition("/")
        at = open_directory(self.root, path if entry is None or entry.is_directory else parent)
        try:
            return _digest_directory(at) if entry is None or entry.is_directory else _hash_at(at, name)
        finally:
            os.close(at)


def digest_view(root: str, sources: tuple[str, ...], *, allows_wildcards: bool = True) -> Digest:
    """The digest of paths in a mounted view or plain directory, owners and all."""
    return digest_selection(ViewTree(root), sources, allows_wildcards=allows_wildcards)


def _hash_at(directory: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        return hash_file(file)
    finally:
        os.close(file)


def _digest_directory(directory: int, depth: int = 0) -> bytes:
    """The digest of an open directory."""
    check_depth(depth)
    with os.scandir(directory) as listing:
        found = sorted(((os.fsencode(item.name), item.stat(follow_symlinks=False)) for item in listing), key=lambda pair: pair[0])
    plain = hasher()
    below = []
    for name, entry in found:
        kind = modes.S_IFMT(entry.st_mode)
        if kind == modes.S_IFDIR:
            at = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                line = record(entry.st_mode, entry.st_uid, entry.st_gid, _digest_directory(at, depth + 1), encode_xattrs(kept_xattrs(at)))
            finally:
                os.close(at)
            below.append(name + b"\0" + line)
        else:
            plain.update(name + b"\0" + _plain_record(directory, name, kind, entry))
    return hasher(plain.digest() + b"".join(below)).digest()


def _plain_record(directory: int, name: bytes, kind: int, entry: os.stat_result) -> bytes:
    if kind == modes.S_IFREG:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            return record(entry.st_mode, entry.st_uid, entry.st_gid, hash_file(file), encode_xattrs(kept_xattrs(file)))
        finally:
            os.close(file)
    if kind == modes.S_IFLNK:
        payload = link_payload(os.readlink(os.fsdecode(name), dir_fd=directory))
    else:
        payload = device_payload(entry.st_rdev) if kind in (modes.S_IFCHR, modes.S_IFBLK) else b""
    return record(entry.st_mode, entry.st_uid, entry.st_gid, payload)

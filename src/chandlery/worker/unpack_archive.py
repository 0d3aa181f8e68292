"""ADD of a local archive: is it one, and extract it into a target, as BuildKit's unpack does.

A file is an archive if it is a tar, plain or compressed with gzip, bzip2, xz or zstd, judged by its content; its name doesn't matter. Paths are cleaned and
must stay below the target directory, which is the root that links mean; a directory that is a link there is followed, anything else that is in the
way is replaced. Parents that the archive doesn't name are root's, mode 0755.
"""

import os
import posixpath
import stat as modes
import tarfile

from chandlery.errors import ChandleryError, InputError
from chandlery.layer import compression
from chandlery.linux import xattr
from chandlery.snapshot.tree import Entry, clean, join, open_directory, resolve
from chandlery.worker.target import ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.worker.owner import Owner
    from chandlery.worker.target import Target

_PIECE = 1 << 20
_XATTR = "SCHILY.xattr."
MAX_ENTRIES = 10_000_000
_MAX_TIME_NS = 2**63 - 1


def is_archive(root: str, path: str) -> bool:
    """Whether the regular file at `path` (links resolved) begins as a tar with at least one entry."""
    try:
        with _open(root, path) as reader:
            return reader.next() is not None
    except (tarfile.TarError, ChandleryError, OSError, EOFError):
        return False


def unpack(root: str, path: str, target: "Target", place: str, owner: "Owner | None") -> tuple[int, int]:
    """Extract an archive into the directory `place` of the target; entries and bytes written. Raises InputError (codes add.*)."""
    archive = _Archive(target, place, owner)
    try:
        with _open(root, path) as reader:
            for count, member in enumerate(reader, 1):
                if count > MAX_ENTRIES:
                    raise InputError(f"/{path} has more than {MAX_ENTRIES} entries", code="add.too-many-entries", hint="unpack it in a RUN")
                archive.extract(reader, member)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"the archive /{path} is damaged: {error}", code="add.damaged-archive", hint="make it again") from error
    archive.set_times()
    return archive.files, archive.bytes


class _Pieces:
    """An iterator of byte pieces as the file that tarfile wants."""

    def __init__(self, pieces: "Iterator[bytes | bytearray | memoryview]") -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        out = bytearray()
        while len(out) < size:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = memoryview(piece)
            taken = self._rest[: size - len(out)]
            out += taken
            self._rest = self._rest[len(taken) :]
        return bytes(out)

    def close(self) -> None:
        pass


def _open(root: str, path: str) -> tarfile.TarFile:
    parent, _, name = path.rpartition("/")
    at = open_directory(root, parent)
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)

    def pieces() -> "Iterator[bytes]":
        with open(file, "rb", buffering=0) as source:
            while data := source.read(_PIECE):
                yield data

    raw = pieces()
    head = next(raw, b"")

    def whole() -> "Iterator[bytes]":
        yield head
        yield from raw

    plain = compression.decompressed(whole(), compression.detect(head))
    return tarfile.open(fileobj=_Pieces(iter(plain)), mode="r|", bufsize=tarfile.BLOCKSIZE * 128)  # type: ignore[call-overload,no-any-return]


class _Subtree:
    """The target directory as a root of its own: what links inside the archive mean."""

    def __init__(self, target: "Target", place: str) -> None:
        self.target = target
        self.place = place

    def lookup(self, path: str) -> Entry | None:
        return self.target.lookup(join(self.place, path) if path else self.place)

    def read_link(self, path: str) -> str:
        return self.target.read_link(join(self.place, path))


class _Archive:
    def __init__(self, target: "Target", place: str, owner: "Owner | None") -> None:
        self.target = target
        self.place = place
        self.owner = owner
        self.files = 0
        self.bytes = 0
        self._tree = _Subtree(target, place)
        self._times: list[tuple[str, int]] = []

    def extract(self, reader: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = _cleaned(member.name)
        if not name:
            return
        parent, _, last = resolve(self._tree, name, follows_last=member.isdir()).rpartition("/")
        if not last:
            return
        path = join(self.place, join(parent, last))
        self.target.make_directories(path.rpartition("/")[0], ROOT)
        found = self.target.lookup(path)
        if found is not None and not (found.is_directory and member.isdir()):
            self.target.remove(path)
            found = None
        owner = self.owner or (member.uid, member.gid)
        mtime_ns = _time_ns(member)
        self.files += 1
        if member.isdir():
            if found is None:
                self.target.make_directory(path, member.mode & 0o7777, owner, mtime_ns)
            else:
                self.target.change_directory(path, member.mode & 0o7777, owner, mtime_ns)
            self._times.append((path, mtime_ns))
            return
        at = self.target.open(path.rpartition("/")[0])
        try:
            self._make(reader, member, at, path.rpartition("/")[2], owner, mtime_ns)
        finally:
            os.close(at)

    def _make(self, reader: tarfile.TarFile, member: tarfile.TarInfo, at: int, name: str, owner: "Owner", mtime_ns: int) -> None:
        if member.isreg():
            self._make_file(reader, member, at, name, owner, mtime_ns)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=at)
            os.chown(name, *owner, dir_fd=at, follow_symlinks=False)
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=at, follow_symlinks=False)
        elif member.islnk():
            self._make_link(member, at, name)
            # the link's own header has the last word on the file that both name, as in BuildKit
            os.chown(name, *owner, dir_fd=at, follow_symlinks=False)
            if not modes.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
                os.chmod(name, member.mode & 0o7777, dir_fd=at)
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=at, follow_symlinks=False)
        else:
            raise InputError(f"{member.name}: ADD extracts no devices or pipes", code="add.unsupported-entry", hint="unpack the archive in a RUN")

    def _make_file(self, reader: tarfile.TarFile, member: tarfile.TarInfo, at: int, name: str, owner: "Owner", mtime_ns: int) -> None:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
        with open(file, "wb", buffering=0) as out:
            content = reader.extractfile(member)
            while content is not None and (data := content.read(_PIECE)):
                out.write(data)
                self.bytes += len(data)
            os.fchown(file, *owner)
            for key, text in member.pax_headers.items():
                if key.startswith(_XATTR) and xattr.may_enter_layer(key.removeprefix(_XATTR)):
                    xattr.set_value(file, key.removeprefix(_XATTR), text.encode("utf-8", "surrogateescape"))
            os.fchmod(file, member.mode & 0o7777)
            os.utime(file, ns=(mtime_ns, mtime_ns))

    def _make_link(self, member: tarfile.TarInfo, at: int, name: str) -> None:
        wanted = join(self.place, resolve(self._tree, _cleaned(member.linkname), follows_last=False))
        found = self.target.lookup(wanted)
        if found is None or found.is_directory:
            raise InputError(f"{member.name} links to {member.linkname}, which is no file", code="add.damaged-archive", hint="make the archive again")
        parent, _, last = wanted.rpartition("/")
        before = self.target.open(parent)
        try:
            os.link(last, name, src_dir_fd=before, dst_dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            # The file is the base's: the upper can't share its inode.
            hint = "unpack the archive in a RUN"
            raise InputError(f"{member.name} links to a file of the base image", code="add.unsupported-entry", hint=hint) from None
        finally:
            os.close(before)

    def set_times(self) -> None:
        for path, mtime_ns in self._times:
            if (found := self.target.lookup(path)) is not None and found.is_directory:
                self.target.set_time(path, mtime_ns)


def _cleaned(name: str) -> str:
    relative = posixpath.normpath(name.lstrip("/")) if name.strip("/") else "."
    if relative == ".." or relative.startswith("../"):
        raise InputError(f"the archive's {name!r} leads out of the target", code="add.hostile-archive", hint="don't trust this archive")
    return clean(relative)


def _time_ns(member: tarfile.TarInfo) -> int:
    text = member.pax_headers.get("mtime")
    try:
        seconds, _, fraction = (text or str(member.mtime)).partition(".")
        found = int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0)
    except ValueError:
        found = 0
    return found if 0 <= found <= _MAX_TIME_NS else 0

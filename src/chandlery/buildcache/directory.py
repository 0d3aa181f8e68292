"""`DirectoryRemote`: a shared cache in a directory, on NFS or on any disk that several machines or users see.

    D/steps/<aa>/<name>.json       one entry (entry.py), named by scope and key; its modification time is its last use
    D/blobs/sha256/<aa>/<hex>      layers

No locks: a file is written under a name of its own, fsynced, and gets its name by link(2), which on NFS too succeeds for one writer only; modes are the
umask's and a set-group-id directory's, so that several users share one. What a reader takes is checked by its digest.
"""

import errno
import os
import stat
import time

from chandlery.buildcache.entry import MAX_BYTES
from chandlery.buildcache.records import USE_RESOLUTION_S
from chandlery.buildcache.remote import entry_name
from chandlery.errors import LyingRegistry, NotFound, Unavailable
from chandlery.linux.atomic import is_whole, write_pieces
from chandlery.oci.digest import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from chandlery.buildcache.entry import Entry
    from chandlery.oci.descriptor import Descriptor
    from chandlery.registry.upload import Readable

_PIECE_BYTES = 1 << 20


class DirectoryRemote:
    def __init__(self, name: str, directory: str, *, is_writable: bool) -> None:
        self.name = name
        self.is_writable = is_writable
        self._directory = directory
        self._is_stopped = False

    def find(self, scope: str, key: Digest) -> bytes | None:
        path = self._entry(scope, key)
        try:
            with _open(path) as file:
                raw = file.read(MAX_BYTES + 1)
                self._note_use(path, os.fstat(file.fileno()).st_mtime)
                return raw
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as broken:
            raise self._unavailable(broken) from broken

    def has(self, scope: str, key: Digest) -> bool:
        return os.path.exists(self._entry(scope, key))

    def read_blob(self, scope: str, blob: "Descriptor") -> "Iterator[bytes]":
        del scope
        done = 0
        try:
            with _open(self._blob(blob.digest)) as file:
                while piece := file.read(_PIECE_BYTES):
                    self._go_on()
                    done += len(piece)
                    if done > blob.size_bytes:
                        break
                    yield piece
        except (FileNotFoundError, NotADirectoryError) as gone:
            raise NotFound(f"{self.name} has no blob {blob.digest}") from gone
        except OSError as broken:
            raise self._unavailable(broken) from broken
        if done != blob.size_bytes:
            code = "registry.short-body" if done < blob.size_bytes else "registry.long-body"
            raise LyingRegistry(f"blob {blob.digest} of {self.name} has another size than its entry says", code=code)

    def put_blob(
        self,
        scope: str,
        blob: "Descriptor",
        open_blob: "Callable[[], Readable]",
        *,
        is_damaged: bool,
        from_scope: str = "",
        pushed_to: tuple[tuple[str, str], ...] = (),
    ) -> int:
        del scope, from_scope, pushed_to
        path = self._blob(blob.digest)
        try:
            if not is_damaged and is_whole(path, blob.size_bytes):
                # whoever tidies up meanwhile must see that it is about to be named
                self._note_use(path, 0.0)
                return 0
            reader = open_blob()
            try:
                self._write(path, iter(lambda: reader.read(_PIECE_BYTES), b""), replaces=True)
            finally:
                reader.close()
            return blob.size_bytes
        except OSError as broken:
            raise self._unavailable(broken) from broken

    def put_entry(self, scope: str, entry: "Entry", raw: bytes, *, replaces: bool) -> None:
        try:
            self._write(self._entry(scope, entry.key), iter((raw,)), replaces=replaces)
        except OSError as broken:
            raise self._unavailable(broken) from broken

    def note_uses(self, scope: str, used: tuple[tuple[str, Digest], ...]) -> None:
        del scope
        for whose, key in used:
            path = self._entry(whose, key)
            try:
                self._note_use(path, os.stat(path, follow_symlinks=False).st_mtime)
            except OSError:
                continue

    def repository(self, scope: str) -> tuple[str, str]:
        del scope
        return "", ""

    def stop(self) -> None:
        self._is_stopped = True

    def _note_use(self, path: str, noted_s: float) -> None:
        """The modification time tells when something was last used, to some minutes; not for those who may not write it."""
        if self.is_writable and abs(time.time() - noted_s) > USE_RESOLUTION_S:
            try:
                os.utime(path, follow_symlinks=False)
            except OSError:
                return

    def _go_on(self) -> None:
        from chandlery.errors import Cancelled

        if self._is_stopped:
            raise Cancelled()

    def _entry(self, scope: str, key: Digest) -> str:
        name = entry_name(scope, key)
        return f"{self._directory}/steps/{name[:2]}/{name}.json"

    def _blob(self, digest: Digest) -> str:
        return f"{self._directory}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    def _write(self, path: str, pieces: "Iterator[bytes]", *, replaces: bool) -> None:
        """Give a whole file its name; where it has one already, the older stays unless it is to be replaced."""
        os.makedirs(os.path.dirname(path), 0o777, exist_ok=True)
        write_pieces(path, self._while_not_stopped(pieces), mode=0o666, put=os.rename if replaces else _link_or_rename)

    def _while_not_stopped(self, pieces: "Iterator[bytes]") -> "Iterator[bytes]":
        for piece in pieces:
            self._go_on()
            yield piece

    def _unavailable(self, broken: OSError) -> Unavailable:
        hint = "is it mounted, and may this user use it?"
        return Unavailable(f"the cache {self.name} can't be used: {broken.strerror or broken}", code="cache.unavailable", hint=hint)


def _open(path: str) -> "BinaryIO":
    """A file that somebody else may have put there: a pipe must not stop us, a link not lead elsewhere. Raises LyingRegistry cache.not-a-file, OSError."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError as broken:
        if broken.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise LyingRegistry(f"{path} is no file", code="cache.not-a-file", hint="remove it") from broken
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise LyingRegistry(f"{path} is no file", code="cache.not-a-file", hint="remove it")
    return file


def _link_or_rename(temp: str, path: str) -> None:
    try:
        os.link(temp, path)
    except FileExistsError:
        return
    except OSError:
        # file systems without hard links (some FUSE and SMB mounts): two writers at once are then decided by the last
        if not os.path.exists(path):
            os.rename(temp, path)

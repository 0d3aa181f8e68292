"""A shared directory as a `VolumeRemote`: NFS or any other, with writers of different users. Nothing is locked.

    <root>/volumes/<scope>/<volume>/heads/<slot>@<sha256 of the document>
                                    blobs/<sha256>

Others may write here, too: below the root no link is followed, whatever it is called, for reading or for writing; directories are held open meanwhile.
Files appear by rename of a temporary name in the same directory, which is atomic on NFS too, and are never changed. Blobs that no head names any more are
collected when they are old: a publisher stores its pack first and names it soon after, and touches one that it finds.
"""

import errno
import hashlib
import os
import re
import stat
from contextlib import contextmanager
from urllib.parse import quote

from chandlery.errors import NotFound, RegistryError
from chandlery.linux.atomic import TEMP_MARK, is_whole, remove_if_there, temp_name, write_pieces
from chandlery.linux.paths import DIRECTORY, DIRECTORY_NOFOLLOW
from chandlery.oci.digest import Digest
from chandlery.volume.key import VolumeKey
from chandlery.volume.protocol import BlobStream, HeadName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import BinaryIO

MAX_HEAD_BYTES = 4 << 20
# far longer than a publication takes, whatever the share's speed
UNNAMED_FOR_S = 24 * 3600.0
_PIECE = 1 << 20
_BLOB_NAME = re.compile(rf"[0-9a-f]{{64}}({re.escape(TEMP_MARK)}.*)?|clock{re.escape(TEMP_MARK)}.*")


class DirectoryRemote:
    """One volume below the shared directory `root`."""

    def __init__(self, root: str, key: VolumeKey) -> None:
        self.name = f"file://{root}"
        # "." and ".." are not escaped by quote
        scope, volume = (quote(text, safe="").replace(".", "%2E") for text in (key.scope, f"{key.name}@{key.platform}"))
        base = f"{root}/volumes/{scope}/{volume}"
        self.address = base
        self._root, self._below = root, ("volumes", scope, volume)
        self._heads, self._blobs = f"{base}/heads", f"{base}/blobs"

    def heads(self) -> list[HeadName]:
        try:
            with self._held("heads") as heads:
                names = sorted(os.listdir(heads))
        except FileNotFoundError:
            return []
        return [HeadName(*name.split("@", 1)) for name in names if "@" in name and TEMP_MARK not in name]

    def read_head(self, head: HeadName) -> bytes:
        try:
            with self._held("heads") as heads, _open(f"{heads}/{head.slot}@{head.digest}") as file:
                data = file.read(MAX_HEAD_BYTES + 1)
        except FileNotFoundError as gone:
            raise NotFound(f"head {head.slot} is gone from {self.name}", code="volume.head-gone") from gone
        if len(data) > MAX_HEAD_BYTES or hashlib.sha256(data).hexdigest() != head.digest:
            raise RegistryError(f"head {head.slot} of {self.name} is damaged", code="volume.damaged-head", hint="delete the file")
        return data

    def put_head(self, slot: str, document: bytes, blobs: "Iterable[tuple[Digest, int]]") -> HeadName:  # noqa: ARG002 (the protocol's)
        name = HeadName(slot, hashlib.sha256(document).hexdigest())
        with self._held("heads", makes=True) as heads:
            write_pieces(f"{heads}/{slot}@{name.digest}", (document,), mode=0o666)
        return name

    def delete_head(self, head: HeadName) -> bool:
        try:
            with self._held("heads") as heads:
                os.unlink(f"{heads}/{head.slot}@{head.digest}")
        except FileNotFoundError:
            pass
        except (OSError, RegistryError):
            return False
        return True

    def has_blob(self, digest: Digest) -> bool:
        try:
            with self._held("blobs") as blobs:
                return stat.S_ISREG(os.lstat(f"{blobs}/{digest.hex}").st_mode)
        except (OSError, RegistryError):
            return False

    def put_blob(self, path: str, digest: Digest, size_bytes: int) -> None:
        with self._held("blobs", makes=True) as blobs:
            target = f"{blobs}/{digest.hex}"
            if is_whole(target, size_bytes) and _is_touched(target):
                return
            with open(path, "rb", buffering=0) as source:
                write_pieces(target, iter(lambda: source.read(_PIECE), b""), mode=0o666)

    def collect(self, named: "Collection[Digest]", unnamed: "Collection[Digest]", *, older_than_s: float = UNNAMED_FOR_S) -> int:
        """Delete blobs, and what an interruption left, that nobody has named for so long. By the share's own clock: this machine's may be off.

        Only what has a blob's name goes.
        """
        keep = {digest.hex for digest in named}
        removed = 0
        try:
            with self._held("blobs") as blobs:
                for digest in unnamed:
                    _is_touched(f"{blobs}/{digest.hex}")
                now_s = _clock_of(blobs)
                for name in os.listdir(blobs):
                    is_ours = _BLOB_NAME.fullmatch(name) is not None and name not in keep
                    if is_ours and now_s - os.lstat(f"{blobs}/{name}").st_mtime > older_than_s:
                        os.unlink(f"{blobs}/{name}")
                        removed += 1
        except (OSError, RegistryError):
            # another one's files, or another one was faster
            return removed
        return removed

    def open_blob(self, digest: Digest, blob_bytes: int, start: int, size_bytes: int) -> BlobStream:  # noqa: ARG002 (the protocol's)
        try:
            with self._held("blobs") as blobs:
                file = _open(f"{blobs}/{digest.hex}")
        except FileNotFoundError as gone:
            raise NotFound(f"{self.name} has no blob {digest}", code="volume.blob-gone") from gone
        return BlobStream(start, size_bytes, _pieces(file, start, size_bytes))

    @contextmanager
    def _held(self, name: str, *, makes: bool = False) -> "Iterator[str]":
        """A directory of this volume, under a path that leads to it whatever happens above. Raises RegistryError, OSError."""
        if makes:
            os.makedirs(self._root, exist_ok=True)
        here = os.open(self._root, DIRECTORY)
        try:
            for part in (*self._below, name):
                below = _entered(here, part, makes=makes)
                os.close(here)
                here = below
            yield f"/proc/self/fd/{here}"
        finally:
            os.close(here)


def _entered(parent: int, name: str, *, makes: bool) -> int:
    try:
        return os.open(name, DIRECTORY_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        if not makes:
            raise
    except OSError as wrong:
        if wrong.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise RegistryError(f"{name} is a link, or no directory", code="volume.not-a-directory", hint="remove it") from wrong
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        pass
    return _entered(parent, name, makes=False)


def _clock_of(directory: str) -> float:
    temp = temp_name(f"{directory}/clock")
    os.close(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    try:
        return os.stat(temp).st_mtime
    finally:
        remove_if_there(temp)


def _is_touched(path: str) -> bool:
    """Whether a file is there and counts as new from now on; one of another user may have to be written again for that."""
    try:
        os.utime(path, follow_symlinks=False)
    except OSError:
        return False
    return True


def _open(path: str) -> "BinaryIO":
    """A file that somebody else may have put there: a pipe must not stop us, a link not lead elsewhere."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise RegistryError(f"{os.path.basename(path)} is no file", code="volume.not-a-file", hint="remove it")
    return file


def _pieces(file: "BinaryIO", start: int, size_bytes: int) -> "Iterator[bytes]":
    with file:
        file.seek(start)
        while size_bytes and (data := file.read(min(size_bytes, _PIECE))):
            size_bytes -= len(data)
            yield data

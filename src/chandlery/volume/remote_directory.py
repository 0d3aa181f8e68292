"""A shared directory as a `VolumeRemote`: NFS or any other, with writers of different users. Nothing is locked.

    <root>/volumes/<scope>/<volume>/heads/<slot>@<sha256 of the document>
                                    blobs/<sha256>

Files appear by rename of a temporary name in the same directory, which is atomic on NFS too, and are never changed. Blobs that no head names any more are
collected when they are old: a publisher stores its pack first and names it soon after, and touches one that it finds.
"""

import hashlib
import os
import re
import stat
from urllib.parse import quote

from chandlery.errors import NotFound, RegistryError
from chandlery.linux.atomic import TEMP_MARK, is_whole, remove_if_there, temp_name, write_pieces
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
        self._heads, self._blobs = f"{base}/heads", f"{base}/blobs"

    def heads(self) -> list[HeadName]:
        try:
            names = sorted(os.listdir(self._heads))
        except FileNotFoundError:
            return []
        return [HeadName(*name.split("@", 1)) for name in names if "@" in name and TEMP_MARK not in name]

    def read_head(self, head: HeadName) -> bytes:
        try:
            with _open(f"{self._heads}/{head.slot}@{head.digest}") as file:
                data = file.read(MAX_HEAD_BYTES + 1)
        except FileNotFoundError as gone:
            raise NotFound(f"head {head.slot} is gone from {self.name}", code="volume.head-gone") from gone
        if len(data) > MAX_HEAD_BYTES or hashlib.sha256(data).hexdigest() != head.digest:
            raise RegistryError(f"head {head.slot} of {self.name} is damaged", code="volume.damaged-head", hint="delete the file")
        return data

    def put_head(self, slot: str, document: bytes, blobs: "Iterable[tuple[Digest, int]]") -> HeadName:  # noqa: ARG002 (the protocol's)
        name = HeadName(slot, hashlib.sha256(document).hexdigest())
        os.makedirs(self._heads, exist_ok=True)
        path = f"{self._heads}/{slot}@{name.digest}"
        write_pieces(path, (document,), mode=0o666)
        return name

    def delete_head(self, head: HeadName) -> bool:
        try:
            os.unlink(f"{self._heads}/{head.slot}@{head.digest}")
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    def has_blob(self, digest: Digest) -> bool:
        return os.path.exists(f"{self._blobs}/{digest.hex}")

    def put_blob(self, path: str, digest: Digest, size_bytes: int) -> None:
        target = f"{self._blobs}/{digest.hex}"
        if is_whole(target, size_bytes) and _is_touched(target):
            return
        os.makedirs(self._blobs, exist_ok=True)
        with open(path, "rb", buffering=0) as source:
            write_pieces(target, iter(lambda: source.read(_PIECE), b""), mode=0o666)

    def collect(self, named: "Collection[Digest]", unnamed: "Collection[Digest]", *, older_than_s: float = UNNAMED_FOR_S) -> int:
        """Delete blobs, and what an interruption left, that nobody has named for so long. By the share's own clock: this machine's may be off.

        Others write here, too: only what has a blob's name goes, and nothing behind a link.
        """
        keep = {digest.hex for digest in named}
        removed = 0
        for digest in unnamed:
            _is_touched(f"{self._blobs}/{digest.hex}")
        try:
            now_s = _clock_of(self._blobs)
            directory = os.open(self._blobs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                for name in os.listdir(directory):
                    is_ours = _BLOB_NAME.fullmatch(name) is not None and name not in keep
                    if is_ours and now_s - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime > older_than_s:
                        os.unlink(name, dir_fd=directory)
                        removed += 1
            finally:
                os.close(directory)
        except OSError:
            # another one's files, or another one was faster
            return removed
        return removed

    def open_blob(self, digest: Digest, blob_bytes: int, start: int, size_bytes: int) -> BlobStream:  # noqa: ARG002 (the protocol's)
        try:
            file = _open(f"{self._blobs}/{digest.hex}")
        except FileNotFoundError as gone:
            raise NotFound(f"{self.name} has no blob {digest}", code="volume.blob-gone") from gone
        return BlobStream(start, size_bytes, _pieces(file, start, size_bytes))


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

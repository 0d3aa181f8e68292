"""The tar of `--deps-cache tar:`, on a share that many machines and users see: read whole or not at all, replaced whole or not at all.

    <scope>.<target>.<platform>.<hash>.tar.zst        tar --zstd -tf shows what is in it

It begins with a zstd frame that decoders skip (RFC 8878, 3.1.2), HEADER_BYTES long, in which the sha256 and the size of all that follows are written:
who has unpacked that digest before needn't read on, and a tar that was cut short or damaged is told from a sound one. It is written under a temporary
name in the same directory and renamed, so the last of several writers wins, and nobody ever sees a mixture.
"""

import hashlib
import json
import os
import struct

from chandlery.errors import StoreError
from chandlery.layer.compression import Compression
from chandlery.layer.pack import compress
from chandlery.layer.unpack import unpack_archive
from chandlery.linux.atomic import TEMP_MARK, fsync_dir, remove_if_there, temp_name, write_all
from chandlery.oci.digest import sha256
from chandlery.values import value
from chandlery.volume.entry_tar import tar_chunks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chandlery.volume.tree import Entry

FORMAT = 1
HEADER_BYTES = 256
_FRAME = struct.Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A50
_READ_BYTES = 1 << 20
# a writer that takes longer than this was killed
_ABANDONED_S = 24 * 3600.0


@value
class TarHeader:
    """What a tar's first frame says of the rest."""

    sha256: str
    size_bytes: int


def file_name(scope: str, target: str, platform: str) -> str:
    """The tar's name in its directory: readable, and different where any of the three is, or the format."""
    told = ".".join(["-".join(_words(part)) for part in (scope, target, platform)])
    mark = sha256("\0".join((str(FORMAT), scope, target, platform)).encode("utf-8", "surrogateescape")).hex[:12]
    return f"{told[:160].strip('.')}.{mark}.tar.zst"


def _words(text: str) -> list[str]:
    plain = "".join([sign if sign.isascii() and (sign.isalnum() or sign in "._") else "-" for sign in text])
    return [word for word in plain.split("-") if word]


def read_header(path: str) -> TarHeader | None:
    """None if there is no such tar. Raises OSError; StoreError (deps-cache.damaged)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _header_of(fd, path)
    finally:
        os.close(fd)


def unpack(path: str, directory: str) -> TarHeader:
    """Unpack a tar below an empty directory, which holds anything if this fails. Raises OSError; StoreError (deps-cache.damaged);
    ContextError archive.*, LyingRegistry layer.* for a sound file with hostile content."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = _header_of(fd, path)
        hasher = hashlib.sha256()
        os.lseek(fd, HEADER_BYTES, os.SEEK_SET)
        unpack_archive(_hashed(fd, hasher), directory)
        # what is behind the end of the tar counts as well
        for _ in _hashed(fd, hasher):
            pass
    finally:
        os.close(fd)
    if hasher.hexdigest() != header.sha256:
        raise _damaged(path, "its content isn't what its first bytes promise")
    return header


def write(path: str, files: "Iterable[tuple[Entry, str]]") -> TarHeader:
    """Replace the tar. Raises OSError, InternalError; then the old one is untouched."""
    temp = temp_name(path)
    # the umask decides who else may replace it, as for any file of a share
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            os.lseek(fd, HEADER_BYTES, os.SEEK_SET)
            packed = compress(tar_chunks(files), lambda block: write_all(fd, block), compression=Compression.ZSTD)
            header = TarHeader(packed.digest.hex, packed.size_bytes)
            os.pwrite(fd, _encoded(header), 0)
            os.fsync(fd)
            _remove_abandoned(path, os.fstat(fd).st_mtime)
        finally:
            os.close(fd)
        os.rename(temp, path)
    except BaseException:
        remove_if_there(temp)
        raise
    fsync_dir(os.path.dirname(path))
    return header


def _encoded(header: TarHeader) -> bytes:
    said = json.dumps({"chandlery-deps-cache": FORMAT, "sha256": header.sha256, "size": header.size_bytes}).encode()
    return _FRAME.pack(_SKIPPABLE_MAGIC, HEADER_BYTES - _FRAME.size) + said.ljust(HEADER_BYTES - _FRAME.size)


def _header_of(fd: int, path: str) -> TarHeader:
    first = os.pread(fd, HEADER_BYTES, 0)
    if len(first) < HEADER_BYTES or _FRAME.unpack_from(first) != (_SKIPPABLE_MAGIC, HEADER_BYTES - _FRAME.size):
        raise _damaged(path, "it doesn't begin as it should")
    try:
        said = json.loads(first[_FRAME.size :])
        written, header = said["chandlery-deps-cache"], TarHeader(str(said["sha256"]), int(said["size"]))
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, "its first bytes can't be read") from None
    if written != FORMAT:
        raise _damaged(path, "another version of chandlery wrote it")
    if os.fstat(fd).st_size != HEADER_BYTES + header.size_bytes:
        raise _damaged(path, "it has another size than its first bytes promise")
    return header


def _damaged(path: str, why: str) -> StoreError:
    return StoreError(f"{path} is damaged: {why}", code="deps-cache.damaged", hint="the next build that succeeds replaces it; check the share")


def _hashed(fd: int, hasher: "hashlib._Hash") -> "Iterator[bytes]":
    while data := os.read(fd, _READ_BYTES):
        hasher.update(data)
        yield data


def _remove_abandoned(path: str, now_s: float) -> None:
    """Remove what writers left behind that were killed; `now_s` by the share's clock."""
    directory, name = os.path.split(path)
    with os.scandir(directory) as listing:
        for entry in listing:
            if entry.name.startswith(name + TEMP_MARK) and now_s - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
                remove_if_there(entry.path)

"""An overlay diff directory as a layer: a deterministic tar stream, its digests, and its compressed blob.

The same directory gives the same bytes on every machine: paths in byte order, times in whole seconds, no user names, pax records only
where they are needed (tar_header). It is streamed: one buffer of CHUNK at a time, whatever the size of the diff.

Two digests are defined over that stream. The diff id is its sha256. The content digest, version 1, is the sha256 of the same stream with
every modification time 0: paths, types, modes, owners, sizes, contents, link targets, device numbers, attributes, whiteouts and opaque
marks count, times don't. Both come from one reading of the files.
"""

import hashlib
import os
import stat
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from chandlery.errors import InputError, InternalError
from chandlery.layer import tar_header, walk, whiteout
from chandlery.layer.compression import Compression, encoder, media_type_of
from chandlery.layer.tar_header import MAX_PATH
from chandlery.linux import xattr
from chandlery.linux.id_map import IDENTITY, IdMap
from chandlery.linux.paths import DIRECTORY
from chandlery.oci.digest import Digest, from_hex
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    Buffer = bytes | bytearray | memoryview
    Sink = Callable[[Buffer], object]
    Patch = tuple[int, bytes, int]

CHUNK = 1 << 20
_MAX_WORKERS = 8
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {stat.S_IFCHR: tar_header.CHAR_DEVICE, stat.S_IFBLK: tar_header.BLOCK_DEVICE, stat.S_IFIFO: tar_header.FIFO}


@value
class DiffDigests:
    diff_id: Digest
    tar_size: int
    content_digest: Digest


@value
class PackedLayer:
    """`digest` and `size_bytes` are the blob's, `diff_id` and `tar_size` the plain tar's; `encoder` names what decided the bytes."""

    diff_id: Digest
    tar_size: int
    digest: Digest
    size_bytes: int
    media_type: str
    encoder: str


def tar_chunks(root: str, *, id_map: IdMap = IDENTITY, clamp_mtime_s: int | None = None) -> "Iterator[memoryview]":
    """The layer of an overlay diff directory as a tar, in pieces of exactly CHUNK bytes but for the last; each is the caller's to keep.

    Times later than `clamp_mtime_s` (SOURCE_DATE_EPOCH) become it. Raises InputError layer.whiteout-name or layer.path-too-long for what a
    layer can't hold, InternalError layer.changed if the tree changes meanwhile.
    """
    for chunk in _TarWriter(root, id_map, clamp_mtime_s).chunks():
        chunk.apply_times()
        yield chunk.view


def digest_diff(root: str, *, id_map: IdMap = IDENTITY, clamp_mtime_s: int | None = None) -> DiffDigests:
    """Diff id and content digest of a directory in one reading of its files."""
    with_times, without_times = hashlib.sha256(), hashlib.sha256()

    def take(chunk: _Chunk) -> None:
        without_times.update(chunk.view)
        chunk.apply_times()
        with_times.update(chunk.view)

    tar_size = _each_in_thread(_TarWriter(root, id_map, clamp_mtime_s).chunks(), take)
    return DiffDigests(from_hex(with_times.hexdigest()), tar_size, from_hex(without_times.hexdigest()))


def diff_id_of(root: str, *, id_map: IdMap = IDENTITY, clamp_mtime_s: int | None = None) -> tuple[Digest, int]:
    """The diff id of a directory and the size of its tar."""
    hasher = hashlib.sha256()

    def take(chunk: _Chunk) -> None:
        chunk.apply_times()
        hasher.update(chunk.view)

    tar_size = _each_in_thread(_TarWriter(root, id_map, clamp_mtime_s).chunks(), take)
    return from_hex(hasher.hexdigest()), tar_size


def pack_layer(
    root: str,
    sink: "Sink",
    *,
    compression: Compression = Compression.GZIP,
    level: int | None = None,
    workers: int | None = None,
    id_map: IdMap = IDENTITY,
    clamp_mtime_s: int | None = None,
) -> PackedLayer:
    """Pack a directory as a layer blob, given to `sink` piece by piece in order, in this thread.

    Reading, hashing and compressing overlap; memory is a few blocks a worker. Whatever fails, in `sink` too, is raised here, and no thread
    stays behind.
    """
    return compress(tar_chunks(root, id_map=id_map, clamp_mtime_s=clamp_mtime_s), sink, compression=compression, level=level, workers=workers)


def compress(chunks: "Iterator[Buffer]", sink: "Sink", *, compression: Compression, level: int | None = None, workers: int | None = None) -> PackedLayer:
    """A tar that comes in pieces as a layer blob; see pack_layer."""
    used = encoder(compression, level)
    count = workers or min(os.cpu_count() or 1, _MAX_WORKERS)
    diff_hash, blob_hash = hashlib.sha256(), hashlib.sha256()
    tar_size = size_bytes = 0
    hashed: deque[Future[None]] = deque()
    blocks: deque[Future[Buffer]] = deque()

    def finish_oldest() -> int:
        block = blocks.popleft().result()
        blob_hash.update(block)
        sink(block)
        return len(block)

    with ThreadPoolExecutor(1, "layer-hash") as hasher, ThreadPoolExecutor(count, "layer-compress") as compressors:
        for chunk in _regrouped(chunks, used.block_size):
            tar_size += len(chunk)
            hashed.append(hasher.submit(diff_hash.update, chunk))
            blocks.append(compressors.submit(used.compress, chunk))
            while len(hashed) > 2 * count + 2:
                hashed.popleft().result()
            while blocks and (len(blocks) > 2 * count or blocks[0].done()):
                size_bytes += finish_oldest()
        while blocks:
            size_bytes += finish_oldest()
        while hashed:
            hashed.popleft().result()
    diff_id, digest = from_hex(diff_hash.hexdigest()), from_hex(blob_hash.hexdigest())
    return PackedLayer(diff_id, tar_size, digest, size_bytes, media_type_of(compression), used.name)


def _regrouped(chunks: "Iterator[Buffer]", size: int) -> "Iterator[Buffer]":
    """Chunks joined to `size` bytes."""
    if size == CHUNK:
        yield from chunks
        return
    gathered: list[Buffer] = []
    length = 0
    for chunk in chunks:
        gathered.append(chunk)
        length += len(chunk)
        if length >= size:
            yield b"".join(gathered)
            gathered, length = [], 0
    if gathered:
        yield b"".join(gathered)


def _each_in_thread(chunks: "Iterator[_Chunk]", take: "Callable[[_Chunk], None]") -> int:
    """Give every chunk to `take` in another thread, in order, while the next is read; the bytes seen."""
    total = 0
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, "layer-hash") as thread:
        for chunk in chunks:
            total += len(chunk.view)
            pending.append(thread.submit(take, chunk))
            if len(pending) > 4:
                pending.popleft().result()
        while pending:
            pending.popleft().result()
    return total


class _Chunk:
    """A piece of the tar whose times are still 0, and what makes them real."""

    __slots__ = ("patches", "view")

    def __init__(self, view: memoryview, patches: "list[Patch]") -> None:
        self.view = view
        self.patches = patches

    def apply_times(self) -> None:
        view = self.view
        for at, field, checksum in self.patches:
            view[at + tar_header.MTIME_AT : at + tar_header.MTIME_AT + 12] = field
            view[at + tar_header.CHECKSUM_AT : at + tar_header.CHECKSUM_AT + 8] = tar_header.checksum_field(checksum)


class _TarWriter:
    """Writes one directory's tar into buffers; file contents are read straight into them.

    A full buffer is handed out when the next byte is to be written, so the header just written can still be patched.
    """

    def __init__(self, root: str, id_map: IdMap, clamp_mtime_s: int | None) -> None:
        self._root = root
        self._id_map = id_map
        self._clamp_s = clamp_mtime_s
        self._links: dict[tuple[int, int], bytes] = {}
        self._done: list[_Chunk] = []
        self._fresh_buffer()

    def _fresh_buffer(self) -> None:
        # a new one each time: consumers keep theirs, and a zeroed buffer has its padding written
        self._view = memoryview(bytearray(CHUNK))
        self._at = 0
        self._patches: list[Patch] = []

    def chunks(self) -> "Iterator[_Chunk]":
        root_fd = os.open(self._root, DIRECTORY)
        done = self._done
        try:
            for dir_fd, prefix, status, files in walk.ordered(root_fd):
                if status is not None:
                    self._directory(dir_fd, prefix, status)
                for name, text, file_status in files:
                    if stat.S_ISREG(file_status.st_mode) and not self._is_known(prefix + name, file_status):
                        yield from self._file(dir_fd, prefix + name, text, file_status)
                    else:
                        self._special(dir_fd, prefix, name, text, file_status)
                    while done:
                        yield done.pop(0)
        finally:
            os.close(root_fd)
        # POSIX.1-2017, pax: the archive ends with two blocks of zeros
        self._put(bytes(2 * tar_header.BLOCK))
        self._flush()
        yield from done

    def _flush(self) -> None:
        self._done.append(_Chunk(self._view[: self._at], self._patches))
        self._fresh_buffer()

    def _put(self, blocks: bytes) -> None:
        """Append whole blocks."""
        while blocks:
            if self._at == CHUNK:
                self._flush()
            taken = blocks[: CHUNK - self._at]
            self._view[self._at : self._at + len(taken)] = taken
            self._at += len(taken)
            blocks = blocks[len(taken) :]

    def _directory(self, dir_fd: int, path: bytes, status: os.stat_result) -> None:
        names = xattr.names(dir_fd)
        if names:
            _refuse_references(path, names)
        self._header(path, tar_header.DIRECTORY, status, xattrs=xattr.layer_attributes(dir_fd) if names else None)
        if names and whiteout.is_opaque(dir_fd, names):
            self._mark(path + whiteout.OPAQUE_NAME)

    def _is_known(self, path: bytes, status: os.stat_result) -> bool:
        """Whether an inode was written under another name."""
        return status.st_nlink > 1 and self._links.setdefault((status.st_dev, status.st_ino), path) != path

    def _special(self, dir_fd: int, prefix: bytes, name: bytes, text: str, status: os.stat_result) -> None:
        """Everything without contents: whiteouts, links, devices, pipes."""
        path = prefix + name
        kind = stat.S_IFMT(status.st_mode)
        if whiteout.is_device(status):
            self._mark(prefix + whiteout.PREFIX + name)
            return
        if kind == stat.S_IFSOCK:
            return  # a socket without its process means nothing, and tar has no type for it
        _refuse_whiteout_name(path, name)
        if self._is_known(path, status):
            self._header(path, tar_header.HARD_LINK, status, link=self._links[status.st_dev, status.st_ino])
        elif kind == stat.S_IFLNK:
            self._header(path, tar_header.SYMLINK, status, link=os.fsencode(os.readlink(text, dir_fd=dir_fd)))
        else:
            device = (0, 0) if kind == stat.S_IFIFO else (os.major(status.st_rdev), os.minor(status.st_rdev))
            self._header(path, _SPECIAL[kind], status, device=device)

    def _file(self, dir_fd: int, path: bytes, text: str, status: os.stat_result) -> "Iterator[_Chunk]":
        fd = os.open(text, _FILE_FLAGS, dir_fd=dir_fd)
        try:
            names = xattr.names(fd)
            if names:
                _refuse_references(path, names)
            head, _, name = path.rpartition(b"/")
            if names and whiteout.is_marked_file(status, names):
                self._mark(b"/".join((head, whiteout.PREFIX + name)) if head else whiteout.PREFIX + name)
                return
            _refuse_whiteout_name(path, name)
            left = size = status.st_size
            self._header(path, tar_header.FILE, status, size=size, xattrs=xattr.layer_attributes(fd) if names else None)
            while left:
                if self._at == CHUNK:
                    self._flush()
                    yield self._done.pop(0)
                count = os.readv(fd, (self._view[self._at : self._at + left],))
                if not count:
                    raise InternalError(f"/{os.fsdecode(path)} became shorter while it was read", code="layer.changed")
                left -= count
                self._at += count
        finally:
            os.close(fd)
        self._at += -size % tar_header.BLOCK

    def _mark(self, path: bytes) -> None:
        block, _ = tar_header.header(path, tar_header.FILE, mode=0o600, uid=0, gid=0)
        self._put(block)

    def _header(
        self,
        path: bytes,
        kind: bytes,
        status: os.stat_result,
        *,
        size: int = 0,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: dict[str, bytes] | None = None,
    ) -> None:
        if len(path) > MAX_PATH:
            raise InputError(
                f"/{os.fsdecode(path[:60])}... is {len(path)} bytes deep: no image can have a path that nothing could open",
                code="layer.path-too-long",
                hint="remove the directory in the step that makes it",
            )
        uid, gid = status.st_uid, status.st_gid
        if not self._id_map.is_identity:
            uid, gid = self._id_map.to_container(uid, gid)
        mode = status.st_mode & 0o7777
        blocks, checksum = tar_header.header(path, kind, mode=mode, uid=uid, gid=gid, size=size, link=link, device=device, xattrs=xattrs)
        self._put(blocks)
        # not st_mtime, a float, which rounds: whole seconds as containerd's and Docker's layers have them
        seconds = status.st_mtime_ns // 1_000_000_000
        if self._clamp_s is not None and seconds > self._clamp_s:
            seconds = self._clamp_s
        if seconds:
            field, added = tar_header.mtime_patch(seconds)
            self._patches.append((self._at - tar_header.BLOCK, field, checksum + added))


def _refuse_references(path: bytes, attribute_names: list[str]) -> None:
    """An inode that stands for one in a lower layer is no content: its overlay must be mounted with redirect_dir=off,metacopy=off."""
    if not whiteout.REFERENCES.isdisjoint(attribute_names):
        raise InternalError(f"/{os.fsdecode(path)} refers to a lower layer, which no tar can express", code="layer.overlay-reference")


def _refuse_whiteout_name(path: bytes, name: bytes) -> None:
    if name.startswith(whiteout.PREFIX):
        raise InputError(
            f"/{os.fsdecode(path)} can't be part of an image: names that start with .wh. mean deletions in a layer",
            code="layer.whiteout-name",
            hint="remove the file in the step that makes it, or put it into an archive",
        )

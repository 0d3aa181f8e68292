"""The local and tar outputs: the result's files, out of a mounted read-only view.

Local files become the invoking user's own when that isn't root (a build as root keeps the image's owners); a destination is merged into, never emptied, as
buildx does. The tar output has the image's owners, times and attributes.
"""

import os
import stat

from chandlery.errors import RequestError
from chandlery.layer.pack import tar_chunks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


def write_tar(out: "IO[bytes]", view: str, *, clamp_s: int | None = None) -> int:
    """The view as one tar; how many bytes."""
    written = 0
    for chunk in tar_chunks(view, clamp_mtime_s=clamp_s):
        out.write(chunk)
        written += len(chunk)
    return written


def write_directory(destination: str, view: str) -> int:
    """Copy the view's files into a directory, made if need be; how many files. Devices and sockets are left out."""
    try:
        os.makedirs(destination, exist_ok=True)
        return _copy_directory(view, destination)
    except OSError as error:
        where = error.filename or destination
        raise RequestError(f"can't write {os.fsdecode(where)}: {error.strerror}", code="request.unwritable", hint="check the output's dest=") from error


def _copy_directory(source: str, target: str) -> int:
    count = 0
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            found = entry.stat(follow_symlinks=False)
            count += _copy_entry(entry.path, os.path.join(target, entry.name), found)
    return count


def _copy_entry(source: str, target: str, found: os.stat_result) -> int:
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        if os.path.islink(target) or (os.path.lexists(target) and not os.path.isdir(target)):
            os.unlink(target)
        os.makedirs(target, exist_ok=True)
        count = _copy_directory(source, target)
    elif kind == stat.S_IFLNK:
        _replace(target, lambda name: os.symlink(os.readlink(source), name))
        count = 1
    elif kind == stat.S_IFREG:
        _replace(target, lambda name: _copy_file(source, name, found.st_size))
        count = 1
    else:
        return 0
    if kind != stat.S_IFLNK:
        os.chmod(target, stat.S_IMODE(found.st_mode))
    if os.geteuid() == 0:
        os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(target, stat.S_IMODE(found.st_mode))
    os.utime(target, ns=(found.st_mtime_ns, found.st_mtime_ns), follow_symlinks=False)
    return count


def _replace(target: str, make: "Callable[[str], None]") -> None:
    """Make a file under a temporary name and give it its own, over whatever is there but a directory."""
    temporary = f"{os.path.dirname(target)}/.chandlery-{os.urandom(6).hex()}.tmp"
    try:
        make(temporary)
        os.replace(temporary, target)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def _copy_file(source: str, target: str, size: int) -> None:
    with open(source, "rb", buffering=0) as reader, open(target, "wb", buffering=0) as writer:
        left = size
        while left:
            copied = os.sendfile(writer.fileno(), reader.fileno(), None, left)
            if not copied:
                break
            left -= copied


if TYPE_CHECKING:
    from collections.abc import Callable

"""`Destination`: a file that the user named, to write something whole to."""

import os
import stat
import sys

from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


class Destination:
    """Standard output for "-", else a file that appears, or changes, when the block ends well. Raises RequestError (request.unwritable).

    A name that is no regular file (a device, a pipe, /dev/stdout) is written to as it is: replacing /dev/null would take it from the whole machine.
    A link is followed, so that what it points to is replaced, not the link.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._temporary = ""

    def __enter__(self) -> "IO[bytes]":
        if self._path == "-":
            self._file: IO[bytes] = sys.stdout.buffer
            return self._file
        try:
            place = os.path.realpath(self._path)
            if _may_be_replaced(self._path):
                os.makedirs(os.path.dirname(place), exist_ok=True)
                self._temporary, self._place = f"{os.path.dirname(place)}/.chandlery-{os.urandom(6).hex()}.tmp", place
            self._file = open(self._temporary or self._path, "wb" if self._temporary else "ab")
        except OSError as error:
            raise self._unwritable(error) from error
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        if self._path == "-":
            self._file.flush()
            return
        try:
            self._file.close()
            if self._temporary and kind is None:
                os.replace(self._temporary, self._place)
        except OSError as error:
            kind = kind or OSError
            raise self._unwritable(error) from error
        finally:
            if self._temporary and kind is not None and os.path.lexists(self._temporary):
                os.unlink(self._temporary)

    def _unwritable(self, error: OSError) -> RequestError:
        return RequestError(
            f"can't write {self._path}: {error.strerror}", code="request.unwritable", hint="name a file that you may write, on a disk with space"
        )


def _may_be_replaced(path: str) -> bool:
    if os.path.abspath(path).startswith(("/dev/", "/proc/")):
        return False  # /dev/stdout may lead to a file, but it is the open one that is meant
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True

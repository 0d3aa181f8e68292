"""`Destination`: a file to write something whole to."""

import os
import sys

from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


class Destination:
    """Standard output for "-", else a temporary name that becomes the path when the block ends well. Raises RequestError (request.unwritable)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._temporary = f"{path}.{os.getpid()}.tmp"

    def __enter__(self) -> "IO[bytes]":
        if self._path == "-":
            self._file: IO[bytes] = sys.stdout.buffer
            return self._file
        try:
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            self._file = open(self._temporary, "wb")
        except OSError as error:
            raise RequestError(f"can't write {self._path}: {error.strerror}", code="request.unwritable", hint="check the path") from error
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        if self._path == "-":
            self._file.flush()
            return
        self._file.close()
        if kind is None:
            os.replace(self._temporary, self._path)
        else:
            os.unlink(self._temporary)

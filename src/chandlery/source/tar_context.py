"""A build context that comes as a tar: extracted into the session's scratch, strictly beneath it, whatever the tar says."""

import os

from chandlery.errors import ContextError
from chandlery.layer.unpack import unpack_archive


def unpack_context(tar: str, directory: str) -> str:
    """Extract the tar file `tar`, plain or compressed, into the empty `directory`, and return that.

    Raises ContextError (codes archive.*, context.unreadable), NoSpace.
    """
    try:
        with open(tar, "rb", buffering=0) as source:
            unpack_archive(source, directory)
    except FileNotFoundError as error:
        raise ContextError(f"the context {tar} can't be read: {error.strerror}", code="context.unreadable", hint="give a tar file") from error
    os.chmod(directory, 0o755)
    return directory

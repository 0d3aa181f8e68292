"""The one boundary at which errors of the file system below the store become ours.

A full disk is NoSpace, a read-only one StoreError store.read-only, a failing one store.damaged; anything else stays an OSError,
because it would be a bug.
"""

import errno

from chandlery.errors import ChandleryError, NoSpace, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS,)
_FAILING = (errno.EIO, errno.EUCLEAN, errno.ESTALE)


def no_space(where: str) -> NoSpace:
    return NoSpace(f"no space left on the file system of {where}", hint="free some with `chandlery prune`, or choose another store with --root")


def read_only(where: str) -> StoreError:
    return StoreError(f"the store at {where} can't be written", code="store.read-only", hint="choose another store with --root or CHANDLERY_ROOT")


def translate(error: OSError, where: str) -> ChandleryError | OSError:
    """What to raise for `error`, met while writing below `where`."""
    if error.errno in _FULL:
        return no_space(where)
    if error.errno in _READ_ONLY:
        return read_only(where)
    if error.errno in _FAILING:
        return StoreError(
            f"the file system of {where} fails: {error.strerror}", code="store.damaged", hint="check the disk (dmesg), or use another with --root"
        )
    return error


class translated:
    """`with translated(where):` raises ours for the OSErrors of its body (a class, because contextlib costs the warm path 1 ms)."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            ours = translate(error, self._where)
            if ours is not error:
                raise ours from error

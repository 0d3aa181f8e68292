"""The one boundary at which whatever else was raised during a build becomes ours: nobody who builds an image is shown a traceback."""

import os

from chandlery.content import faults
from chandlery.errors import ChandleryError, InternalError, MachineError


def as_ours(failure: Exception, root: str) -> Exception:
    """The ChandleryError that stands for `failure`, met in a build of the store at `root`; a reader of our output that left stays what it is."""
    if isinstance(failure, ChandleryError | BrokenPipeError):
        return failure
    ours: Exception
    if isinstance(failure, OSError):
        ours = faults.translate(failure, root)
        if ours is failure:
            where = f": {os.fsdecode(failure.filename)}" if isinstance(failure.filename, str | bytes) else ""
            ours = MachineError(f"{failure.strerror or failure}{where}", code="machine.refused", hint=_hint(failure))
    elif isinstance(failure, MemoryError):
        ours = MachineError("this machine has no memory left", code="machine.no-memory", hint="run fewer steps at once: max-steps in chandlery.toml")
    else:
        ours = InternalError(f"{type(failure).__name__}: {failure}", hint="this is a bug: please report it; CHANDLERY_DEBUG=1 shows where it happened")
    ours.__cause__ = failure
    return ours


def _hint(failure: OSError) -> str:
    import errno

    if failure.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files: ulimit -n 65536"
    if failure.errno in (errno.EPERM, errno.EACCES):
        return "check permissions; in a container, check docs/in-a-container.md for what it needs"
    return "check this machine's disk and limits (dmesg may say more)"

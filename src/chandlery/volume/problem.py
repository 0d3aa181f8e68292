"""`Problem`: what is wrong with something that a remote has, which costs what it hides and no more: as the user reads it, and its stable code."""

import errno

from chandlery.errors import ChandleryError, NoSpace
from chandlery.values import value


@value
class Problem:
    text: str
    code: str


def problem_of(failure: Exception, about: str = "") -> Problem:
    """`about` says what it is wrong with, where the failure doesn't."""
    text = str(failure) or type(failure).__name__
    return Problem(f"{about}: {text}" if about else text, code_of(failure))


def code_of(failure: Exception) -> str:
    """The code of an error; of the system's, and of what a document that isn't one makes of us, one that stands for all."""
    if isinstance(failure, ChandleryError):
        return failure.code
    if isinstance(failure, OSError):
        return NoSpace.code if failure.errno in (errno.ENOSPC, errno.EDQUOT) else "volume.unusable"
    return "volume.malformed"

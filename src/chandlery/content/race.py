"""Named points at which a test can kill a process, so that crashes are replayed and not hoped for.

`reach(point)` stands where a crash would be most interesting. It does nothing, unless CHANDLERY_RACE_KILL was set when the process
started: to a point's name, the process kills itself with SIGKILL the first time it gets there; to a number n, at the n-th point it
reaches, whichever that is.
"""

import os


def _armed(where: str) -> None:
    global _left
    _left -= 1
    if where == _spec or _left == 0:
        os.kill(os.getpid(), 9)


_spec = os.environ.get("CHANDLERY_RACE_KILL", "")
_left = int(_spec) if _spec.isdigit() else -1


def _idle(_where: str) -> None:
    """What production runs."""


reach = _armed if _spec else _idle

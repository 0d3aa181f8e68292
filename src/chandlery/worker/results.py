"""What vertices result in, beside file systems, and how work is reported while it goes on."""

from chandlery.graph.op import HttpOp
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from chandlery.volume.adapters.adapter import MutableName
    from chandlery.volume.history import StepUse

    class Reporter(Protocol):
        """A step as its worker sees it: output, progress in bytes, bytes that crossed the network, what it had of cache volumes, warnings."""

        name: str

        def log(self, stream: int, data: bytes) -> None: ...
        def progress(self, label: str, done: int, total: int) -> None: ...
        def moved(self, size_bytes: int) -> None: ...
        def used_volume(self, scope: str, use: StepUse) -> None: ...
        def warn(self, code: str, message: str) -> None: ...


@value
class ContextFiles:
    """The result of a context vertex: its name; the files stay where they are."""

    name: str


@value
class HttpFile:
    """The result of a URL vertex: a blob of the store, its name and its modification time."""

    op: HttpOp


@value
class Made:
    """What a worker made of a step: the snapshot of its one new layer, how large it is, and the mutable names that the step may have resolved."""

    snapshot: str
    size_bytes: int = 0
    observed: "tuple[MutableName, ...]" = ()

"""What the solver asks for. Each action is answered by exactly one fact about its vertex (see facts.py)."""

from chandlery.solver.cache_key import CacheKey
from chandlery.values import value


@value
class LookUp:
    """Is there a record under this key? Answer: KeyFound or KeyMissing."""

    vertex: int
    key: CacheKey


@value
class DigestInputs:
    """Digest what the vertex selects of its resolved inputs. Answer: Digested or ResultLost."""

    vertex: int


@value
class FindTwin:
    """The vertex missed and its input 0 was just executed: look for an older record on a parent with the same content. Answer: TwinFound or NoTwin."""

    vertex: int


@value
class Execute:
    """Make the result and record it under `keys` (none for sources and exports). Answer: Executed, Failed or ResultLost."""

    vertex: int
    keys: tuple[CacheKey, ...]


@value
class Stop:
    """A vertex failed: cancel what is running."""


Action = LookUp | DigestInputs | FindTwin | Execute | Stop

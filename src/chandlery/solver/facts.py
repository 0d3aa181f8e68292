"""What the driver tells the solver. `result` is whatever the worker calls a result: the solver only hands it on."""

from chandlery.oci.digest import Digest
from chandlery.values import value


@value
class Wanted:
    """The first fact: resolve the graph's targets."""


@value
class KeyFound:
    """A record exists under the key that was looked up, and what it names is leased to this build."""

    vertex: int
    result: object


@value
class KeyMissing:
    vertex: int


@value
class Digested:
    """The digests of what the vertex selects of its inputs other than input 0, as sorted (input, digest) pairs."""

    vertex: int
    digests: tuple[tuple[int, Digest], ...]


@value
class TwinFound:
    """An older record of this very operation stands on a parent with the same content as the new parent: both are replaced by the older chain."""

    vertex: int
    parent_result: object
    result: object


@value
class NoTwin:
    vertex: int


@value
class Executed:
    vertex: int
    result: object


@value
class Failed:
    """The vertex can't be had; nothing new is started, what runs is told to stop."""

    vertex: int


@value
class ResultLost:
    """While `vertex` was worked on, the results of `inputs` turned out to be gone: their hits are revoked."""

    vertex: int
    inputs: tuple[int, ...]


Fact = Wanted | KeyFound | KeyMissing | Digested | TwinFound | NoTwin | Executed | Failed | ResultLost

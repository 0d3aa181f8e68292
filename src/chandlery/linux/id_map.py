"""`IdMap`: who a user inside a container is on this machine. All ownership, in layers and on disk, goes through one.

As root it is the identity. A mapped one has the shape of /proc/PID/uid_map (user_namespaces(7)): ranges (inside, outside, length).
An id outside every range can't be represented and is an error, never silently somebody else.
"""

from chandlery.errors import MachineError
from chandlery.values import value


@value
class IdMap:
    """`uids` and `gids` are ranges (first id in the container, first id on the host, how many); empty means identity."""

    uids: tuple[tuple[int, int, int], ...] = ()
    gids: tuple[tuple[int, int, int], ...] = ()

    @property
    def is_identity(self) -> bool:
        return not self.uids and not self.gids

    def to_host(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's ids of a container's owner. Raises MachineError idmap.unmapped."""
        return _map(self.uids, uid, 0, "uid"), _map(self.gids, gid, 0, "gid")

    def to_container(self, uid: int, gid: int) -> tuple[int, int]:
        """The container's ids of a file's owner on the host. Raises MachineError idmap.unmapped."""
        return _map(self.uids, uid, 1, "uid"), _map(self.gids, gid, 1, "gid")


IDENTITY = IdMap()


def _map(ranges: tuple[tuple[int, int, int], ...], number: int, side: int, kind: str) -> int:
    if not ranges:
        return number
    for entry in ranges:
        offset = number - entry[side]
        if 0 <= offset < entry[2]:
            return entry[1 - side] + offset
    raise MachineError(
        f"{kind} {number} is outside of the ids that this user may map",
        code="idmap.unmapped",
        hint="give the user a larger range in /etc/subuid and /etc/subgid",
    )

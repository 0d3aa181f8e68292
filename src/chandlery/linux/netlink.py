"""Links, addresses, routes and rules of a network namespace, by rtnetlink(7): no `ip` command, a tenth of a millisecond each.

A socket speaks to the namespace in which it was made, from whichever thread it is used later. IPv4 only: what we build is.
"""

import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE, _NEW_RULE = 16, 20, 24, 32
_REQUEST_ACK, _EXCLUSIVE_CREATE = 1 | 4, 0x200 | 0x400
_NLMSG_ERROR = 2
_IFF_UP = 1
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 4, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RTN_UNICAST, _RTN_UNREACHABLE = 1, 7
_FRA_IIFNAME, _FRA_TABLE = 3, 15
_RT_TABLE_MAIN, _RTPROT_STATIC, _SCOPE_UNIVERSE, _SCOPE_LINK, _RTNH_F_ONLINK = 254, 4, 0, 253, 4


class Netlink:
    """Acts on the namespace of the thread that makes it. Every method raises OSError with the kernel's errno."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def add_veth(self, name: str, index: int, *, peer_name: str, peer_index: int, peer_network: int, mtu: int) -> None:
        """A pair of connected links: `name` here, its peer in the namespace of descriptor `peer_network`."""
        peer = _link(peer_index) + _text(_IFLA_IFNAME, peer_name) + _number(_IFLA_MTU, mtu) + _number(_IFLA_NET_NS_FD, peer_network)
        info = _text(_INFO_KIND, "veth") + _attribute(_INFO_DATA, _attribute(_VETH_INFO_PEER, peer))
        body = _link(index) + _text(_IFLA_IFNAME, name) + _number(_IFLA_MTU, mtu) + _attribute(_IFLA_LINKINFO, info)
        self._request(_NEW_LINK, _EXCLUSIVE_CREATE, body)

    def set_up(self, index: int) -> None:
        self._request(_NEW_LINK, 0, _link(index, _IFF_UP, _IFF_UP))

    def add_address(self, index: int, address: str, prefix: int) -> None:
        packed = socket.inet_aton(address)
        body = struct.pack("=BBBBi", socket.AF_INET, prefix, 0, 0, index) + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        self._request(_NEW_ADDRESS, _EXCLUSIVE_CREATE, body)

    def add_route(self, network: str, prefix: int, *, index: int, gateway: str = "", table: int = _RT_TABLE_MAIN) -> None:
        """A route out of link `index`; with a gateway, which need not be in any network that the link knows."""
        attributes = _attribute(_RTA_DST, socket.inet_aton(network)) if prefix else b""
        attributes += _number(_RTA_OIF, index) + _number(_RTA_TABLE, table)
        attributes += _attribute(_RTA_GATEWAY, socket.inet_aton(gateway)) if gateway else b""
        scope = _SCOPE_UNIVERSE if gateway else _SCOPE_LINK
        self._request(_NEW_ROUTE, _EXCLUSIVE_CREATE, _route(prefix, scope, _RTN_UNICAST, _RTNH_F_ONLINK if gateway else 0) + attributes)

    def add_unreachable(self, network: str, prefix: int, *, table: int) -> None:
        """What is sent there is answered at once with "unreachable"."""
        attributes = _attribute(_RTA_DST, socket.inet_aton(network)) + _number(_RTA_TABLE, table)
        self._request(_NEW_ROUTE, _EXCLUSIVE_CREATE, _route(prefix, _SCOPE_UNIVERSE, _RTN_UNREACHABLE, 0) + attributes)

    def add_rule_for_incoming(self, link_name: str, table: int) -> None:
        """What comes in by `link_name` is routed by `table`."""
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, _RTN_UNICAST, 0)
        self._request(_NEW_RULE, _EXCLUSIVE_CREATE, body + _text(_FRA_IIFNAME, link_name) + _number(_FRA_TABLE, table))

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_ACK | flags, self._sequence, 0)
        self._socket.send(header + body)
        answer = self._socket.recv(8192)
        (answer_kind,) = struct.unpack_from("=H", answer, 4)
        (error,) = struct.unpack_from("=i", answer, 16)
        if answer_kind == _NLMSG_ERROR and error:
            raise OSError(-error, os.strerror(-error))


def covers(routes: "Sequence[tuple[int, int]]", network: int, mask: int) -> bool:
    """Whether one of `routes` (network, mask) overlaps `network`/`mask`; default routes don't count."""
    return any(other_mask and (network & other_mask & mask) == (other & other_mask & mask) for other, other_mask in routes)


def machine_routes() -> list[tuple[int, int]]:
    """(network, mask) of this namespace's IPv4 routes, in host byte order (proc(5), /proc/net/route)."""
    with open("/proc/thread-self/net/route") as file:
        lines = file.read().splitlines()[1:]
    fields = [line.split() for line in lines]
    return [(_swapped(field[1]), _swapped(field[7])) for field in fields if len(field) > 7]


def _swapped(text: str) -> int:
    return int.from_bytes(int(text, 16).to_bytes(4, "little"), "big")


def _link(index: int, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, flags, change)


def _route(prefix: int, scope: int, kind: int, flags: int) -> bytes:
    return struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, 0, _RTPROT_STATIC, scope, kind, flags)


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + bytes(-length % 4)


def _number(kind: int, number: int) -> bytes:
    return _attribute(kind, struct.pack("=I", number))


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")

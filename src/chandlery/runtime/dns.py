"""How names are resolved in the isolated network: by the machine's own resolvers where a step can reach them, else through a forwarder.

A resolver on the machine's loopback (systemd-resolved's stub, dnsmasq), on a link-local address (a cloud's) or on IPv6 is out of a step's reach. Where
systemd-resolved names the real ones they are used; else a forwarder listens in the router's namespace and asks from the machine's side. It
carries messages as they are, over UDP and TCP, to the first resolver that answers. https://www.rfc-editor.org/rfc/rfc7766
"""

import ipaddress
import os
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEMD_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"
_ANSWER_TIMEOUT_S = 3.0
_IDLE_TIMEOUT_S = 20.0
_MESSAGE_MAX_BYTES = 65535
_WORKERS = 8


@value
class Resolvers:
    """A resolv.conf: its nameservers, and its other lines (search, options) as they are."""

    nameservers: tuple[str, ...]
    other_lines: tuple[str, ...] = ()

    @property
    def needs_forwarder(self) -> bool:
        return not any(_is_reachable(address) for address in self.nameservers)

    def text(self, forwarder: str = "") -> str:
        """The file for a step; `forwarder` is the address of ours, if the machine's resolvers are out of reach."""
        usable = [forwarder] if forwarder else [address for address in self.nameservers if _is_reachable(address)]
        return "".join(f"{line}\n" for line in (*(f"nameserver {address}" for address in usable), *self.other_lines))


@value
class Sockets:
    """Where a forwarder listens."""

    udp: socket.socket
    tcp: socket.socket

    @staticmethod
    def listen(address: str) -> "Sockets":
        """Bind port 53 of `address` in the calling thread's network namespace."""
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp.bind((address, 53))
        tcp.bind((address, 53))
        tcp.listen(64)
        return Sockets(udp, tcp)


def read_resolvers(path: str, systemd_path: str) -> Resolvers:
    """The machine's resolvers, as `path` says or, where that is only a stub, as `systemd_path` does; without any file, the one on its loopback."""
    found = _parse(path)
    if found.needs_forwarder and os.path.exists(systemd_path):
        real = _parse(systemd_path)
        if not real.needs_forwarder:
            return real
    return found


class Forwarder:
    """Answers on `listening` with what the first of `nameservers` that answers says, until it is closed."""

    def __init__(self, listening: Sockets, nameservers: "Sequence[str]", port: int = 53) -> None:
        self._listening = listening
        self._upstream = [(address, port) for address in nameservers]
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="chandlery-dns")
        self._stop_read_fd, self._stop_write_fd = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="chandlery-dns", daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.write(self._stop_write_fd, b"x")
        self._thread.join()
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._listening.udp.close()
        self._listening.tcp.close()
        os.close(self._stop_read_fd)
        os.close(self._stop_write_fd)

    def _serve(self) -> None:
        udp, tcp = self._listening.udp, self._listening.tcp
        while True:
            ready, _, _ = select.select([udp.fileno(), tcp.fileno(), self._stop_read_fd], [], [])
            if self._stop_read_fd in ready:
                return
            if udp.fileno() in ready:
                message, client = udp.recvfrom(_MESSAGE_MAX_BYTES)
                self._workers.submit(self._answer_datagram, message, client)
            if tcp.fileno() in ready:
                connection, _ = tcp.accept()
                self._workers.submit(self._answer_connection, connection)

    def _answer_datagram(self, message: bytes, client: tuple[str, int]) -> None:
        answer = self._ask(message, _over_udp)
        if answer:
            self._listening.udp.sendto(answer, client)

    def _answer_connection(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(_IDLE_TIMEOUT_S)
            try:
                while message := _receive_framed(connection):
                    answer = self._ask(message, _over_tcp)
                    if not answer:
                        return
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)
            except OSError:
                return  # the client went away

    def _ask(self, message: bytes, carry: "_Carrier") -> bytes:
        for upstream in self._upstream:
            try:
                return carry(message, upstream)
            except OSError:
                continue
        return b""


if TYPE_CHECKING:
    from collections.abc import Callable

    _Carrier = Callable[[bytes, tuple[str, int]], bytes]


def _over_udp(message: bytes, upstream: tuple[str, int]) -> bytes:
    with socket.socket(_family(upstream[0]), socket.SOCK_DGRAM) as asking:
        asking.settimeout(_ANSWER_TIMEOUT_S)
        asking.connect(upstream)
        asking.send(message)
        return asking.recv(_MESSAGE_MAX_BYTES)


def _over_tcp(message: bytes, upstream: tuple[str, int]) -> bytes:
    with socket.create_connection(upstream, timeout=_ANSWER_TIMEOUT_S) as asking:
        asking.sendall(len(message).to_bytes(2, "big") + message)
        return _receive_framed(asking)


def _receive_framed(connection: socket.socket) -> bytes:
    """One message with its two bytes of length before it; empty at the end of the connection."""
    length = int.from_bytes(_receive_exactly(connection, 2), "big")
    return _receive_exactly(connection, length) if length else b""


def _receive_exactly(connection: socket.socket, size_bytes: int) -> bytes:
    received = b""
    while len(received) < size_bytes:
        piece = connection.recv(size_bytes - len(received))
        if not piece:
            return b""
        received += piece
    return received


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _parse(path: str) -> Resolvers:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file]
    except FileNotFoundError:
        lines = []
    words = [line.split() for line in lines]
    nameservers = tuple(word[1] for word in words if len(word) > 1 and word[0] == "nameserver")
    others = tuple(line for line, word in zip(lines, words, strict=True) if word and word[0] in ("search", "domain", "options", "sortlist"))
    return Resolvers(nameservers or ("127.0.0.1",), others)


def _is_reachable(address: str) -> bool:
    """Whether a step in the isolated network can ask it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.version == 4 and not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)

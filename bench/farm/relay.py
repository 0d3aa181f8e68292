"""A TCP relay that adds a round-trip time: `python -m bench.farm.relay SECONDS ADDRESS:PORT=ADDRESS:PORT ...`.

Each direction holds what it receives for half the time; the first bytes of a connection wait one whole round trip longer, as they would for the
handshake. Bandwidth is not its business (the links shape that); what waits is bounded, so that a slow receiver slows its sender down.
"""

import asyncio
import sys
from collections import deque

_MOST_WAITING = 8 << 20
"""Bytes in one direction: several times what a fast link holds during one round trip."""


class Direction:
    """What travels one way: chunks with the moment at which each is due."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._due: deque[tuple[float, bytes]] = deque()
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self.has_ended = False
        self.sender: asyncio.Transport | None = None
        self.receiver: asyncio.Transport | None = None
        self.receiver_is_full = False
        self.other: Direction | None = None
        """The way back: a connection whose both ways have ended is closed."""

    def put(self, data: bytes) -> None:
        self._due.append((self._loop.time() + self._delay_s, data))
        self._waiting += len(data)
        if self._waiting > _MOST_WAITING and self.sender:
            self.sender.pause_reading()
        self.arm()

    def end(self) -> None:
        """The sender sends no more: an empty chunk says so in its turn."""
        if not self.has_ended:
            self.has_ended = True
            self._due.append((self._loop.time() + self._delay_s, b""))
            self.arm()

    def arm(self) -> None:
        if self._timer is None and self._due and self.receiver and not self.receiver_is_full:
            self._timer = self._loop.call_at(self._due[0][0], self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._due and self._due[0][0] <= now and self.receiver and not self.receiver_is_full:
            data = self._due.popleft()[1]
            self._waiting -= len(data)
            if self.receiver.is_closing():
                continue
            if data:
                self.receiver.write(data)
            elif self.other and self.other.has_ended:
                self.receiver.close()
            elif self.receiver.can_write_eof():
                self.receiver.write_eof()
        if self._waiting <= _MOST_WAITING and self.sender and not self.sender.is_closing():
            self.sender.resume_reading()
        self.arm()


class End(asyncio.Protocol):
    """One end of a relayed connection: what it receives goes into `out`, what comes out of `into` it sends."""

    def __init__(self, out: Direction, into: Direction) -> None:
        self.out = out
        self.into = into

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.out.sender = self.into.receiver = transport
        self.into.arm()

    def data_received(self, data: bytes) -> None:
        self.out.put(data)

    def eof_received(self) -> bool:
        self.out.end()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.out.end()
        if self.out.receiver:
            asyncio.get_running_loop().call_later(1, self.out.receiver.close)

    def pause_writing(self) -> None:
        self.into.receiver_is_full = True

    def resume_writing(self) -> None:
        self.into.receiver_is_full = False
        self.into.arm()


class Client(End):
    """The near end: once it is there, the far one is connected to, a round trip late."""

    def __init__(self, rtt_s: float, target: tuple[str, int]) -> None:
        super().__init__(Direction(rtt_s / 2), Direction(rtt_s / 2))
        self.out.other, self.into.other = self.into, self.out
        self._rtt_s = rtt_s
        self._target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        # its client sent its request without waiting for a handshake: that one round trip, and the half that every request takes
        await asyncio.sleep(self._rtt_s * 1.5)
        try:
            await asyncio.get_running_loop().create_connection(lambda: End(self.into, self.out), *self._target)
        except OSError:
            assert self.out.sender
            self.out.sender.abort()


async def relay(rtt_s: float, routes: dict[str, str]) -> None:
    loop = asyncio.get_running_loop()
    for near, far in routes.items():
        host, _, port = near.rpartition(":")
        target = (far.rpartition(":")[0], int(far.rpartition(":")[2]))
        await loop.create_server(lambda target=target: Client(rtt_s, target), host, int(port), backlog=256)  # type: ignore[misc]
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(relay(float(sys.argv[1]), dict(route.split("=") for route in sys.argv[2:])))

"""A static file server over HTTP/1.1: `python -m bench.farm.files ADDRESS:PORT DIRECTORY`.

It stands for Maven Central and for the company's repository. Small, and fast enough that two cores which build
at the same time don't notice it: what a builder downloads must not cost it more here than behind a real server.
"""

import asyncio
import os
import sys
from urllib.parse import unquote


class Connection(asyncio.Protocol):
    def __init__(self, root: str) -> None:
        self._root = root
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        method, target = head.split(b" ", 2)[:2]
        path = os.path.normpath("/" + unquote(target.decode()).partition("?")[0])
        try:
            with open(self._root + path, "rb") as file:
                body = file.read()
            status = b"200 OK"
        except OSError:
            body, status = b"", b"404 Not Found"
        self._transport.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
        if method != b"HEAD":
            self._transport.write(body)


async def serve(address: str, root: str) -> None:
    host, _, port = address.rpartition(":")
    server = await asyncio.get_running_loop().create_server(lambda: Connection(root), host, int(port), backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))

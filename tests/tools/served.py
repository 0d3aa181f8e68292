"""A server on the loopback that counts what tools take from it: files by name, with the headers that a registry sends."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chandlery.values import value


@value
class Page:
    body: bytes
    kind: str
    cache_control: str = ""


class Served:
    """`pages` by path; `taken` are the paths whose bodies were sent, in order, and `asked` all, also those that were still good (304) or are not there."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[str] = []
        self.taken: list[str] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(self.command == "GET")

            do_HEAD = do_GET

            def _answer(self, with_body: bool) -> None:
                path = self.path.partition("?")[0].partition("#")[0]
                page = served.pages.get(path)
                served.asked.append(path)
                if page is None:
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                tag = f'"{hashlib.sha256(page.body).hexdigest()[:16]}"'
                still_good = self.headers.get("If-None-Match") == tag
                self.send_response(304 if still_good else 200)
                self.send_header("ETag", tag)
                if page.cache_control:
                    self.send_header("Cache-Control", page.cache_control)
                if not still_good:
                    self.send_header("Content-Type", page.kind)
                    self.send_header("Content-Length", str(len(page.body)))
                self.end_headers()
                if with_body and not still_good:
                    served.taken.append(path)
                    self.wfile.write(page.body)

            def log_message(self, *arguments) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "Served":
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def counted(self) -> list[str]:
        """The names of the files that were sent since it was last asked; not the pages of an index."""
        names = sorted(path.rpartition("/")[2] for path in self.taken if not path.endswith("/"))
        self.taken.clear()
        self.asked.clear()
        return names

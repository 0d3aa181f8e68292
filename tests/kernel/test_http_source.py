"""ADD of a URL against a real server on loopback: what moves, what is believed, what is refused."""

import http.server
import threading

import pytest

from chandlery.content.store import Store
from chandlery.errors import ChandleryError
from chandlery.oci.digest import Digest, sha256
from chandlery.registry.http import HttpClient
from chandlery.registry.settings import RegistrySettings
from chandlery.source.http import HttpPin, HttpSource, file_name_of


class Server(http.server.ThreadingHTTPServer):
    """`answers` maps a path to (status, headers, body); `asked` lists (path, status) as they went out."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.asked: list[tuple[str, int]] = []
        self.seen: list[dict[str, str]] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def say(self, path: str, body: bytes = b"", *, status: int = 200, **headers: str) -> str:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.answers.setdefault(path, []).append((status, named, body))
        return self.url(path)

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        queue = self.server.answers.get(path) or [(404, {}, b"")]
        status, headers, body = queue.pop(0) if len(queue) > 1 else queue[0]
        if status == 200 and headers.get("ETag") and self.headers.get("If-None-Match") == headers["ETag"]:
            status, body = 304, b""
        if status == 200 and headers.get("Last-Modified") and self.headers.get("If-Modified-Since") == headers["Last-Modified"]:
            status, body = 304, b""
        self.server.asked.append((path, status))
        self.server.seen.append(dict(self.headers))
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if "Content-Length" not in headers and status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if "Content-Length" in headers:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def box(tmp_path):
    with Store.open(str(tmp_path / "R")) as store:
        client = HttpClient(RegistrySettings(attempts=3, back_off_s=0.01), sleep=lambda _: None)
        with store.begin() as session:
            yield Box(store, session, client)
        client.close()


class Box:
    def __init__(self, store, session, client) -> None:
        self.store = store
        self.session = session
        self.source = HttpSource(store, client, max_bytes=1 << 20)

    def pin(self, url: str, **options) -> HttpPin:
        return self.source.pin(url, self.session, **options)

    def fails(self, url: str, **options) -> tuple[str, bool]:
        with pytest.raises(ChandleryError) as caught:
            self.pin(url, **options)
        return caught.value.code, caught.value.retryable


def test_a_url_becomes_a_blob_with_a_name_and_a_time(box, server) -> None:
    url = server.say("/dir/a%20file.bin", b"data", Last_Modified="Mon, 01 Jan 2001 00:00:00 GMT")
    pin = box.pin(url + "?signature=x")
    assert (pin.digest, pin.file_name, pin.mtime_s) == (sha256(b"data"), "a file.bin", 978307200)
    assert box.store.blobs.read(pin.digest) == b"data"


@pytest.mark.parametrize("headers", [{"ETag": '"1"'}, {"Last_Modified": "Mon, 01 Jan 2001 00:00:00 GMT"}])
def test_nothing_moves_while_the_validators_hold(box, server, headers) -> None:
    url = server.say("/f", b"data", **headers)
    assert box.pin(url) == box.pin(url)
    assert server.asked == [("/f", 200), ("/f", 304)]
    server.answers.clear()
    server.say("/f", b"new", ETag='"2"')
    assert box.pin(url).digest == sha256(b"new")


def test_a_blob_that_was_pruned_is_fetched_again(box, server) -> None:
    url = server.say("/f", b"data", ETag='"1"')
    box.store.blobs.delete(box.pin(url).digest)
    assert box.store.blobs.read(box.pin(url).digest) == b"data"
    assert server.asked == [("/f", 200), ("/f", 200)]


def test_with_a_checksum_a_known_file_is_not_asked_for(box, server) -> None:
    url = server.say("/f", b"data")
    expected = sha256(b"data")
    assert box.pin(url, checksum=expected) == box.pin(url, checksum=expected)
    assert len(server.asked) == 1


def test_a_wrong_checksum_is_an_error_and_keeps_nothing(box, server) -> None:
    url = server.say("/f", b"data")
    wrong = Digest("sha256:" + "0" * 64)
    assert box.fails(url, checksum=wrong) == ("http.checksum-mismatch", False)
    assert not box.store.blobs.has(sha256(b"data"))
    etag = server.say("/g", b"data", ETag='"1"')
    box.pin(etag)
    assert box.fails(etag, checksum=wrong) == ("http.checksum-mismatch", False)


@pytest.mark.parametrize(
    ("status", "code", "is_retryable"),
    [(404, "http.not-found", False), (403, "http.denied", False), (401, "http.denied", False), (500, "http.unavailable", True), (418, "http.refused", False)],
)
def test_an_answer_that_is_no_file(box, server, status: int, code: str, is_retryable: bool) -> None:
    assert box.fails(server.say("/f", b"x", status=status)) == (code, is_retryable)


def test_a_server_that_stumbles_is_asked_again(box, server) -> None:
    server.say("/f", status=503)
    url = server.say("/f", b"data")
    assert box.pin(url).digest == sha256(b"data")


def test_a_redirect_is_followed_and_the_name_is_the_first_url_s(box, server) -> None:
    url = server.say("/name", status=302, Location=server.say("/other", b"data"))
    assert (box.pin(url).digest, box.pin(url).file_name) == (sha256(b"data"), "name")


def test_a_redirect_loop_ends(box, server) -> None:
    assert box.fails(server.say("/loop", status=302, Location="/loop"))[0] == "registry.redirect-loop"


def test_a_short_body_is_retryable(box, server) -> None:
    code, is_retryable = box.fails(server.say("/f", b"da", Content_Length="4"))
    assert is_retryable, code


def test_an_endless_file_is_refused(box, server) -> None:
    assert box.fails(server.say("/f", bytes((1 << 20) + 1)))[0] == "http.too-large"


def test_a_secret_header_goes_to_its_host_alone(box, server) -> None:
    box.source = HttpSource(box.store, box.source._client, headers={f"127.0.0.1:{server.server_port}": (("Authorization", "Bearer t"),)})
    box.pin(server.say("/f", b"1"))
    assert server.seen[0]["Authorization"] == "Bearer t"
    box.pin(server.say("/g", b"1").replace("127.0.0.1", "localhost"))
    assert "Authorization" not in server.seen[1]


@pytest.mark.parametrize(
    ("url", "name"),
    [("http://h/a/b.tar?x=1", "b.tar"), ("http://h/a/", "a"), ("http://h/", "__unnamed__"), ("http://h", "__unnamed__"), ("http://h/%2e%2e", "__unnamed__"),
     ("http://h/a%2Fb", "b")],
)  # fmt: skip
def test_the_name_comes_from_the_path(url: str, name: str) -> None:
    assert file_name_of(url) == name

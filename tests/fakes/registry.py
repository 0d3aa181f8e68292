"""A real registry in this process: the OCI distribution protocol over loopback, with faults that can be switched on.

It keeps blobs per repository, as a real one does, and remembers each request that it saw. Faults are fields of `Faults`; counters count down.
"""

import base64
import hashlib
import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_OTHERS = bytes(byte ^ 1 for byte in range(256))
_PATH = re.compile(r"/v2/(?P<repository>.+?)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)")


@dataclass
class Faults:
    """What goes wrong. Integers say how many of the next requests it happens to."""

    server_errors: int = 0
    server_error_status: int = 503
    rate_limits: int = 0
    retry_after: str = ""
    drops: int = 0  # close the connection without an answer
    cuts: int = 0  # close the connection in the middle of a blob
    cut_after: int = 1000
    wants_sizes: bool = False  # takes no body whose length isn't stated
    upload_cuts: int = 0  # close the connection in the middle of taking an upload's bytes
    status_for_all: int = 0
    lost_answers: int = 0  # finish an upload, but close the connection instead of saying so
    wrong_bytes: bool = False
    short_body: bool = False
    wrong_manifest: bool = False
    wrong_put_digest: bool = False
    no_digest_header: bool = False
    refuses_head: bool = False
    ignores_range: bool = False
    wrong_range: bool = False
    mislabelled_range: bool = False  # the bytes that were asked for, under the name of others
    stalls: int = 0  # stop in the middle of a blob's body, for stall_s
    stall_s: float = 5.0
    is_full: bool = False  # uploads are answered with 507
    is_read_only: bool = False  # and with 403
    expiring_redirects: bool = False  # blobs are at addresses that work once, and for the credentials of nobody
    endless_pages: bool = False  # each page of tags says that there is a next one, which is the same
    odd_pages: bool = False  # pages that are empty or repeat names, with relative links
    redirect_loop: bool = False
    redirect_blobs_to: str = ""
    redirect_uploads_to: str = ""
    refuses_mount: bool = False
    refuses_delete: bool = False
    immutable_tags: bool = False
    has_no_catalogue: bool = False
    minimum_chunk: int = 0
    delay_s: float = 0.0


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    size: int = 0


@dataclass
class Access:
    """Who may come in. `scheme` "" is everybody; "basic" or "bearer". `is_refusing` denies whatever credentials come."""

    scheme: str = ""
    username: str = "user"
    password: str = "secret"
    identity_token: str = ""
    allows_anonymous_pull: bool = False
    is_refusing: bool = False
    refuses_after: int = -1  # credentials are good for that many more requests
    lifetime_s: int = 300
    tokens: dict[str, set[str]] = field(default_factory=dict)
    # with scheme "bearer": name -> (password, repositories that this user may write, with what is below them); all of them may pull everything
    users: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)


class FakeRegistry:
    """`with FakeRegistry() as registry:`; `registry.host` is its "127.0.0.1:port"."""

    def __init__(self, *, page_size: int = 0) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.faults = Faults()
        self.access = Access()
        self.page_size = page_size
        self.seen: list[Seen] = []
        self.addresses: set[str] = set()
        self.released = threading.Event()
        self.lock = threading.RLock()
        registry = self

        class Handler(_Handler):
            fake = registry

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> "FakeRegistry":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, method: str, part: str = "") -> int:
        return sum(1 for seen in self.seen if seen.method == method and part in seen.path)

    def add_blob(self, repository: str, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[repository, digest] = data
        return digest

    def add_manifest(self, repository: str, target: str, raw: bytes, media_type: str) -> str:
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.manifests[repository, target] = self.manifests[repository, digest] = (raw, media_type)
        return digest

    def tags(self, repository: str) -> list[str]:
        return sorted(target for name, target in self.manifests if name == repository and ":" not in target)

    def take(self, counter: str) -> bool:
        """Count a fault down; whether it happens this time."""
        with self.lock:
            left = getattr(self.faults, counter)
            if left > 0:
                setattr(self.faults, counter, left - 1)
            return left > 0


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that went away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeRegistry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        fake = self.fake
        self.body_left = int(self.headers.get("Content-Length") or 0)
        self.is_chunked = self.headers.get("Transfer-Encoding", "") == "chunked"
        with fake.lock:
            fake.seen.append(Seen(self.command, self.path, dict(self.headers), self.body_left))
        path = urlsplit(self.path).path
        if path == "/token":
            return self._token()
        if fake.faults.delay_s:
            fake.released.wait(fake.faults.delay_s)
        if fake.take("drops"):
            self.close_connection = True
            return None
        if fake.faults.status_for_all:
            return self._answer(fake.faults.status_for_all)
        if path == "/v2/":
            return self._answer(200, b"{}")
        if path == "/v2/_catalog" and not fake.faults.has_no_catalogue:
            names = sorted({name for name, _ in fake.manifests})
            return self._answer(200, json.dumps({"repositories": names}).encode())
        if fake.take("server_errors"):
            return self._error(fake.faults.server_error_status, "UNKNOWN", "the storage is on fire")
        if fake.take("rate_limits"):
            return self._error(429, "TOOMANYREQUESTS", "slow down", {"Retry-After": fake.faults.retry_after} if fake.faults.retry_after else {})
        if fake.faults.redirect_loop:
            return self._answer(307, headers={"Location": self.path})
        if path.startswith("/expiring/"):
            return self._expiring(path)
        found = _PATH.fullmatch(path)
        if found is None:
            return self._error(404, "NAME_UNKNOWN", "no such place")
        if not self._is_allowed(found["repository"]):
            return None
        if fake.faults.is_read_only and self.command in ("PUT", "POST", "PATCH", "DELETE"):
            return self._error(403, "DENIED", "this registry is only read")
        if fake.faults.is_full and self.command in ("PUT", "POST", "PATCH"):
            return self._error(507, "UNKNOWN", "no space left on device")
        getattr(self, "_" + found["kind"])(found["repository"], found["rest"])
        return None

    # answers

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self._drain()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers)

    def _chunk(self) -> bytes:
        """The next of a body of chunks (RFC 9112, 7.1); b"" is its end."""
        size = int(self.rfile.readline() or b"0", 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        self.is_chunked = size > 0
        return data

    def _drain(self) -> None:
        while self.is_chunked:
            self._chunk()
        while self.body_left > 0:
            data = self.rfile.read(min(self.body_left, 1 << 16))
            if not data:
                break
            self.body_left -= len(data)

    # access

    def _is_allowed(self, repository: str) -> bool:
        access = self.fake.access
        if not access.scheme:
            return True
        wanted = {"pull"} if self.command in ("GET", "HEAD") else {"push"}
        given = self.headers.get("Authorization", "")
        if access.scheme == "basic":
            right = "Basic " + base64.b64encode(f"{access.username}:{access.password}".encode()).decode()
            is_allowed, challenge = given == right, 'Basic realm="the fake"'
        else:
            granted = access.tokens.get(given.removeprefix("Bearer "), set())
            is_allowed = {f"{repository}:{action}" for action in wanted} <= granted
            scope = f"repository:{repository}:pull,push" if wanted == {"push"} else f"repository:{repository}:pull"
            challenge = f'Bearer realm="{self.fake.url}/token",service="fake",scope="{scope}"'
        if access.refuses_after > 0:
            access.refuses_after -= 1
        elif access.refuses_after == 0:
            access.is_refusing = True
        if is_allowed and not access.is_refusing:
            return True
        self._error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        return False

    def _token(self) -> None:
        access = self.fake.access
        if self.command == "POST":
            form = parse_qs(self.rfile.read(self.body_left).decode())
            self.body_left = 0
            is_known = form.get("refresh_token", [""])[0] == access.identity_token != ""
            scopes = form.get("scope", [""])[0].split()
        else:
            query = parse_qs(urlsplit(self.path).query)
            right = "Basic " + base64.b64encode(f"{access.username}:{access.password}".encode()).decode()
            given = self.headers.get("Authorization", "")
            is_known, scopes = given == right, query.get("scope", [])
            if access.users:
                return self._token_of_user(given, scopes)
            if given and not is_known:
                return self._error(401, "UNAUTHORIZED", "wrong password")
        if not (is_known or access.allows_anonymous_pull):
            return self._error(401, "UNAUTHORIZED", "who are you")
        granted = set()
        for scope in scopes:
            _, repository, actions = scope.split(":")
            granted |= {f"{repository}:{action}" for action in actions.split(",") if is_known or action == "pull"}
        token = uuid.uuid4().hex
        access.tokens[token] = granted
        return self._answer(200, json.dumps({"token": token, "expires_in": access.lifetime_s}).encode())

    def _token_of_user(self, given: str, scopes: list[str]) -> None:
        access = self.fake.access
        name, _, password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
        known, writable = access.users.get(name, ("", ()))
        if not known or password != known:
            return self._error(401, "UNAUTHORIZED", "wrong password")
        granted = set()
        for scope in scopes:
            _, repository, actions = scope.split(":")
            is_own = any(repository == own or repository.startswith(own + "/") for own in writable)
            granted |= {f"{repository}:{action}" for action in actions.split(",") if is_own or action == "pull"}
        token = uuid.uuid4().hex
        access.tokens[token] = granted
        return self._answer(200, json.dumps({"token": token, "expires_in": access.lifetime_s}).encode())

    # endpoints

    def _manifests(self, repository: str, target: str) -> None:
        fake, faults = self.fake, self.fake.faults
        if self.command == "PUT":
            return self._put_manifest(repository, target)
        if (repository, target) not in fake.manifests:
            return self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        raw, media_type = fake.manifests[repository, target]
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        if self.command == "DELETE":
            if faults.refuses_delete:
                return self._error(405, "UNSUPPORTED", "deletion is disabled")
            for key in [key for key, (data, _) in fake.manifests.items() if key[0] == repository and data == raw]:
                del fake.manifests[key]
            return self._answer(202)
        if self.command == "HEAD" and faults.refuses_head:
            return self._answer(405)
        if faults.wrong_manifest:
            raw = raw.replace(b"{", b"{ ", 1)
        headers = {"Content-Type": media_type, "Content-Length": str(len(raw))}
        if not faults.no_digest_header:
            headers["Docker-Content-Digest"] = digest
        return self._answer(200, raw, headers)

    def _put_manifest(self, repository: str, target: str) -> None:
        fake = self.fake
        raw = self.rfile.read(self.body_left)
        self.body_left = 0
        if fake.faults.immutable_tags and (repository, target) in fake.manifests and ":" not in target:
            return self._error(400, "TAG_INVALID", "the tag exists and tags are immutable here")
        document = json.loads(raw)
        named = [item["digest"] for item in [document.get("config"), *document.get("layers", ())] if item]
        children = [item["digest"] for item in document.get("manifests", ())]
        missing = [digest for digest in named if (repository, digest) not in fake.blobs]
        # as the real one does, which takes blobs for children too: caches of BuildKit are indexes of layers
        missing += [digest for digest in children if (repository, digest) not in fake.manifests and (repository, digest) not in fake.blobs]
        if missing:
            return self._error(400, "MANIFEST_BLOB_UNKNOWN", f"unknown: {missing}")
        digest = fake.add_manifest(repository, target, raw, self.headers["Content-Type"])
        stated = "sha256:" + "0" * 64 if fake.faults.wrong_put_digest else digest
        return self._answer(201, headers={"Docker-Content-Digest": stated, "Location": f"/v2/{repository}/manifests/{digest}"})

    def _blobs(self, repository: str, rest: str) -> None:
        if rest.startswith("uploads/"):
            return self._uploads(repository, rest.removeprefix("uploads/"))
        fake, faults = self.fake, self.fake.faults
        if (repository, rest) not in fake.blobs:
            return self._error(404, "BLOB_UNKNOWN", "blob unknown")
        data = fake.blobs[repository, rest]
        if self.command == "HEAD":
            return self._answer(200, headers={"Content-Length": str(len(data)), "Docker-Content-Digest": rest})
        if faults.redirect_blobs_to:
            return self._answer(307, headers={"Location": faults.redirect_blobs_to + self.path})
        if faults.expiring_redirects:
            address = f"/expiring/{uuid.uuid4().hex}/{repository}/{rest}"
            fake.addresses.add(address)
            return self._answer(307, headers={"Location": fake.url + address})
        return self._blob(data)

    def _expiring(self, path: str) -> None:
        """A blob's address at a storage service: good for one use."""
        if path not in self.fake.addresses:
            return self._error(403, "DENIED", "the signature has expired")
        self.fake.addresses.discard(path)
        repository, _, digest = path.split("/", 3)[3].rpartition("/")
        return self._blob(self.fake.blobs[repository, digest])

    def _blob(self, data: bytes) -> None:
        fake, faults = self.fake, self.fake.faults
        if faults.wrong_bytes:
            data = data.translate(_OTHERS)
        if faults.short_body:
            data = data[: len(data) // 2]
        headers, status = {}, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and not faults.ignores_range:
            start = int(asked[1]) + (1 if faults.wrong_range else 0)
            end = min(int(asked[2]) + (1 if faults.wrong_range else 0) if asked[2] else len(data) - 1, len(data) - 1)
            if start > end:
                return self._answer(416, headers={"Content-Range": f"bytes */{len(data)}"})
            named = start + 1 if faults.mislabelled_range else start
            headers["Content-Range"], status = f"bytes {named}-{end}/{len(data)}", 206
            data = data[start : end + 1]
        if fake.take("stalls"):
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            fake.released.wait(faults.stall_s)
            self.close_connection = True
            return None
        if fake.take("cuts"):
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: faults.cut_after])
            self.close_connection = True
            return None
        return self._answer(status, data, headers)

    def _uploads(self, repository: str, rest: str) -> None:
        fake = self.fake
        query = parse_qs(urlsplit(self.path).query)
        if self.command == "POST":
            return self._begin_upload(repository, query)
        if rest not in fake.uploads:
            return self._error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        upload = fake.uploads[rest]
        state = {"Location": f"/v2/{repository}/blobs/uploads/{rest}?state=1", "Range": f"0-{max(len(upload) - 1, 0)}"}
        if self.command == "GET":
            return self._answer(204, headers=state)
        if self.command == "DELETE":
            del fake.uploads[rest]
            return self._answer(204)
        if self.command == "PATCH":
            stated = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
            if stated and int(stated[1]) != len(upload):
                return self._error(416, "BLOB_UPLOAD_INVALID", "out of order", state)
        if not self._receive(upload):
            return None
        state["Range"] = f"0-{max(len(upload) - 1, 0)}"
        if self.command == "PATCH":
            return self._answer(202, headers=state)
        return self._finish_upload(repository, rest, query["digest"][0])

    def _begin_upload(self, repository: str, query: dict[str, list[str]]) -> None:
        fake, faults = self.fake, self.fake.faults
        if "mount" in query and not faults.refuses_mount:
            source = (query["from"][0], query["mount"][0])
            if source in fake.blobs:
                fake.blobs[repository, source[1]] = fake.blobs[source]
                return self._answer(201, headers={"Location": f"/v2/{repository}/blobs/{source[1]}"})
        name = uuid.uuid4().hex
        fake.uploads[name] = bytearray()
        headers = {"Location": f"{faults.redirect_uploads_to}/v2/{repository}/blobs/uploads/{name}", "Range": "0-0"}
        if faults.minimum_chunk:
            headers["OCI-Chunk-Min-Length"] = str(faults.minimum_chunk)
        return self._answer(202, headers=headers)

    def _receive(self, upload: bytearray) -> bool:
        """Take an upload's bytes; False after a cut, of which half is kept."""
        if self.is_chunked and self.fake.faults.wants_sizes:
            self._error(411, "SIZE_INVALID", "say how long it is")
            return False
        if self.fake.take("upload_cuts"):
            data = self._chunk() + self._chunk() if self.is_chunked else self.rfile.read(self.body_left)
            upload.extend(data[: len(data) // 2])
            self.close_connection = True
            return False
        while self.is_chunked:
            upload.extend(self._chunk())
        if self.command == "PATCH":
            self.fake.chunks = [*getattr(self.fake, "chunks", []), self.body_left]
        upload.extend(self.rfile.read(self.body_left))
        self.body_left = 0
        return True

    def _finish_upload(self, repository: str, name: str, digest: str) -> None:
        data = bytes(self.fake.uploads.pop(name))
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            return self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.fake.blobs[repository, digest] = data
        if self.fake.take("lost_answers"):
            self.close_connection = True
            return None
        return self._answer(201, headers={"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _tags(self, repository: str, _: str) -> None:
        query = parse_qs(urlsplit(self.path).query)
        names = self.fake.tags(repository)
        if not names:
            return self._error(404, "NAME_UNKNOWN", "repository unknown")
        if self.fake.faults.endless_pages:
            link = f'</v2/{repository}/tags/list?n=1&last={names[0]}>; rel="next"'
            return self._answer(200, json.dumps({"name": repository, "tags": names}).encode(), {"Link": link})
        if self.fake.faults.odd_pages:
            return self._odd_page(repository, names, int(query.get("page", ["0"])[0]))
        last = query.get("last", [""])[0]
        names = [name for name in names if name > last]
        headers = {}
        if self.fake.page_size and len(names) > self.fake.page_size:
            names = names[: self.fake.page_size]
            headers["Link"] = f'</v2/{repository}/tags/list?n={self.fake.page_size}&last={names[-1]}>; rel="next"'
        return self._answer(200, json.dumps({"name": repository, "tags": names}).encode(), headers)

    def _odd_page(self, repository: str, names: list[str], page: int) -> None:
        """Every other page is null; the others hold two names, the first of which the page before had, too."""
        at = page // 2
        shown = None if page % 2 == 0 else names[max(at - 1, 0) : at + 1]
        headers = {"Link": f'<list?page={page + 1}>; rel="next"'} if at < len(names) - 1 or page % 2 == 0 else {}
        self._answer(200, json.dumps({"name": repository, "tags": shown}).encode(), headers)

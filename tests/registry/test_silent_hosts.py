"""Hosts that take connections and say nothing: what all clients of one build spend on one of them is bounded, and slow ones that live are kept."""

import contextlib
import os
import socket
import threading
import warnings

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.errors import Unavailable
from chandlery.oci.reference import parse
from chandlery.registry import tls
from chandlery.registry.auth import Request
from chandlery.registry.client import RegistryClient
from chandlery.registry.contacts import Contacts
from chandlery.registry.endpoint import Endpoints
from chandlery.registry.http import HttpClient, Response
from chandlery.registry.settings import RegistrySettings
from chandlery.values import replace


class Silent:
    """Takes connections, counts them, and says nothing."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self.server.accept()[0])

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for connection in self.taken:
            connection.close()


@pytest.fixture
def silent():
    with contextlib.closing(Silent()) as server:
        yield server


@pytest.fixture
def make():
    made = []

    def make_client(contacts: Contacts, **settings: object) -> RegistryClient:
        chosen = {"connect_timeout_s": 0.6, "read_timeout_s": 0.6, "back_off_s": 0.01, "attempts": 5, "first_answer_s": 0.6, **settings}
        made.append(RegistryClient(RegistrySettings(certs_d=(), **chosen), contacts=contacts))
        return made[-1]

    yield make_client
    for client in made:
        client.close()


def test_a_silent_host_is_tried_by_both_schemes_once_whoever_meets_it_first(silent, make):
    contacts = Contacts()
    reference = parse(f"{silent.host}/caches:1")
    clients = [make(contacts), make(contacts), make(contacts, read_timeout_s=60.0)]
    codes = []

    def ask(client: RegistryClient) -> None:
        with pytest.raises(Unavailable) as caught:
            client.get_manifest(reference)
        codes.append(caught.value.code)

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for client in reversed(clients):
        ask(client)
    assert codes == ["registry.timeout"] * 6
    assert len(silent.taken) == 2, "http and https"


def test_a_client_with_patience_asks_a_silent_host_that_others_gave_up(silent, make):
    contacts = Contacts()
    reference = parse(f"{silent.host}/caches:1")
    for settings in ({}, {"first_answer_s": 0.0, "read_timeout_s": 0.1, "attempts": 3}):
        with pytest.raises(Unavailable):
            make(contacts, **settings).get_manifest(reference)
    assert len(silent.taken) == 2 + 3


def test_a_host_that_answered_once_may_be_slow(make):
    """Slower than a first answer may be, that is, but within what one request waits."""
    with FakeRegistry() as fake:
        reference = parse(f"{fake.host}/team/app:1")
        contacts = Contacts()
        client = make(contacts, first_answer_s=0.7, read_timeout_s=20.0)
        assert not client.has_blob(reference, "sha256:" + "0" * 64)
        fake.faults.delay_s = 1.0
        assert not client.has_blob(reference, "sha256:" + "0" * 64)
        fake.released.set()
        assert contacts.left_s(fake.host, 0.7) is None


def test_a_place_that_takes_bytes_may_be_slow_at_once(make):
    """Where an upload goes on elsewhere, its answer comes when the bytes are stored."""
    with FakeRegistry() as fake:
        fake.faults.delay_s = 1.0
        client = make(Contacts(), read_timeout_s=20.0)
        response = client.http.send(Request("PUT", f"http://{fake.host}/elsewhere", (), b"bytes", 5), doing="upload", attempts=1)
        response.close()
        fake.released.set()
    assert response.status in (404, 405)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_refusal_takes_no_time_from_the_next_request(make):
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
    clock = Clock()
    contacts = Contacts(clock)
    with pytest.raises(Unavailable) as caught:
        make(contacts, attempts=2).get_manifest(parse(f"{host}/caches:1"))
    assert caught.value.code == "registry.unavailable"
    clock.now_s += 60.0
    assert contacts.left_s(host, 4.5) == 4.5


class OnlyTls(HttpClient):
    """In front of a server that ignores what isn't TLS: the answer to plain http never comes, nor does it end while the other is not asked."""

    def __init__(self, fake: FakeRegistry) -> None:
        super().__init__(RegistrySettings(certs_d=()))
        self.fake, self.was_asked_by_tls = fake, threading.Event()

    def send(self, request: Request, *, doing: str, attempts: int = 0) -> Response:
        if request.url.startswith("http:"):
            assert self.was_asked_by_tls.wait(10), "it isn't asked beside"
            raise Unavailable("nothing came")
        self.was_asked_by_tls.set()
        return super().send(replace(request, url=f"http://{self.fake.host}/v2/"), doing=doing, attempts=attempts)


def test_a_silent_first_scheme_does_not_hold_up_the_second():
    with FakeRegistry() as fake, contextlib.closing(OnlyTls(fake)) as client:
        assert Endpoints(client).of_registry("127.0.0.1:1").base == "https://127.0.0.1:1"


def test_requests_to_a_host_that_never_answered_share_their_time():
    clock = Clock()
    contacts = Contacts(clock)
    assert contacts.left_s("a", 4.5) == 4.5
    clock.now_s += 3.0
    assert contacts.left_s("a", 4.5) == 1.5
    assert contacts.left_s("b", 4.5) == 4.5, "each host has its own"
    clock.now_s += 1.4
    assert contacts.left_s("a", 4.5) == 0.5, "a request has a chance"
    clock.now_s += 0.1
    assert contacts.left_s("a", 4.5) == 0.0
    clock.now_s += 1000.0
    assert contacts.left_s("a", 4.5) == 0.0, "for the rest of the build"
    contacts.heard("a")
    assert contacts.left_s("a", 4.5) is None
    contacts.refused("b")
    assert contacts.left_s("b", 4.5) == 4.5


def test_a_peer_that_is_gone_before_the_handshake_leaves_no_socket_open():
    """Seen in one of a hundred connections: the kernel tells of the reset before the handshake has begun."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        context = tls.context(RegistrySettings(certs_d=()), "127.0.0.1")
        with socket.create_connection(server.getsockname()) as plain:
            made = context.wrap_socket(plain, server_hostname="127.0.0.1", do_handshake_on_connect=False)
        descriptor = made.fileno()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del made
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)

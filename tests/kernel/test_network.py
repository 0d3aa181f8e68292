"""The isolated network: what a step reaches, what it doesn't, and that nothing of it stays on the machine."""

import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests import leaks

from chandlery.errors import MachineError
from chandlery.linux import namespaces
from chandlery.runtime import network
from chandlery.runtime.network import NetworkPool
from chandlery.runtime.process import RuntimeMount, StepNetwork

ACQUIRE_AND_WAIT = """
import time
from chandlery.runtime.network import NetworkPool
pool = NetworkPool()
pool.acquire()
print(pool._router._process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def pool():
    made = NetworkPool()
    made.start()
    yield made
    made.close()


@pytest.fixture
def server():
    """Says hello on every address of this machine."""

    class Hello(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"hello\n")

    with socketserver.ThreadingTCPServer(("0.0.0.0", 0), Hello) as serving:
        serving.daemon_threads = True
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving.server_address[1]
        serving.shutdown()
        thread.join()


def reached(namespace, address, port):
    """What connecting from inside gives."""
    answers = []

    def connect():
        with socket.socket() as asking:
            asking.settimeout(2)
            try:
                asking.connect((address, port))
                answers.append(asking.recv(100))
            except OSError as error:
                answers.append(error)

    namespaces.within_network(namespace.fd, connect)
    return answers[0]


def test_a_step_reaches_out(pool, server):
    assert reached(pool.acquire(), network.host_address(), server) == b"hello\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.2.2", "169.254.169.254", "0.0.0.0"])
def test_the_machines_loopback_and_link_local_addresses_are_out_of_reach(pool, server, address):
    assert isinstance(reached(pool.acquire(), address, server), OSError)


def test_raw_packets_do_not_reach_them_either(pool):
    """A step has CAP_NET_RAW: it may write frames past its own routing."""
    namespace = pool.acquire()
    answers = []

    namespaces.within_network(namespace.fd, lambda: _send_raw(answers, namespace))
    assert answers
    assert answers[0][20] == 3  # destination unreachable


def _send_raw(answers, namespace):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listening:
        listening.settimeout(2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as warm:
            warm.sendto(b"x", ("10.0.2.3", 9))  # teaches this namespace the router's link address
        listening.recv(200)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            raw.send(_neighbour_mac() + raw.getsockname()[4] + b"\x08\x00" + _udp_packet(namespace.address, "169.254.169.254"))
        answers.append(listening.recv(200))


def _neighbour_mac():
    with open("/proc/thread-self/net/arp") as file:
        return bytes.fromhex(file.read().splitlines()[1].split()[3].replace(":", ""))


def _udp_packet(source, target):
    header = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]) + socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + (~total & 0xFFFF).to_bytes(2, "big") + header[12:]
    return header + bytes([0, 80, 0, 80, 0, 8, 0, 0])


def test_steps_at_once_do_not_see_each_other(pool):
    one, other = pool.acquire(), pool.acquire()
    assert one.address != other.address
    listening = []

    def listen():
        listening.append(socket.create_server((other.address, 7777)))

    namespaces.within_network(other.fd, listen)
    with listening[0]:
        assert isinstance(reached(one, other.address, 7777), OSError)


def test_a_released_namespace_is_used_again(pool):
    first = pool.acquire()
    pool.release(first)
    assert pool.acquire() == first


def test_the_links_are_ready_in_a_step(steps, pool):
    namespace = pool.acquire()
    finished = steps.shell(
        "cat /proc/net/route | wc -l; cat /proc/sys/net/ipv4/ip_unprivileged_port_start", network=StepNetwork.ISOLATED, network_path=namespace.path
    )
    assert finished.out.split() == ["2", "0"]


def test_no_network_has_a_loopback_only(steps):
    assert steps.shell("cat /proc/net/dev | wc -l; cat /proc/net/route | wc -l", network=StepNetwork.NONE).out.split() == ["3", "1"]


def test_the_machines_network_is_the_machines(steps):
    assert steps.shell("cat /proc/net/route", network=StepNetwork.HOST).out == Path("/proc/net/route").read_text()


class FakeResolver:
    """Answers every question with 192.0.2.77, by datagram and by stream."""

    def __init__(self, address):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, 53))
        self.tcp = socket.create_server((address, 53))
        self.threads = [threading.Thread(target=self._serve_udp), threading.Thread(target=self._serve_tcp)]
        for thread in self.threads:
            thread.start()

    def _serve_udp(self):
        while True:
            question, client = self.udp.recvfrom(512)
            if question == b"stop":
                return
            self.udp.sendto(self._answer(question), client)

    def _serve_tcp(self):
        while True:
            connection, _ = self.tcp.accept()
            with connection:
                framed = connection.recv(512)
                if framed == b"stop":
                    return
                answer = self._answer(framed[2:])
                connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, question):
        end = question.index(b"\0", 12) + 5
        if question[end - 4 : end - 2] != b"\0\x01":
            return question[:2] + b"\x81\x80\0\x01\0\0\0\0\0\0" + question[12:end]
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton("192.0.2.77")
        return question[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + question[12:end] + record

    def close(self):
        address = self.udp.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"stop", address)
        with socket.create_connection(address) as sender:
            sender.sendall(b"stop")
        for thread in self.threads:
            thread.join()
        self.udp.close()
        self.tcp.close()


@pytest.fixture
def loopback_pool(tmp_path):
    """A machine whose only resolver is on its loopback, as with dnsmasq or systemd-resolved's stub."""
    resolver = FakeResolver("127.0.0.99")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.99\nsearch example.com\n")
    made = NetworkPool(str(tmp_path / "resolv.conf"), "/nonexistent")
    yield made
    made.close()
    resolver.close()


def test_names_resolve_through_a_resolver_on_the_machines_loopback(steps, loopback_pool, tmp_path):
    namespace = loopback_pool.acquire()
    (tmp_path / "step.conf").write_text(loopback_pool.resolv_conf())
    (tmp_path / "rootfs/etc/resolv.conf").touch()
    finished = steps.shell(
        "nslookup ship.example",
        network=StepNetwork.ISOLATED,
        network_path=namespace.path,
        mounts=(RuntimeMount("/etc/resolv.conf", str(tmp_path / "step.conf"), is_read_only=True),),
    )
    assert "192.0.2.77" in finished.out
    assert "search example.com" in loopback_pool.resolv_conf()


def test_names_resolve_over_streams_too(loopback_pool):
    namespace = loopback_pool.acquire()
    gateway = loopback_pool.resolv_conf().split()[1]
    question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04ship\0\0\x01\0\x01"
    answers = []

    def ask():
        with socket.create_connection((gateway, 53), timeout=5) as asking:
            asking.sendall(len(question).to_bytes(2, "big") + question)
            answers.append(asking.recv(512))

    namespaces.within_network(namespace.fd, ask)
    assert socket.inet_aton("192.0.2.77") in answers[0]


def test_without_slirp4netns_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    made = NetworkPool()
    made.start()
    with pytest.raises(MachineError) as caught:
        made.acquire()
    made.close()
    assert caught.value.code == "machine.no-network"


def test_a_killed_process_leaves_neither_links_nor_processes(tmp_path):
    before = leaks.snapshot(str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", ACQUIRE_AND_WAIT], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"})
    slirp_pid = int(child.stdout.readline())
    child.kill()
    child.wait()
    child.stdout.close()
    assert not leaks.leftovers(str(tmp_path), before)
    _wait_until(lambda: not _is_running(slirp_pid))


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until(is_true):
    deadline = time.monotonic() + 5
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)

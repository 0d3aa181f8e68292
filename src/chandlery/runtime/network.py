"""The isolated network: namespaces in which steps reach the internet, but neither this machine's loopback nor link-local addresses.

    step's namespace --veth--+
    step's namespace --veth--+-- router's namespace --tap-- slirp4netns -- this machine's sockets
    step's namespace --veth--+

slirp4netns turns what leaves the tap into sockets of this machine, so no address, firewall rule or forwarding switch of the machine changes; namespaces
are held by descriptors only and slirp4netns ends when its exit descriptor closes, so nothing is left however this process ends. The
router keeps steps apart and away from what they must not reach, by routing alone: packets from a step follow a table that knows only the way out
and dead ends. A step can't change that, not even with raw sockets: it happens outside its namespace. (Measured: 2.2 Gbit/s, 6 ms to start.)

Namespaces are made ahead, one for each step that runs at once, and reused.
"""

import errno
import os
import socket
import subprocess
import threading

from chandlery.errors import MachineError
from chandlery.linux import libc, mount, namespaces, netlink
from chandlery.runtime import dns
from chandlery.values import value

_CANDIDATE_NETWORKS = ("10.0.2.0", "10.213.77.0", "172.31.253.0", "192.168.213.0")
_MTU = 65520
_STEP_TABLE = 100
_FIRST_LINK = 100
_FIRST_HOST, _LAST_HOST = 101, 250
_LINK_LOCAL = ("169.254.0.0", 16)
_TUN = "/dev/net/tun"
_HINT = "install slirp4netns (Debian, Ubuntu: apt-get install slirp4netns), or use --network=host or none"
_HINT_PRIVILEGE = "run as root; inside a container, give it CAP_NET_ADMIN, or use --network=host"
_HINT_KERNEL = "the kernel may lack network namespaces, veth or routing rules; --network=host needs none of them"
_HINT_TUN = "load the kernel's tun module; inside a container, give it --device /dev/net/tun; or use --network=host or none"


@value
class StepNamespace:
    """A namespace lent to one step; `path` opens it from any process."""

    fd: int
    path: str
    address: str


class NetworkPool:
    """The namespaces of one build. Everything is safe to call from any thread."""

    def __init__(self, resolv_conf_path: str = "/etc/resolv.conf", real_resolv_conf_path: str = dns.SYSTEMD_RESOLV_CONF) -> None:
        self._lock = threading.Lock()
        self._idle: list[StepNamespace] = []
        self._made: list[StepNamespace] = []
        self._received: dict[int, int] = {}
        self._router: _Router | None = None
        self._resolv_conf_paths = (resolv_conf_path, real_resolv_conf_path)
        self._warming: threading.Thread | None = None

    def start(self) -> None:
        """Begin to make the router and a first namespace, beside whatever the build does; errors show when one is acquired."""
        self._warming = threading.Thread(target=self._warm, name="chandlery-network")
        self._warming.start()

    def acquire(self) -> StepNamespace:
        """A namespace that nobody else has. Raises MachineError "machine.no-network"."""
        self._joined()
        with self._lock:
            return self._idle.pop() if self._idle else self._make()

    def release(self, namespace: StepNamespace) -> None:
        """Take it back; the step's processes must be gone."""
        with self._lock:
            self._idle.append(namespace)

    def take_received(self, namespace: StepNamespace) -> int:
        """Bytes that came in through a namespace's link since this was last asked."""
        found = _received_bytes(namespace.fd)
        with self._lock:
            before = self._received.get(namespace.fd, 0)
            self._received[namespace.fd] = found
        return found - before

    def resolv_conf(self) -> str:
        """The text of /etc/resolv.conf for a step in one of the namespaces."""
        self._joined()
        with self._lock:
            return self._running_router().resolv_conf

    def close(self) -> None:
        """End it all; no step may use a namespace any more."""
        self._joined()
        with self._lock:
            for namespace in self._made:
                os.close(namespace.fd)
            self._made.clear()
            self._received.clear()
            self._idle.clear()
            if self._router is not None:
                self._router.close()
                self._router = None

    def _warm(self) -> None:
        try:
            with self._lock:
                self._idle.append(self._make())
        except MachineError:
            return  # acquire tries again and reports it, if a step needs a network at all

    def _joined(self) -> None:
        if self._warming is not None:
            self._warming.join()

    def _running_router(self) -> "_Router":
        if self._router is None:
            self._router = _Router(*self._resolv_conf_paths)
        return self._router

    def _make(self) -> StepNamespace:
        try:
            made = self._running_router().connect(len(self._made))
        except OSError as error:
            hint = _HINT_PRIVILEGE if error.errno == errno.EPERM else _HINT_KERNEL
            raise MachineError(f"can't make a network namespace: {error.strerror}", code="machine.no-network", hint=hint) from error
        self._made.append(made)
        return made


class _Router:
    """The namespace in the middle, slirp4netns behind it and, where needed, the DNS forwarder on it."""

    def __init__(self, resolv_conf_path: str, real_resolv_conf_path: str) -> None:
        resolvers = dns.read_resolvers(resolv_conf_path, real_resolv_conf_path)
        self._prefix = _free_network().removesuffix(".0")
        self._gateway = f"{self._prefix}.1"
        self._forwarder: dns.Forwarder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_fd = -1
        self.fd = namespaces.new_network(self._prepare)
        listening: list[dns.Sockets] = []
        try:
            self._start_slirp()
            namespaces.within_network(self.fd, lambda: self._route(listening if resolvers.needs_forwarder else None))
        except BaseException:
            self.close()
            raise
        if listening:
            self._forwarder = dns.Forwarder(listening[0], resolvers.nameservers)
        self.resolv_conf = resolvers.text(self._gateway if resolvers.needs_forwarder else "")

    def connect(self, number: int) -> StepNamespace:
        """A new namespace for steps, the `number`th, connected to this router."""
        if _FIRST_HOST + number > _LAST_HOST:
            raise MachineError(f"more than {number} steps want a network at once", code="machine.no-network", hint="run fewer steps in parallel")
        inside: list[netlink.Netlink] = []
        fd = namespaces.new_network(lambda: inside.append(_prepare_step()))
        address, link = f"{self._prefix}.{_FIRST_HOST + number}", _FIRST_LINK + number
        try:
            self._link.add_veth(f"step{number}", link, peer_name="eth0", peer_index=2, peer_network=fd, mtu=_MTU)
            self._link.add_address(link, self._gateway, 32)
            self._link.add_rule_for_incoming(f"step{number}", _STEP_TABLE)
            self._link.set_up(link)
            self._link.add_route(address, 32, index=link)
            inside[0].add_address(2, address, 32)
            inside[0].set_up(2)
            inside[0].add_route("0.0.0.0", 0, index=2, gateway=self._gateway)
        except BaseException:
            os.close(fd)
            raise
        finally:
            inside[0].close()
        return StepNamespace(fd, f"/proc/{os.getpid()}/fd/{fd}", address)

    def close(self) -> None:
        if self._forwarder is not None:
            self._forwarder.close()
        if self._process is not None:
            self._process.kill()
            # Its tap takes the kernel 30 ms to take down; nobody needs to see that.
            threading.Thread(target=self._process.wait, name="chandlery-reaper", daemon=True).start()
        if self._exit_fd >= 0:
            os.close(self._exit_fd)
        self._link.close()
        os.close(self.fd)

    def _prepare(self) -> None:
        """Inside the router's namespace, before it has links: they inherit these."""
        _write_sysctl("ipv6/conf/default/disable_ipv6", "1")
        _write_sysctl("ipv4/ip_forward", "1")
        _write_sysctl("ipv4/icmp_ratelimit", "0")  # "unreachable" is always said, or a step would wait for a timeout
        _write_sysctl("ipv4/conf/default/proxy_arp", "1")  # slirp4netns asks on the tap for the steps' addresses
        self._link = netlink.Netlink()
        self._link.set_up(1)

    def _start_slirp(self) -> None:
        if not os.path.exists(_TUN):
            raise MachineError(f"isolated steps need {_TUN}, which isn't there", code="machine.no-network", hint=_HINT_TUN)
        ready_fd, ready_write_fd = os.pipe()
        exit_read_fd, self._exit_fd = os.pipe()
        argv = ["slirp4netns", "--configure", "--disable-host-loopback", "--disable-dns", f"--mtu={_MTU}", f"--cidr={self._prefix}.0/24"]
        argv += [f"--ready-fd={ready_write_fd}", f"--exit-fd={exit_read_fd}", "--netns-type=path", f"/proc/{os.getpid()}/fd/{self.fd}", "tap0"]
        try:
            self._process = subprocess.Popen(
                argv,
                pass_fds=(ready_write_fd, exit_read_fd),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            os.close(ready_fd)
            raise MachineError("isolated steps need slirp4netns, which isn't in PATH", code="machine.no-network", hint=_HINT) from error
        finally:
            os.close(ready_write_fd)
            os.close(exit_read_fd)
        with os.fdopen(ready_fd, "rb") as ready:
            if ready.read(1) != b"1":
                raise MachineError("slirp4netns can't start here", code="machine.no-network", hint=_HINT_TUN)

    def _route(self, listening: "list[dns.Sockets] | None") -> None:
        """Inside the router's namespace, once the tap is there; a list is given where a DNS forwarder must listen, and gets its sockets."""
        _write_sysctl("ipv4/neigh/tap0/proxy_delay", "0")  # else an answer for another waits up to 0.8 s
        tap = socket.if_nametoindex("tap0")
        self._link.add_route("0.0.0.0", 0, index=tap, gateway=f"{self._prefix}.2", table=_STEP_TABLE)
        self._link.add_unreachable(*_LINK_LOCAL, table=_STEP_TABLE)
        self._link.add_unreachable("127.0.0.0", 8, table=_STEP_TABLE)
        self._link.add_unreachable(f"{self._prefix}.0", 24, table=_STEP_TABLE)
        if listening is not None:
            self._link.add_address(1, self._gateway, 32)  # the steps' links have it too, but later
            listening.append(dns.Sockets.listen(self._gateway))


def _prepare_step() -> netlink.Netlink:
    """Inside a step's namespace: what Docker sets in a container's (low ports and ping for everybody), and no IPv6 beside loopback's."""
    _write_sysctl("ipv6/conf/default/disable_ipv6", "1")
    _write_sysctl("ipv4/ip_unprivileged_port_start", "0")
    _write_sysctl("ipv4/ping_group_range", "0 2147483647")
    link = netlink.Netlink()
    link.set_up(1)
    return link


def _received_bytes(network: int) -> int:
    """The counter of eth0 in a namespace; 0 where it can't be read. https://docs.kernel.org/filesystems/proc.html, /proc/net/dev"""
    found: list[int] = []

    def read() -> None:
        with open("/proc/thread-self/net/dev") as file:
            found.extend(int(line.partition(":")[2].split()[0]) for line in file if line.strip().startswith("eth0:"))

    try:
        namespaces.within_network(network, read)
    except (OSError, ValueError, IndexError):
        return 0
    return found[0] if found else 0


def _write_sysctl(name: str, text: str) -> None:
    """In the calling thread's network namespace; a kernel built without IPv6 has nothing to switch off."""
    try:
        _write(f"/proc/sys/net/{name}", text)
    except FileNotFoundError:
        if not name.startswith("ipv6"):
            raise
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        _make_sysctls_writable()
        _write(f"/proc/sys/net/{name}", text)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _make_sysctls_writable() -> None:
    """For the calling thread alone, which ends soon: inside a container /proc/sys is mounted read-only on itself."""
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "none", mount.MS_REC | mount.MS_SLAVE)
    libc.mount("none", "/proc/sys", "none", mount.MS_REMOUNT | mount.MS_BIND)


def _free_network() -> str:
    """A /24 that no route of this machine overlaps."""
    routes = netlink.machine_routes()
    for candidate in _CANDIDATE_NETWORKS:
        if not netlink.covers(routes, int.from_bytes(socket.inet_aton(candidate), "big"), 0xFFFFFF00):
            return candidate
    return _CANDIDATE_NETWORKS[0]


def host_address() -> str:
    """The machine's address towards the internet, what `host-gateway` stands for; 127.0.0.1 where it has none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address

"""The farm's network: machines in namespaces of their own, each behind a shaped link to what serves them all.

    machine 1 --veth, shaped both ways--+
    machine 2 --veth, shaped both ways--+-- here: relays (a round trip) -- registry, company's repository, Maven Central
    ...

Lives in a network namespace and a mount namespace of the benchmark's own, so all of it ends with the benchmark. This kernel's tc has no netem: the
round trip comes from relays.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.farm import addresses

NAMESPACES = Path("/run/netns")


class Machine(NamedTuple):
    """A network namespace and its link."""

    number: int

    @property
    def command(self) -> list[str]:
        """What a command is put behind to run there. (`ip netns exec` would hide the cgroups, which steps need.)"""
        return ["nsenter", f"--net={NAMESPACES}/m{self.number}"]

    def bytes_moved(self) -> int:
        """Over its link so far, both ways, as the near end of it counts."""
        for line in Path("/proc/net/dev").read_text().splitlines():
            name, _, counts = line.partition(":")
            if name.strip() == f"link{self.number}":
                numbers = counts.split()
                return int(numbers[0]) + int(numbers[8])
        raise LookupError(f"machine {self.number} has no link")


def prepare() -> None:
    """The servers' end."""
    _ip("link set lo up")
    _ip(f"addr add {addresses.SERVER}/32 dev lo")
    NAMESPACES.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "netns", str(NAMESPACES)], check=True)


@contextlib.contextmanager
def machine(number: int, rate: str) -> Iterator[Machine]:
    """A machine whose link has `rate` each way, as tc spells it."""
    near, there = f"link{number}", f"{NAMESPACES}/m{number}"
    _ip(f"netns add m{number}")
    try:
        _ip(f"link add {near} type veth peer name uplink netns m{number}")
        _ip(f"addr add 10.77.{number}.1/24 dev {near}")
        _ip(f"link set {near} up")
        for command in ("link set lo up", f"addr add 10.77.{number}.2/24 dev uplink", "link set uplink up", f"route add default via 10.77.{number}.1"):
            _ip(f"-n m{number} {command}")
        shape = ["root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms"]
        subprocess.run(["tc", "qdisc", "add", "dev", near, *shape], check=True)
        subprocess.run(["nsenter", f"--net={there}", "tc", "qdisc", "add", "dev", "uplink", *shape], check=True)
        yield Machine(number)
    finally:
        subprocess.run(["ip", "netns", "delete", f"m{number}"], check=False)
        subprocess.run(["ip", "link", "delete", near], check=False, stderr=subprocess.DEVNULL)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)

"""What a process gets with its network: a namespace, and the files of /etc that go with it."""

import contextlib
import os

from chandlery.graph.op import Network
from chandlery.runtime.etc_files import hosts_text
from chandlery.runtime.network import NetworkPool, host_address
from chandlery.runtime.process import RuntimeMount, StepNetwork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP_NETWORKS = {Network.DEFAULT: StepNetwork.ISOLATED, Network.NONE: StepNetwork.NONE, Network.HOST: StepNetwork.HOST}
RESOLV_CONF = "/etc/resolv.conf"


@contextlib.contextmanager
def networked(
    pool: NetworkPool,
    network: Network,
    *,
    hostname: str,
    hosts: tuple[tuple[str, str], ...],
    directory: str,
    resolv_conf: str = RESOLV_CONF,
    is_read_only: bool = True,
    received: "Callable[[int], None] | None" = None,
) -> "Iterator[tuple[str, list[RuntimeMount]]]":
    """For as long as the process runs: the path of its network namespace ("" for none of its own), and the files, which are kept in `directory`.

    `resolv_conf` is the machine's, for the machine's own network; `received` is told at the end how many bytes came in.
    """
    named = tuple((name, host_address() if address == "host-gateway" else address) for name, address in hosts)
    etc = [_etc_file(directory, "hosts", hosts_text(hostname, named), is_read_only=is_read_only)]
    if network is not Network.DEFAULT:
        if network is Network.HOST and os.path.exists(resolv_conf):
            with open(resolv_conf, encoding="utf-8", errors="surrogateescape") as file:
                etc.append(_etc_file(directory, "resolv.conf", file.read(), is_read_only=is_read_only))
        yield "", etc
        return
    namespace = pool.acquire()
    try:
        yield namespace.path, [*etc, _etc_file(directory, "resolv.conf", pool.resolv_conf(), is_read_only=is_read_only)]
    finally:
        if received is not None:
            received(pool.take_received(namespace))
        pool.release(namespace)


def _etc_file(directory: str, name: str, text: str, *, is_read_only: bool) -> RuntimeMount:
    path = f"{directory}/{name}"
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return RuntimeMount(f"/etc/{name}", path, is_read_only=is_read_only)

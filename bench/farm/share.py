"""A file server and its mounts: `python -m bench.farm.share ADDRESS:PORT`, a directory that all machines see, by way of SFTP.

Speaks SFTP without SSH around it: what encryption costs two cores would be measured instead of what the share costs.
"""

import contextlib
import os
import shutil
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.farm import addresses
from bench.farm.network import Machine

_READ_AHEAD_KB = 8192
_OPTIONS = "kernel_cache,entry_timeout=60,attr_timeout=60,dcache_timeout=60"
"""As long as other network file systems trust what they have seen."""
SERVER = "/usr/lib/openssh/sftp-server"


def lacks() -> str:
    missing = [name for name, path in (("sshfs", shutil.which("sshfs")), ("openssh-sftp-server", shutil.which(SERVER))) if not path]
    return " and ".join(missing)


@contextlib.contextmanager
def mounted(machine: Machine, directory: str, at: Path) -> Iterator[None]:
    """The server's `directory`, which is there, mounted on the machine."""
    at.mkdir(parents=True, exist_ok=True)
    host, _, port = addresses.SHARE.rpartition(":")
    options = f"directport={port},allow_other,{_OPTIONS}"
    subprocess.run([*machine.command, "sshfs", "-o", options, f"{host}:{directory}", str(at)], check=True)
    try:
        device = at.stat().st_dev
        # the default is less than one round trip's worth of such a link
        Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").write_text(str(_READ_AHEAD_KB))
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        descriptor = self.request.fileno()
        subprocess.run([SERVER], stdin=descriptor, stdout=descriptor, check=False)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    os.umask(0o022)
    with _Server((host, int(port)), _Connection) as server:
        server.serve_forever()

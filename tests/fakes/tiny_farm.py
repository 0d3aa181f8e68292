"""A farm of the benchmark's own parts with next to nothing in it: a base image of busybox whose `mvn` fetches a ready-made jar from Maven Central.

`python -m tests.fakes.tiny_farm DIRECTORY`, in network and mount namespaces of its own; leaves what each build cost in result.json.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

from bench import process, registry
from bench.farm import addresses, builders, company, history, network, options, run, servers, strategies
from bench.farm.fixtures import Ground

CHOSEN = options.read({"FARM_LINK": "100mbit", "FARM_RTT": "40", "FARM_COMMITS": "2", "FARM_STRATEGIES": "ours", "FARM_SCHEDULES": "fresh,random"})
_MVN = """#!/bin/sh
set -e
number=$(sed -n 's/.*Fair winds \\([0-9]*\\).*/\\1/p' text/src/main/java/harbour/text/Motto.java)
mkdir -p service/target ~/.m2/repository
wget -q -O service/target/service.jar {central}/service-$number.jar
[ -e ~/.m2/repository/dependency ] || wget -q -O ~/.m2/repository/dependency {central}/dependency
"""
DEPENDENCY_BYTES = 2_000_000


def lay_ground(directory: Path) -> Ground:
    ground = Ground(directory / "root", directory / "warm", directory / "central", directory / "registry")
    for path in ground[:3]:
        path.mkdir(parents=True)
    for name in ("bin", "proc", "dev", "root", "tmp", "etc", "src"):
        (ground.root / name).mkdir()
    shutil.copy("/bin/busybox", ground.root / "bin/busybox")
    for applet in ("sh", "sed", "mkdir", "wget"):
        (ground.root / "bin" / applet).symlink_to("busybox")
    (ground.root / "bin/mvn").write_text(_MVN.format(central=addresses.CENTRAL))
    (ground.root / "bin/mvn").chmod(0o755)
    (ground.warm / "dependency").write_bytes(b"hot")
    (ground.central / "dependency").write_bytes(os.urandom(DEPENDENCY_BYTES))
    for commit in history.history(commits=CHOSEN.commits):
        (ground.central / f"service-{commit.number:02d}.jar").write_bytes(_service(commit.motto))
    _push_base(ground, directory)
    return ground


def _service(motto: str) -> bytes:
    text = _zip({"harbour/text/Motto.class": motto.encode()})
    signals = _zip({"company/signals.txt": company.signals_text(0).encode()})
    return _zip({"BOOT-INF/lib/text-1.0.0.jar": text, "BOOT-INF/lib/signals-1.0.jar": signals})


def _zip(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return written.getvalue()


def _push_base(ground: Ground, directory: Path) -> None:
    layer = directory / "base.tar.gz"
    tar = subprocess.run(["tar", "-C", str(ground.root), "-c", "."], check=True, stdout=subprocess.PIPE).stdout
    layer.write_bytes(gzip.compress(tar, 1))
    layer.with_suffix(".diffid").write_text("sha256:" + hashlib.sha256(tar).hexdigest())
    port = process.free_port()
    with process.service(servers.registry_command(ground.registry, f"127.0.0.1:{port}"), log=directory / "log", ready=("127.0.0.1", port)):
        registry.Registry(port).put_image("base/jdk", [layer])


def time_to_fetch(machine: network.Machine, name: str) -> float:
    """Measured by who fetches, so that its start doesn't count."""
    command = [*machine.command, sys.executable, "-m", "tests.fakes.tiny_farm", "--fetch", f"{addresses.CENTRAL}/{name}"]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def fetch(url: str) -> None:
    start = time.perf_counter()
    urllib.request.urlopen(url, timeout=20).read()
    sys.stdout.write(str(time.perf_counter() - start))


def main(directory: Path) -> None:
    network.prepare()
    ground, work = lay_ground(directory), directory / "work"
    work.mkdir()
    with servers.running(work, ground.registry, ground.central, CHOSEN.rtt_s) as running:
        with network.machine(9, CHOSEN.link) as machine:
            fetched_s = time_to_fetch(machine, "dependency")
            moved = machine.bytes_moved()
        built = run.Farm(CHOSEN, running, strategies.make(["ours"], {"chandlery": builders.Chandlery()})[0], ground, work, []).run()
    result = {"built": [item._asdict() for item in built], "fetched_s": fetched_s, "moved": moved}
    (directory / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1] == "--fetch":
        fetch(sys.argv[2])
    else:
        main(Path(sys.argv[1]))

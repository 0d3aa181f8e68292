"""Odd files, large ones and many: through publication and another machine's fetch, entry for entry, in bounded memory.

With CHANDLERY_FAULT_ROUNDS (`make test-faults`) a file has 300 MB, and there are 100,000 small ones.
"""

import os
import socket
import subprocess
import sys

import pytest
from tests.fakes.machine import KEY, Machine

from chandlery.values import replace
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.tree import EntryType
from chandlery.volume.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a store keeps owners, which needs root")

IS_LONG = "CHANDLERY_FAULT_ROUNDS" in os.environ
LARGE_BYTES, SMALL_FILES = (300_000_000, 100_000) if IS_LONG else (40_000_000, 3_000)
MOST_BYTES = 300 << 20


def make_odd_files(upper):
    top = os.fsencode(upper)
    for name in (b"\xff\xfe.bin", b"caf\xe9", "café".encode(), b"README", b"readme", b"100%", b"%41", b"new\nline", b" ", b"-rf"):
        with open(top + b"/" + name, "wb") as file:
            file.write(name * 700)
    os.mkdir(top + b"/dir\x80")
    os.chmod(top + b"/dir\x80", 0o2750)
    with open(top + b"/dir\x80/owned", "wb") as file:
        file.write(b"x")
    os.chown(top + b"/dir\x80/owned", 4242, 4343)
    os.chmod(top + b"/dir\x80/owned", 0o604)
    with open(f"{upper}/sparse", "wb") as file:
        file.truncate(50 << 20)
        file.seek(20 << 20)
        file.write(b"in the middle")
    os.symlink(b"\xff\xfe.bin", top + b"/link\xfd")
    os.symlink("/etc/passwd", f"{upper}/out")
    with open(f"{upper}/hard-1", "wb") as file:
        file.write(b"linked" * 2000)
    os.link(f"{upper}/hard-1", f"{upper}/hard-2")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(upper)
        try:
            listening.bind("socket")
        finally:
            os.chdir("/")
    try:
        os.setxattr(f"{upper}/README", "user.origin", b"\0\xff")
    except OSError:
        pass
    os.utime(f"{upper}/README", ns=(1, 1_234_567_891_123_456_789))


def test_odd_files_are_the_same_on_another_machine(tmp_path):
    before = os.getcwd()
    remote = DirectoryRemote(str(tmp_path / "share"), KEY)
    try:
        with Machine(tmp_path / "one", remote) as one, Machine(tmp_path / "two", remote) as two:
            one.build(act=make_odd_files)
            assert two.sees() == one.sees()
            mine, theirs = plain(one.entries()), plain(two.entries())
            assert theirs == mine
            assert {"\udcff\udcfe.bin", "README", "readme", "café", "caf\udce9", "%41"} <= set(theirs)
            assert "socket" not in theirs
            assert (theirs["dir\udc80/owned"].uid, theirs["dir\udc80/owned"].gid, theirs["dir\udc80/owned"].mode) == (4242, 4343, 0o604)
            assert (theirs["hard-2"].type, theirs["hard-2"].target) == (EntryType.HARD_LINK, "hard-1")
            (layers,) = [volume.directories for volume in Volumes(two.store).list()]
            assert os.path.samefile(f"{layers[-1]}/fs/hard-1", f"{layers[-1]}/fs/hard-2")
            assert one.warnings == two.warnings == []
    finally:
        os.chdir(before)


def plain(entries):
    """Without digests, which are known to whoever read the content."""
    return {path: replace(entry, sha256="") for path, entry in entries.items()}


# ru_maxrss would count what this process had before the other's exec
PEAK = """
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
MEASURED = """
import os, sys
from tests.fakes.machine import KEY, Machine
from chandlery.volume.remote_directory import DirectoryRemote
large, small = int(sys.argv[3]), int(sys.argv[4])

def fill(upper):
    with open(upper + "/large", "wb") as file:
        for _ in range(large // 1_000_000):
            file.write(os.urandom(1_000_000))
    for number in range(small):
        if number % 500 == 0:
            os.mkdir(f"{upper}/{number // 500}")
        with open(f"{upper}/{number // 500}/{number}", "wb") as file:
            file.write(b"%d" % number * 50)
"""
SHARES = """
import sys
from chandlery.content.store import Store
from chandlery.volume import shared
from tests.fakes.machine import KEY
from chandlery.volume.remote_directory import DirectoryRemote
with Store.open(sys.argv[1]) as store:
    report = shared.pull(store, [DirectoryRemote(sys.argv[2], KEY)], KEY)
    assert report.warnings == ()
    print(report.files, peak())
"""
FILLS = (
    MEASURED
    + """
with Machine(sys.argv[1], DirectoryRemote(sys.argv[2], KEY)) as machine:
    machine.build(act=fill)
    assert machine.warnings == []
print(small + 1, peak())
"""
)


def test_large_volumes_are_published_and_fetched_in_bounded_memory(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in (os.getcwd(), *sys.path) if path)}
    for script, store in ((FILLS, "one"), (SHARES, "two")):
        command = [sys.executable, "-c", PEAK + script, str(tmp_path / store), str(tmp_path / "share"), str(LARGE_BYTES), str(SMALL_FILES)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        files, resident_kib = map(int, done.stdout.split())
        assert files == SMALL_FILES + 1
        assert resident_kib << 10 < MOST_BYTES, f"{resident_kib >> 10} MiB"

"""A root file system from distribution packages, the same for the same package versions.

mmdebstrap does the installing, from the mirrors, proxies and keyrings that this machine's apt uses. This module owns what makes the result
reproducible: what an installation leaves behind (logs, caches, the machine's own names, device nodes) goes, and no file is newer than the
newest package, so that neither the day nor the machine shows.
"""

import os
import re

from chandlery.errors import ChandleryError, InputError, MachineError, Unavailable
from chandlery.source import apt_sources, java_keystore
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

_INSTALL_EPOCH = 1735689600
"""What maintainer scripts take for now (shadow stores a day of it). Any fixed day will do but the first: a password of day 0 has expired."""

_LEFT_BEHIND = (
    "etc/apt/apt.conf.d/99mmdebstrap", "etc/hostname", "etc/machine-id", "etc/resolv.conf", "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old", "var/lib/dbus/machine-id", "var/lib/dpkg/available-old", "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/status-old", "var/lib/systemd/catalog/database",
)  # fmt: skip
_EMPTIED = ("dev", "run", "tmp", "var/cache/apt", "var/cache/ldconfig", "var/lib/apt/lists", "var/log", "var/tmp")
# dpkg and what it calls live in sbin too, which a user's PATH may lack
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# in mount and process namespaces of its own, which end when it does, and it ends when we do, however that comes: nothing stays mounted
_CONFINED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
_GRACE_S = 15.0
_NAME = re.compile(r"[a-z0-9][a-z0-9+.:-]+")


@value
class DistributionRoot:
    """`directory` holds the root; `packages` are "name=version" sorted; `epoch_s` is when the newest of them was made (Unix seconds)."""

    directory: str
    suite: str
    packages: tuple[str, ...]
    epoch_s: int


def make_root(
    directory: str, *, suite: str = "", include: tuple[str, ...] = (), variant: str = "minbase", report: "Callable[[str], None]" = lambda _: None
) -> DistributionRoot:
    """Install `suite` (this machine's own if "") with the packages `include` into `directory`, which is empty; `report` gets lines of progress.

    Raises InputError (base.unknown-package, base.unknown-suite, base.bad-name), Unavailable (base.mirror-unavailable) and MachineError
    (machine.no-mmdebstrap, machine.no-apt-sources, machine.no-space, base.failed).
    """
    import tempfile

    suite = suite or _own_suite()
    for name in (suite, *include):
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} can't be the name of a suite or package", code="base.bad-name", hint="separate package names by commas")
    sources = apt_sources.for_suite(apt_sources.read_machine(), suite, own_suite=_own_suite())
    with tempfile.TemporaryDirectory(prefix="chandlery-base-") as scratch:
        source_list, options = os.path.join(scratch, "base.sources"), os.path.join(scratch, "apt.conf")
        _write(source_list, apt_sources.render(sources))
        _write(options, _transport_settings())
        command = ["mmdebstrap", "--format=directory", f"--variant={variant}", f"--aptopt={options}"]
        command += [f"--include={','.join(include)}"] if include else []
        _install([*command, suite, directory, source_list], suite, report)
    _clean(directory)
    _carry_keyrings(directory, sources)
    epoch_s = _newest_package_s(directory)
    _fix_keystore(os.path.join(directory, "etc/ssl/certs/java/cacerts"), epoch_s)
    _clamp_times(directory, epoch_s)
    return DistributionRoot(directory, suite, _packages(directory), epoch_s)


def _install(command: list[str], suite: str, report: "Callable[[str], None]") -> None:
    """Run mmdebstrap; it ends with us, and its last lines say why it failed."""
    import shutil
    import subprocess

    kept = {key: item for key, item in os.environ.items() if key.lower().endswith("_proxy")}
    path = ":".join(filter(None, (os.environ.get("PATH"), _SYSTEM_PATH)))
    environment = kept | {"PATH": path, "HOME": "/", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(_INSTALL_EPOCH)}
    lines: list[str] = []
    if shutil.which(command[0], path=path) is None:
        raise MachineError("mmdebstrap is not installed", code="machine.no-mmdebstrap", hint="apt-get install mmdebstrap")
    process = subprocess.Popen(
        [*_CONFINED, *command] if os.geteuid() == 0 else command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines = [*lines[-60:], line.rstrip()]
            report(line.rstrip())
        status = process.wait()
    finally:
        if process.poll() is None:
            _end(process)
        process.stdout.close()
    if status:
        raise _failure("\n".join(lines), suite)


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask mmdebstrap to end, and after a while make it: its processes and mounts go with its namespaces."""
    import signal
    import subprocess

    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _failure(output: str, suite: str) -> ChandleryError:
    """What mmdebstrap's output says went wrong, as an error of ours (apt's sentences are stable under LC_ALL=C)."""
    unknown = re.search(r"Unable to locate package (\S+)|Package '?([^\s']+)'? has no installation candidate", output)
    if unknown:
        name = unknown[1] or unknown[2]
        return InputError(f"{suite} has no package {name}", code="base.unknown-package", hint=f"apt-cache search {name} lists similar names")
    if re.search(r"does not have a Release file|404 +Not Found", output):
        hint = "name a release that the mirrors in /etc/apt/sources.list carry, for example bookworm"
        return InputError(f"this machine's mirrors have no suite {suite}", code="base.unknown-suite", hint=hint)
    if "No space left on device" in output:
        return MachineError("the disk filled up while packages were installed", code="machine.no-space", hint="free some space: chandlery prune")
    last = [line for line in output.splitlines() if line.startswith("E:")] or output.splitlines()[-3:]
    if re.search(r"Could not (resolve|connect)|Temporary failure|Connection (failed|timed out|refused)|Failed to fetch", output):
        return Unavailable(f"a package mirror can't be reached: {last[0]}", code="base.mirror-unavailable", hint="apt-get update shows the same problem")
    return MachineError("mmdebstrap failed: " + " ".join(last), code="base.failed", hint="the lines before it are in the build's log")


def _transport_settings() -> str:
    """The machine's apt settings on how to reach mirrors (proxies, certificates, retries), for mmdebstrap's own apt."""
    import subprocess

    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    wanted = re.compile(r'Acquire::(https?|ftp|Retries|ForceIPv[46]|Check-Valid-Until|Queue-Mode)\b.*"[^"]+";')
    kept = [line for line in dump.splitlines() if wanted.match(line)]
    # the store is root's alone, so apt's own download user couldn't read it; apt says so at length
    return "\n".join([*kept, 'APT::Sandbox::User "root";']) + "\n"


def _own_suite() -> str:
    """The code name of this machine's release."""
    import platform

    name = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    if not name:
        raise MachineError("this machine's release has no code name", code="base.no-suite", hint="say which one: --suite bookworm")
    return name


def _carry_keyrings(directory: str, sources: tuple[apt_sources.AptSource, ...]) -> None:
    """Apt in the image must be able to verify what it downloads: a keyring of the machine's that no package brought is copied."""
    import shutil

    for keyring in {source.keyring for source in sources} - {""}:
        inside = directory + keyring
        if not os.path.lexists(inside):
            os.makedirs(os.path.dirname(inside), exist_ok=True)
            shutil.copyfile(keyring, inside)
            os.chmod(inside, 0o644)


def _clean(directory: str) -> None:
    """Remove what an installation leaves that isn't the packages' own."""
    import shutil

    for name in _LEFT_BEHIND:
        if os.path.lexists(os.path.join(directory, name)):
            os.unlink(os.path.join(directory, name))
    for name in _EMPTIED:
        _empty(os.path.join(directory, name))
    for path in [found.path for found in _walk(directory) if found.name == "__pycache__" and found.is_dir(follow_symlinks=False)]:
        shutil.rmtree(path)


def _clamp_times(directory: str, epoch_s: int) -> None:
    """Nothing is newer than `epoch_s`: what maintainer scripts made carries the newest package's time, not the day's."""
    limit_ns = epoch_s * 10**9
    for found in _walk(directory):
        if found.stat(follow_symlinks=False).st_mtime_ns > limit_ns:
            os.utime(found.path, ns=(limit_ns, limit_ns), follow_symlinks=False)
    os.utime(directory, ns=(limit_ns, limit_ns))


def _empty(directory: str) -> None:
    """Remove everything but directories, which packages own; missing is fine. Emptied logs would differ by the day."""
    for found in [*_walk(directory)] if os.path.isdir(directory) else ():
        if not found.is_dir(follow_symlinks=False):
            os.unlink(found.path)


def _walk(directory: str) -> "Iterator[os.DirEntry[str]]":
    """Everything beneath, parents before children; never through a symlink."""
    with os.scandir(directory) as scan:
        entries = sorted(scan, key=lambda item: item.name)
    for found in entries:
        yield found
        if found.is_dir(follow_symlinks=False):
            yield from _walk(found.path)


def _newest_package_s(directory: str) -> int:
    """When the newest package was made: its changelog's time, which building it set from the changelog's last entry."""
    documents = os.path.join(directory, "usr/share/doc")
    newest = _INSTALL_EPOCH
    for found in _walk(documents) if os.path.isdir(documents) else ():
        if found.name.startswith("changelog") and found.is_file(follow_symlinks=False):
            newest = max(newest, int(found.stat().st_mtime))
    return newest


def _fix_keystore(path: str, epoch_s: int) -> None:
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        data = file.read()
    fixed = java_keystore.with_times(data, epoch_s)
    if fixed is not None:
        with open(path, "r+b") as file:
            file.write(fixed)


def _packages(directory: str) -> tuple[str, ...]:
    """ "name=version" of every installed package."""
    with open(os.path.join(directory, "var/lib/dpkg/status"), encoding="utf-8") as file:
        paragraphs = file.read().split("\n\n")
    found = []
    for paragraph in paragraphs:
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            found.append(f"{fields['Package']}={fields['Version']}")
    return tuple(sorted(found))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)

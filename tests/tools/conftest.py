"""Real build tools on machines that share one cache volume: each with a store of its own, a shared directory between them.

A tool of this machine runs on the volume as a step would see it: a real overlay at the same place on every machine, HOME around it. `offline` steps have a
network namespace of their own, so that what a tool has is really in its volume.
"""

import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from chandlery.content.store import Store
from chandlery.linux import mount
from chandlery.linux.mount import OverlayOptions
from chandlery.scope import Scopes
from chandlery.volume.key import VolumeKey
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.sharing import VolumePlace, VolumeSharing
from chandlery.volume.volumes import Volumes

REAL_HOME = Path.home()
OPTIONS = OverlayOptions(follows_renames=True, copies_metadata_only=True)
SECRET = b"planted-secret-value-7f3a"


@lru_cache(maxsize=1)
def has_internet() -> bool:
    """By npm's own ping, which asks wherever this machine's npm is told to."""
    try:
        return subprocess.run(["npm", "ping"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.fixture(autouse=True)
def internet(request):
    if request.node.get_closest_marker("internet") is not None and not has_internet():
        pytest.skip("package registries are out of reach")


class Farm:
    """Machines by name, made when first named. `target` is where their volume is mounted, below `home`."""

    def __init__(self, directory: Path, target: str, built: Path) -> None:
        self.directory = directory
        self._built = built  # what go compiled, which is in no volume here
        self.home = directory / "home"
        self.target = self.home / target if target else self.home
        self.target.mkdir(parents=True)
        self.share = directory / "share"
        self.warnings: list[str] = []
        self._stores: dict[str, Store] = {}

    def step(self, machine: str, *commands, cwd=None, scope="team/app@main", reads=(), offline=False, fails=False, env=None, beside=()) -> str:
        """A build of one step; what it printed. `beside` are other machines' steps, (machine, commands, cwd), that begin before this one is committed."""
        return self.steps([(machine, commands, cwd), *beside], scope=scope, reads=reads, offline=offline, fails=fails, env=env)[0]

    def steps(self, steps, *, scope="team/app@main", reads=(), offline=False, fails=False, env=None) -> list[str]:
        """Builds that all begin before the first of them ends."""
        scopes = Scopes(scope, (scope, *reads), "told")
        key = VolumeKey(scope, "cache", "linux/amd64")
        begun = []
        for machine, commands, cwd in steps:
            store = self._store(machine)
            place = VolumePlace("share", lambda found: DirectoryRemote(str(self.share), found), True)
            sharing = VolumeSharing(store, (place,), scopes, warn=lambda code, text, cause: self.warnings.append(f"{code}: {text}"), secrets=lambda: (SECRET,))
            volumes = Volumes(store, sharing)
            session = store.begin()
            begun.append((volumes, sharing, session, volumes.attach(key, session), commands, cwd))
        outputs = []
        for volumes, sharing, session, attachment, commands, cwd in begun:
            outputs.append(self._run(attachment, commands, cwd, offline=offline, fails=fails, env=env))
            assert volumes.commit(attachment, succeeded=not fails).warning == ""
            session.close()
            assert sharing.close(60) == ()
        return outputs

    def blobs(self) -> list[Path]:
        return [path for path in self.share.rglob("*") if path.is_file() and path.parent.name == "blobs"]

    def close(self) -> None:
        for store in self._stores.values():
            store.close()

    def _store(self, machine: str) -> Store:
        if machine not in self._stores:
            self._stores[machine] = Store.open(str(self.directory / machine))
        return self._stores[machine]

    def _run(self, attachment, commands, cwd, *, offline, fails, env) -> str:
        mount.mount_overlay(str(self.target), attachment.lowers, upper=attachment.upper, work=attachment.work, options=OPTIONS)
        try:
            output = ""
            for command in commands:
                argv = [*(["unshare", "--net"] if offline else []), *command]
                done = subprocess.run(argv, cwd=cwd, env=self._environment(env), capture_output=True, text=True, timeout=100, check=False)
                output += done.stdout + done.stderr
                assert (done.returncode != 0) is (fails and command is commands[-1]), output[-3000:]
            return output
        finally:
            mount.unmount(str(self.target))

    def _environment(self, more) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("CARGO_", "GO", "MAVEN_", "PIP_FIND"))}
        rustup = os.environ.get("RUSTUP_HOME", str(REAL_HOME / ".rustup"))
        npmrc = REAL_HOME / ".npmrc"
        npm = {"NPM_CONFIG_USERCONFIG": str(npmrc)} if npmrc.exists() else {}
        java = {"MAVEN_OPTS": f"-Duser.home={self.home}"}  # it asks the user database, not HOME
        return {
            **kept,
            **npm,
            **java,
            "HOME": str(self.home),
            "RUSTUP_HOME": rustup,
            "GOCACHE": str(self._built),
            "GOFLAGS": "-mod=mod -buildvcs=false -modcacherw",
            **(more or {}),
        }


@pytest.fixture
def farm(request, tmp_path, tmp_path_factory):
    """A farm whose volume is at the place, relative to HOME, that the test is parametrised with."""
    if os.geteuid() != 0:
        pytest.skip("overlay mounts need root")
    made = Farm(tmp_path, request.param, tmp_path_factory.getbasetemp() / "go-build")
    yield made
    made.close()
    assert made.warnings == []


@pytest.fixture
def tool():
    """Skips where a tool is not installed."""

    def need(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} on this machine")
        return found

    return need


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A tool that this machine's package index has, installed once into a directory of its own: a PYTHONPATH, with programs in bin/."""
    known = {}

    def install(package) -> str:
        if package not in known:
            known[package] = str(tmp_path_factory.mktemp(package))
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-cache-dir", "--target", known[package], package]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                known[package] = ""
        if not known[package]:
            pytest.skip(f"this machine's package index has no {package}")
        return known[package]

    return install

"""What the farm stands on, made once under .cache/bench/farm and kept: a base image, what Maven Central has of it, a warm local repository.

Making it needs the machine's network (distribution packages, Maven Central); the timed part does not.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench import process
from bench.farm import addresses, company, history, servers
from bench.fixtures import CACHE

FARM = CACHE / "farm"
STORE = FARM / "store"
BASE = "farm-base"
_PACKAGES = "ca-certificates,default-jdk-headless,maven"
_UNFIT = ("_remote.repositories", "resolver-status.properties", ".lastUpdated", "-company.xml", "-company.xml.sha1")
_SETTINGS = """<settings>
  <mirrors>
    <mirror><id>central</id><mirrorOf>central</mirrorOf><url>{central}</url></mirror>
  </mirrors>
</settings>
"""
_RECORDING_SETTINGS = """<settings>
  <mirrors>
    <mirror><id>company</id><mirrorOf>company</mirrorOf><url>file:///states/company</url></mirror>
  </mirrors>
</settings>
"""
_OFFLINE_DOCKERFILE = f"""FROM {BASE} AS offline
COPY . /states
RUN for state in /states/commit-*; do cd $state && mvn -B -ntp dependency:go-offline -q -gs /states/settings.xml -Dmaven.repo.local=/offline || exit 1; done
FROM scratch
COPY --from=offline /offline /
"""
_BASE_DOCKERFILE = f"FROM {BASE}-bare\nCOPY settings.xml /etc/maven/settings.xml\n"
_WARM_DOCKERFILE = f"""FROM {BASE} AS warm
COPY . /states
RUN for state in /states/commit-*; do cd $state && {addresses.MAVEN} -q -gs /states/settings.xml -Dmaven.repo.local=/warm || exit 1; done
FROM scratch
COPY --from=warm /warm /
"""


class Ground(NamedTuple):
    """Directories that are only read: a root file system, a local repository (~/.m2/repository) in which every commit finds its dependencies,
    what Maven Central has of them, and what a registry keeps that has the base image as base/jdk."""

    root: Path
    warm: Path
    central: Path
    registry: Path


def make() -> Ground:
    """The fixtures; whatever is missing is made."""
    FARM.mkdir(parents=True, exist_ok=True)
    digest = _poms_digest()
    warm, central = f"warm-{digest}", f"central-{digest}"
    makers = (("root", _make_root), ("registry", _make_registry), (warm, _make_warm), (central, lambda partial: _make_central(FARM / warm, partial)))
    for name, maker in makers:
        path = FARM / name
        if not path.exists():
            print(f"making fixture farm/{name}", flush=True)
            partial = path.with_name("partial-" + path.name)
            shutil.rmtree(partial, ignore_errors=True)
            maker(partial)
            partial.rename(path)
    return Ground(FARM / "root", FARM / warm / "repository", FARM / central, FARM / "registry")


def chandlery(*arguments: str) -> None:
    """This checkout's command, on the fixtures' store."""
    environment = {**os.environ, "PYTHONPATH": "src", "CHANDLERY_ROOT": str(STORE)}
    subprocess.run([sys.executable, "-m", "chandlery", *arguments], check=True, env=environment)


def _make_root(partial: Path) -> None:
    if subprocess.run([sys.executable, "-m", "chandlery", "inspect", f"{BASE}-bare", "--root", str(STORE)], capture_output=True, check=False).returncode:
        chandlery("base", "create", f"{BASE}-bare", "--include", _PACKAGES)
    with tempfile.TemporaryDirectory() as context:
        Path(context, "settings.xml").write_text(_SETTINGS.format(central=addresses.CENTRAL))
        Path(context, "Dockerfile").write_text(_BASE_DOCKERFILE)
        chandlery("build", "-q", "-t", BASE, context)
        chandlery("build", "-q", "-o", f"type=local,dest={partial}", context)


def _make_registry(partial: Path) -> None:
    command = servers.registry_command(partial, address := f"127.0.0.1:{process.free_port()}")
    host, _, port = address.rpartition(":")
    with process.service(command, log=FARM / "registry.log", ready=(host, int(port))):
        chandlery("tag", BASE, f"{address}/base/jdk:latest")
        chandlery("push", "-q", f"{address}/base/jdk:latest")


def _make_warm(partial: Path) -> None:
    """Build each commit whose dependencies differ from the one before, with the real Maven Central behind it; what Maven kept is what it needs."""
    partial.mkdir()
    _record(_WARM_DOCKERFILE, partial / "repository")


def _make_central(warm: Path, partial: Path) -> None:
    """What the builds need, and what go-offline asks for beside it."""
    partial.mkdir()
    with tempfile.TemporaryDirectory(dir=FARM) as directory:
        offline = Path(directory, "repository")
        _record(_OFFLINE_DOCKERFILE, offline)
        for repository in (warm / "repository", offline):
            _publish(repository, partial)


def _record(dockerfile: str, target: Path) -> None:
    """Have `dockerfile` run Maven on each commit that changed a pom.xml; the local repository that it leaves becomes `target`."""
    commits = history.history()
    with tempfile.TemporaryDirectory() as context:
        for commit in commits:
            if commit.kind in (history.Kind.FIRST, history.Kind.DEPENDENCY, history.Kind.MODULE):
                history.write(Path(context) / f"commit-{commit.number:02d}", history.sources(commits, commit.number, addresses.COMPANY))
        company.write(Path(context) / "company", 0)
        Path(context, "settings.xml").write_text(_RECORDING_SETTINGS)
        Path(context, "Dockerfile").write_text(dockerfile)
        chandlery("build", "--ca-certs", "host", "-o", f"type=local,dest={target}", context)


def _publish(repository: Path, target: Path) -> None:
    """The files of a local repository under the names that a remote one has them by."""
    for path in repository.rglob("*"):
        name = path.relative_to(repository).as_posix()
        if path.is_file() and not name.endswith(_UNFIT) and not name.startswith((company.GROUP + "/", "harbour/")):
            copy = target / name.replace("-central.xml", ".xml")
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists():
                os.link(path, copy)


def _poms_digest() -> str:
    """What the warm repository depends on."""
    commits = history.history()
    poms = [{name: text for name, text in history.sources(commits, commit.number, "").items() if name.endswith("pom.xml")} for commit in commits]
    return hashlib.sha256(json.dumps(poms).encode()).hexdigest()[:12]

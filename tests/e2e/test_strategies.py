"""The scripts of examples/strategies as they are, on a project whose Maven is a stand-in, so that they need no internet: what each fetches again, and where.

The base image declares /root/.m2 a volume, which must make no difference to any of them.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import SOURCES, need

EXAMPLES = Path(__file__).parents[2] / "examples/strategies"
STAND_IN = Path(__file__).parents[1] / "fakes/mvn"
BASE = "FROM busybox\nCOPY mvn /usr/bin/mvn\nCOPY *.jar /repository/\nVOLUME /root/.m2\n"
TIMEOUT_S = 120


class Team:
    """Machines, a project and a share. `host` is a registry's, "" for none."""

    def __init__(self, directory: Path, store: Path, host: str = "") -> None:
        self.directory, self.store, self.host = directory, store, host
        self.project = directory / "project"
        for path, text in {
            "pom.xml": "<needs>one</needs>",
            "service/pom.xml": "<needs>two</needs>",
            "service/Main.java": "first",
            ".dockerignore": "**/target",
        }.items():
            (self.project / path).parent.mkdir(parents=True, exist_ok=True)
            (self.project / path).write_text(text + "\n")
        repository = directory / "repository"
        repository.mkdir()
        for name in ("one", "two", "three"):
            (repository / f"{name}.jar").write_text(f"{name}\n")
        commands = directory / "bin"
        commands.mkdir()
        (commands / "mvn").symlink_to(STAND_IN)
        (commands / "chandlery").write_text(f'#!/bin/sh\nexec {sys.executable} -m chandlery "$@"\n')
        (commands / "chandlery").chmod(0o755)
        # a disk that is nearly full must not take away what the next build is to find
        config = directory / "roomy.toml"
        config.write_text('[prune]\nmax-used-space = "100GB"\n')
        self.env = {
            "PATH": f"{commands}:{os.environ['PATH']}", "HOME": str(directory), "CHANDLERY_CONFIG": str(config), "CHANDLERY_NETWORK": "none",
            "PYTHONPATH": SOURCES,
            "BASE": "stand-in", "IMAGE": "built", "APP": str(self.project), "SHARE": str(directory / "share"), "REGISTRY": host,
            "STAND_IN_REPOSITORY": str(repository),
        }  # fmt: skip
        self.edits = 0

    def machine(self, name: str) -> str:
        """Its store, which has the base image and nothing else when it is new."""
        place = self.directory / name
        if not place.exists():
            shutil.copytree(self.store, place, symlinks=True, ignore=shutil.ignore_patterns("reserve"))
        return str(place)

    def run(self, machine: str, script: str, *arguments: str, **env: str) -> list[str]:
        """Run a script on a machine; what it fetched."""
        command = [str(EXAMPLES / script), *arguments]
        finished = subprocess.run(
            command, env=self.env | {"CHANDLERY_ROOT": self.machine(machine)} | env, cwd=self.directory, capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        said = finished.stdout + finished.stderr
        assert finished.returncode == 0, said
        return sorted(re.findall(r"Fetched (\w+)", said))

    def build(self, machine: str, strategy: str, *arguments: str, **env: str) -> list[str]:
        """Edit a source and run the strategy; what it fetched. The image is checked to be of these sources."""
        self.edits += 1
        (self.project / "service/Main.java").write_text(f"edit {self.edits}\n")
        fetched = self.run(machine, f"{strategy}/run", *(arguments or ("--progress=plain",)), **env)
        assert self.jar(machine).startswith(f"edit {self.edits}\none\ntwo\n")
        return fetched

    def jar(self, machine: str) -> str:
        command = [sys.executable, "-m", "chandlery", "run", "--network", "none", "--entrypoint", "cat", "built", "/app/service.jar"]
        return subprocess.run(command, env=self.env | {"CHANDLERY_ROOT": self.machine(machine)}, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def machine_with_base(tmp_path_factory, busybox_archive):
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    directory = tmp_path_factory.mktemp("stand-in")
    context = directory / "context"
    context.mkdir()
    shutil.copy(STAND_IN, context / "mvn")
    (context / "Dockerfile").write_text(BASE)
    for name in ("one", "two", "three"):
        (context / f"{name}.jar").write_text(f"{name}\n")
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "CHANDLERY_ROOT": str(directory / "store"), "CHANDLERY_CONFIG": "/none", "PYTHONPATH": SOURCES}
    for arguments in (["load", "-q", "-i", str(busybox_archive)], ["build", "-q", "-t", "stand-in", str(context)]):
        subprocess.run([sys.executable, "-m", "chandlery", *arguments], env=env, check=True, stdout=subprocess.DEVNULL)
    return directory / "store"


@pytest.fixture
def team(tmp_path, machine_with_base):
    return Team(tmp_path, machine_with_base)


@pytest.fixture
def team_with_registry(tmp_path, machine_with_base, registry):
    return Team(tmp_path, machine_with_base, registry)


def test_0_the_hosts_own_maven_and_its_cache(team):
    assert team.build("a", "0-host-build") == ["one", "two"]
    assert team.build("a", "0-host-build") == []


def test_0_from_a_git_url(team):
    need("git")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(team.project)]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    assert team.run("a", "0-host-build/run", f"file://{team.project}") == ["one", "two"]
    assert team.jar("a") == "first\none\ntwo\n"


@pytest.mark.parametrize("strategy", ["1-two-dockerfiles", "2-multi-stage"])
def test_1_2_everything_is_fetched_for_every_edit(team, strategy):
    assert team.build("a", strategy) == ["one", "two"]
    assert team.build("a", strategy) == ["one", "two"]


def test_3_a_layer_of_dependencies_stays_on_its_machine(team):
    assert team.build("a", "3-split-layer") == ["one", "two"]
    assert team.build("a", "3-split-layer") == []
    assert team.build("b", "3-split-layer") == ["one", "two"]
    (team.project / "pom.xml").write_text("<needs>one</needs>\n<needs>three</needs>\n")
    assert team.run("a", "3-split-layer/run", "--progress=plain") == ["one", "three", "two"]


@pytest.mark.parametrize("strategy", ["4-tar-on-a-share", "5-directory-on-a-share", "9-cache-volumes"])
def test_4_5_9_any_machine_finds_what_another_fetched(team, strategy):
    assert team.build("a", strategy) == ["one", "two"]
    assert team.build("a", strategy) == []
    assert team.build("b", strategy) == []


def test_6_an_image_of_dependencies_and_steps_from_the_registry(team_with_registry):
    team = team_with_registry
    assert team.build("a", "6-dependencies-image", "--progress=plain") == ["one", "two"]
    assert team.build("a", "6-dependencies-image") == []
    assert team.build("b", "6-dependencies-image") == []
    assert team.run("b", "6-dependencies-image/run", "--progress=plain") == []
    assert team.run("a", "6-dependencies-image/refresh", "--progress=plain") == ["one", "two"]


def test_7_a_cache_image_that_the_first_build_does_without(team_with_registry):
    team = team_with_registry
    assert team.build("a", "7-cache-image") == ["one", "two"]
    assert team.run("a", "7-cache-image/refresh", "--progress=plain") == ["one", "two"]
    assert team.build("a", "7-cache-image") == []
    assert team.build("b", "7-cache-image") == []
    # a refresh elsewhere begins with what the image has
    assert team.run("b", "7-cache-image/refresh", "--progress=plain") == []
    # together with (3): a changed pom.xml fetches what is new alone
    assert team.build("c", "7-cache-image", DOCKERFILE="Dockerfile.split") == []
    (team.project / "service/pom.xml").write_text("<needs>two</needs>\n<needs>three</needs>\n")
    assert team.build("c", "7-cache-image", DOCKERFILE="Dockerfile.split") == ["three"]


def test_8_a_fat_base_image_of_several_scopes_volumes(team_with_registry):
    team = team_with_registry
    assert team.build("a", "9-cache-volumes") == ["one", "two"]
    assert team.run("a", "8-fat-base/refresh") == []
    assert team.build("a", "8-fat-base") == []
    assert team.build("b", "8-fat-base") == []
    # made where no build ran, from what the remote has
    assert team.run("c", "8-fat-base/refresh", REMOTE=f"file://{team.directory}/share/remote", SCOPES="strategies/9 nobody") == []
    assert team.build("c", "8-fat-base") == []


@pytest.mark.internet
def test_the_real_project_builds_from_maven_central(tmp_path):
    """On the base image of `make demo`, where that has been made here and Maven Central is within reach."""
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    archive = tmp_path / "base.tar"
    run = [sys.executable, "-m", "chandlery"]
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "CHANDLERY_CONFIG": "/none", "PYTHONPATH": SOURCES}
    if subprocess.run([*run, "save", "demo-jdk", "-o", archive], env=env, capture_output=True, check=False).returncode:
        pytest.skip("needs the image demo-jdk (make demo)")
    try:
        socket.create_connection(("repo.maven.apache.org", 443), 5).close()
    except OSError:
        pytest.skip("Maven Central is out of reach")
    env |= {"CHANDLERY_ROOT": str(tmp_path / "store"), "CHANDLERY_CA_CERTS": "host", "SHARE": str(tmp_path / "share"), "IMAGE": "built"}
    (tmp_path / "chandlery").write_text(f'#!/bin/sh\nexec {sys.executable} -m chandlery "$@"\n')
    (tmp_path / "chandlery").chmod(0o755)
    subprocess.run([*run, "load", "-q", "-i", archive], env=env, check=True, stdout=subprocess.DEVNULL)
    run_script = [EXAMPLES / "4-tar-on-a-share/run", "--progress=plain"]
    built = subprocess.run(run_script, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list((tmp_path / "share/tar").iterdir())) == 1
    answer = subprocess.run([*run, "run", "--network", "none", "built"], env=env, check=True, capture_output=True, text=True)
    assert answer.stdout == '{"greeting":"Fair winds"}\n'

"""mvnw and gradlew themselves: the distribution that machine A unpacked serves machine B, whole, and half of one nobody."""

import io
import os
import re
import shutil
import subprocess
import zipfile
from functools import cache
from pathlib import Path

import pytest
from tests.tools.registries import are_reachable
from tests.tools.served import Page, Served
from tests.tools.test_gradle import FETCHED, OWN, project

from chandlery.linux.removal import remove_tree

DEBIAN_GRADLE = Path("/usr/share/gradle")
ASKED = re.compile(r"Downloading(?: from:)? http\S+\.zip$", re.MULTILINE)
WRAPPER = "org.apache.maven.plugins:maven-wrapper-plugin:3.3.2:wrapper"
FETCHED_BY_MAVEN = re.compile(r"Downloaded from \S+: \S+/([^/\s]+\.pom) ")
BOMS = ("org.slf4j:slf4j-api:1.7.36", "commons-codec:commons-codec:1.15")
# puts into place what was unpacked, as over a file system's border, and is killed half way
CUT_OFF = '#!/bin/sh\nmkdir "$3" && cp "$2/mvnw.url" "$3" && cp -r "$2/bin" "$3" && kill -9 $PPID\n'


def maven_project(directory, *boms):
    """With as little as there can be for Maven to fetch."""
    managed = ""
    for bom in boms:
        group, artifact, version = bom.split(":")
        place = f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        managed += f"<dependency>{place}<type>pom</type><scope>import</scope></dependency>"
    directory.mkdir(exist_ok=True)
    (directory / "pom.xml").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>example</groupId><artifactId>one</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencyManagement><dependencies>{managed}</dependencies></dependencyManagement></project>"
    )


@pytest.fixture(scope="module")
def maven_wrapper(tmp_path_factory):
    """Gives a project the wrapper, of the type that is a script alone."""
    repository = tmp_path_factory.mktemp("plugin")

    @cache
    def made() -> Path:
        if not are_reachable():
            pytest.skip("package registries are out of reach")
        directory = tmp_path_factory.mktemp("wrapper")
        maven_project(directory, BOMS[0])
        command = ["mvn", "-B", "-q", f"-Dmaven.repo.local={repository}", WRAPPER, "-Dtype=only-script"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout
        return directory

    def write(directory) -> None:
        shutil.copytree(made() / ".mvn", directory / ".mvn")
        shutil.copy2(made() / "mvnw", directory)

    return write


def mvnw(*arguments):
    return ("sh", "./mvnw", "-B", *arguments)


def unpacked(farm, machine, place):
    """What a machine's volume has of distributions: permissions and size by path."""
    script = f"find {place} -type f -printf '%P %m %s\\n'"
    return {path: (int(mode, 8), size) for path, mode, size in map(str.split, farm.step(machine, ("sh", "-c", script), cwd=farm.home).splitlines())}


@pytest.mark.internet
@pytest.mark.parametrize("farm", [".m2"], indirect=True)
def test_mvnw_builds_both_writers_projects_offline_with_the_maven_that_the_first_unpacked(farm, tool, maven_wrapper, tmp_path):
    tool("mvn")
    tool("unzip")
    env = {"MVNW_VERBOSE": "true"}
    projects = [tmp_path / "one", tmp_path / "two"]
    outputs = []
    for number, directory in enumerate(projects):
        maven_project(directory, *BOMS[: number + 1])
        maven_wrapper(directory)
        outputs.append(farm.step("ab"[number], mvnw("validate"), cwd=directory, env=env))
    assert [len(ASKED.findall(output)) for output in outputs] == [1, 0], outputs
    first, second = (set(FETCHED_BY_MAVEN.findall(output)) for output in outputs)
    assert second
    assert not first & second, "B fetched again what A had fetched"
    for directory in projects:
        farm.step("c", mvnw("-o", "validate"), cwd=directory, env=env, offline=True)
    files = unpacked(farm, "a", ".m2/wrapper/dists")
    assert unpacked(farm, "c", ".m2/wrapper/dists") == files
    assert len(files) > 60
    assert [mode & 0o100 for path, (mode, _) in files.items() if path.endswith("/bin/mvn")] == [0o100]


@pytest.mark.internet
@pytest.mark.parametrize("farm", [".m2"], indirect=True)
def test_half_a_distribution_of_a_killed_mvnw_is_shared_with_nobody(farm, tool, maven_wrapper, tmp_path):
    tool("mvn")
    tool("unzip")
    maven_project(tmp_path / "one", BOMS[0])
    maven_wrapper(tmp_path / "one")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/mv").write_text(CUT_OFF)
    (tmp_path / "bin/mv").chmod(0o755)
    env = {"MVNW_VERBOSE": "true"}
    cut_off = {**env, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    farm.step("a", mvnw("-v"), cwd=tmp_path / "one", env=cut_off, fails=True)
    for machine in "ab":
        printed = farm.step(machine, mvnw("-v"), cwd=tmp_path / "one", env=env)
        assert len(ASKED.findall(printed)) == (machine == "a")
        assert "\nApache Maven " in printed


@pytest.fixture(scope="module")
def gradle_archive():
    """Debian's Gradle as a distribution that gradlew unpacks."""
    if not (DEBIAN_GRADLE / "bin/gradle").exists():
        pytest.skip("no Debian gradle on this machine")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("gradle-4.4.1/", b"")
        for path in sorted(DEBIAN_GRADLE.rglob("*")):
            if not path.name.startswith("."):
                archive.write(path, f"gradle-4.4.1/{path.relative_to(DEBIAN_GRADLE)}")
    return out.getvalue()


@pytest.fixture(scope="module")
def gradle_wrapper(tmp_path_factory):
    if shutil.which("gradle") is None:
        pytest.skip("no gradle on this machine")
    made = tmp_path_factory.mktemp("made")
    project(made, OWN[0])
    subprocess.run(["gradle", "--no-daemon", "-g", f"{made}/own", "wrapper"], cwd=made, check=True, capture_output=True, timeout=100)
    return made


@pytest.fixture
def gradlew(gradle_wrapper, gradle_archive):
    """Writes a project with a wrapper; the server that has its distribution."""
    with Served() as server:
        server.pages["/gradle-4.4.1-bin.zip"] = Page(gradle_archive, "application/zip")

        def write(directory, own) -> None:
            project(directory, own)
            shutil.copytree(gradle_wrapper / "gradle", directory / "gradle")
            shutil.copy2(gradle_wrapper / "gradlew", directory)
            told = directory / "gradle/wrapper/gradle-wrapper.properties"
            told.write_text(re.sub("(?<=distributionUrl=).*", f"{server.address}/gradle-4.4.1-bin.zip", told.read_text()))

        yield server, write


GRADLEW = ("./gradlew", "--no-daemon", "--console=plain")
OFFLINE = ("sh", "-c", "ip link set lo up && exec " + " ".join((*GRADLEW, "--offline", "compileJava")))


@pytest.mark.internet
@pytest.mark.parametrize("farm", [".gradle"], indirect=True)
def test_gradlew_builds_offline_with_the_gradle_that_another_machine_unpacked(farm, gradlew, tmp_path):
    server, write = gradlew
    if not are_reachable():
        pytest.skip("package registries are out of reach")
    env = {"GRADLE_USER_HOME": str(farm.target), "GRADLE_OPTS": f"-Duser.home={farm.home}"}
    write(tmp_path / "one", OWN[0])
    fetched = FETCHED.findall(farm.step("a", (*GRADLEW, "--info", "compileJava"), cwd=tmp_path / "one", env=env))
    assert "slf4j-api-1.7.36.jar" in fetched
    assert server.counted() == ["gradle-4.4.1-bin.zip"]
    remove_tree(str(tmp_path / "one/build"))
    farm.step("c", OFFLINE, cwd=tmp_path / "one", env=env, offline=True)
    files = unpacked(farm, "a", ".gradle/wrapper/dists")
    assert unpacked(farm, "c", ".gradle/wrapper/dists") == files
    assert [mode & 0o100 for path, (mode, _) in files.items() if path.endswith("/bin/gradle")] == [0o100]


@pytest.mark.parametrize("farm", [".gradle"], indirect=True)
@pytest.mark.parametrize("ends", ["whole", "cut off"])
def test_a_failed_step_shares_the_gradle_that_it_unpacked_if_it_is_whole(farm, gradlew, ends, tmp_path):
    server, write = gradlew
    env = {"GRADLE_USER_HOME": str(farm.target), "GRADLE_OPTS": f"-Duser.home={farm.home}"}
    write(tmp_path / "one", OWN[0])
    script = "./gradlew --no-daemon -v"
    if ends == "cut off":
        script += f" && rm -r {farm.target}/wrapper/dists/*/*/*.ok {farm.target}/wrapper/dists/*/*/*/lib/plugins"
    farm.step("a", ("sh", "-c", f"{script} && exit 1"), cwd=tmp_path / "one", env=env, fails=True)
    server.counted()
    assert "\nGradle 4.4.1\n" in farm.step("b", ("./gradlew", "--no-daemon", "-v"), cwd=tmp_path / "one", env=env)
    assert len(server.counted()) == (ends == "cut off")

"""Gradle itself, where it is installed: what machine A fetched machine B doesn't fetch again."""

import re

import pytest
from tests.tools.registries import are_reachable

from chandlery.linux.removal import remove_tree

pytestmark = pytest.mark.internet

OWN = ("commons-io:commons-io:2.11.0", "org.apache.commons:commons-lang3:3.12.0", "commons-codec:commons-codec:1.15")
GRADLE = ("gradle", "--no-daemon", "--console=plain")
ONLINE = (*GRADLE, "--info", "compileJava")
# without a loopback device it finds no address for itself
OFFLINE = ("sh", "-c", "ip link set lo up && exec " + " ".join((*GRADLE, "--offline", "compileJava")))
FETCHED = re.compile(r"^Download \S+/([^/\s]+\.(?:jar|pom))$", re.MULTILINE)


def project(directory, own):
    (directory / "src/main/java").mkdir(parents=True)
    (directory / "src/main/java/A.java").write_text("class A { org.slf4j.Logger logger; }")
    (directory / "settings.gradle").write_text("")
    (directory / "build.gradle").write_text(
        "apply plugin: 'java'\nrepositories { mavenCentral() }\n"
        f"configurations {{ libraries }}\ndependencies {{ libraries 'org.slf4j:slf4j-api:1.7.36', '{own}' }}\n"
        "sourceSets.main.compileClasspath = configurations.libraries\n"
    )


@pytest.mark.parametrize("farm", [".gradle"], indirect=True)
def test_each_of_three_writers_projects_compiles_offline_on_a_machine_that_has_only_the_shared_volume(farm, tool, tmp_path):
    tool("gradle")
    if not are_reachable():
        pytest.skip("package registries are out of reach")
    env = {"GRADLE_USER_HOME": str(farm.home / ".gradle"), "GRADLE_OPTS": f"-Duser.home={farm.home}"}
    projects = [tmp_path / f"project{number}" for number in range(3)]
    for directory, own in zip(projects, OWN, strict=True):
        project(directory, own)
    first = FETCHED.findall(farm.step("a", ONLINE, cwd=projects[0], env=env))
    outputs = farm.steps([("b", [ONLINE], projects[1]), ("c", [ONLINE], projects[2])], env=env)
    second, third = (FETCHED.findall(output) for output in outputs)
    assert {"slf4j-api-1.7.36.jar", "commons-io-2.11.0.jar"} <= set(first)
    assert "commons-lang3-3.12.0.jar" in second
    assert "commons-codec-1.15.jar" in third
    assert not set(first) & set(second), "B fetched again what A had fetched"
    assert not set(first) & set(third), "C fetched again what A had fetched"
    for directory in projects:
        remove_tree(str(directory / "build"))
        farm.step("d", OFFLINE, cwd=directory, offline=True, env=env)

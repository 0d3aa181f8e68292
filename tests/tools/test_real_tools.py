"""Maven, npm, Go and Cargo themselves: what machine A fetched machine B doesn't fetch, and after three writers each one's project builds offline."""

import os
import re

import pytest

from chandlery.linux.removal import remove_tree


class Maven:
    binary = "mvn"
    own = ("commons-io:commons-io:2.11.0", "org.apache.commons:commons-lang3:3.12.0", "commons-codec:commons-codec:1.15")
    online = ("mvn", "-B", "compile")
    offline = ("mvn", "-B", "-o", "compile")
    fetched = re.compile(r"Downloaded from \S+: \S+/([^/\s]+\.jar) ")

    @staticmethod
    def project(directory, number):
        group, artifact, version = Maven.own[number].split(":")
        dependencies = [("org.slf4j", "slf4j-api", "1.7.36"), (group, artifact, version)]
        listed = "".join(f"<dependency><groupId>{g}</groupId><artifactId>{a}</artifactId><version>{v}</version></dependency>" for g, a, v in dependencies)
        (directory / "src/main/java").mkdir(parents=True)
        (directory / "src/main/java/A.java").write_text("class A { org.slf4j.Logger logger; }")
        (directory / "pom.xml").write_text(
            "<project><modelVersion>4.0.0</modelVersion><groupId>example</groupId><artifactId>one</artifactId><version>1</version><properties>"
            "<maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target>"
            f"<project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties><dependencies>{listed}</dependencies></project>"
        )


class Npm:
    binary = "npm"
    own = ("is-odd@3.0.1", "left-pad@1.3.0", "is-even@1.0.0")
    # an offline npm ci takes tarballs by the addresses in the lock file, which some machines leave out
    online = ("npm", "install", "--omit-lockfile-registry-resolved=false", "--no-audit", "--no-fund", "--loglevel=http")
    offline = ("npm", "ci", "--offline", "--no-audit", "--no-fund")
    fetched = re.compile(r"http fetch GET 200 \S*?([^/\s]+\.tgz)(?! \S+ \(cache hit\))")

    @staticmethod
    def project(directory, number):
        name, version = Npm.own[number].split("@")
        directory.mkdir(parents=True)
        (directory / "package.json").write_text(f'{{"name":"one","version":"1.0.0","dependencies":{{"ms":"2.1.3","{name}":"{version}"}}}}')


class Go:
    binary = "go"
    own = ("golang.org/x/xerrors@v0.0.0-20231012003039-104605ab7028", "github.com/google/uuid@v1.6.0", "github.com/pkg/errors@v0.9.1")
    online = ("sh", "-c", "go mod tidy && go build -o /dev/null .")
    offline = ("sh", "-c", "GOPROXY=off GOFLAGS='-mod=mod -buildvcs=false' go build -o /dev/null . && GOPROXY=off go mod verify")
    fetched = re.compile(r"go: downloading (\S+)")

    @staticmethod
    def project(directory, number):
        module, _, version = Go.own[number].partition("@")
        directory.mkdir(parents=True)
        (directory / "go.mod").write_text(f"module one\ngo 1.20\nrequire rsc.io/quote v1.5.2\nrequire {module} {version}\n")
        (directory / "main.go").write_text(f'package main\nimport "rsc.io/quote"\nimport _ "{module}"\nfunc main() {{ println(quote.Hello()) }}\n')


class Cargo:
    binary = "cargo"
    own = ("itoa", "ryu", "fnv")
    online = ("cargo", "check")
    offline = ("cargo", "check", "--offline", "--locked")
    fetched = re.compile(r"Downloaded (\S+) v")

    @staticmethod
    def project(directory, number):
        (directory / "src").mkdir(parents=True)
        (directory / "src/lib.rs").write_text("")
        (directory / "Cargo.toml").write_text(
            f'[package]\nname = "one"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\ncfg-if = "1"\n{Cargo.own[number]} = "1"\n'
        )


TOOLS = {
    Maven: [".m2/repository"],
    Npm: ["", ".npm"],
    Go: ["go"],
    Cargo: ["", ".cargo", ".cargo/registry"],
}


@pytest.mark.internet
@pytest.mark.parametrize(
    ("kind", "farm"),
    [(kind, place) for kind, places in TOOLS.items() for place in places],
    indirect=["farm"],
    ids=lambda found: getattr(found, "__name__", found),
)
def test_each_of_three_writers_projects_builds_offline_on_a_machine_that_has_only_the_shared_volume(kind, farm, tool, tmp_path):
    tool(kind.binary)
    projects = [tmp_path / f"project{number}" for number in range(3)]
    for number, directory in enumerate(projects):
        kind.project(directory, number)
    first = kind.fetched.findall(farm.step("a", kind.online, cwd=projects[0]))
    # two machines that both begin with what A left and don't see each other
    outputs = farm.steps([("b", [kind.online], projects[1]), ("c", [kind.online], projects[2])])
    second, third = (kind.fetched.findall(output) for output in outputs)
    assert first
    assert second
    assert third
    assert not set(first) & set(second), "B fetched again what A had fetched"
    assert not set(first) & set(third), "C fetched again what A had fetched"
    for directory in projects:
        remove_tree(str(directory / "target"))
        farm.step("d", kind.offline, cwd=directory, offline=True)


@pytest.mark.internet
@pytest.mark.parametrize(
    ("kind", "variable", "usual", "farm"),
    [(Npm, "npm_config_cache", ".npm", "moved/n"), (Go, "GOMODCACHE", "go/pkg/mod", "moved/g"), (Cargo, "CARGO_HOME", ".cargo", "moved/c")],
    indirect=["farm"],
    ids=["npm", "go", "cargo"],
)
def test_a_moved_repository_serves_both_writers_projects_offline(kind, variable, usual, farm, tool, tmp_path):
    """Maven's is moved in test_builds."""
    tool(kind.binary)
    projects = [tmp_path / "one", tmp_path / "two"]
    env = {variable: str(farm.target)}
    fetched = []
    for number, directory in enumerate(projects):
        kind.project(directory, number)
        fetched.append(kind.fetched.findall(farm.step("ab"[number], kind.online, cwd=directory, env=env)))
    first, second = fetched
    assert first
    assert second
    assert not set(first) & set(second), "B fetched again what A had fetched"
    for directory in projects:
        farm.step("c", kind.offline, cwd=directory, offline=True, env=env)
    assert not (farm.home / usual).exists(), "it wasn't moved"


REACTOR = (
    "<project><modelVersion>4.0.0</modelVersion><groupId>example</groupId><artifactId>all</artifactId><version>1</version><packaging>pom</packaging>"
    "<properties><maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target>"
    "<maven.test.skip>true</maven.test.skip></properties><modules><module>lib</module><module>app</module></modules></project>"
)
MODULE = (
    "<project><modelVersion>4.0.0</modelVersion><parent><groupId>example</groupId><artifactId>all</artifactId><version>1</version></parent>"
    "<artifactId>{}</artifactId>{}</project>"
)
NEEDS_LIB = "<dependencies><dependency><groupId>example</groupId><artifactId>lib</artifactId><version>1</version></dependency></dependencies>"


def reactor(directory, method):
    """lib has a class with the method, which app calls."""
    for name, more, text in (
        ("lib", "", f"public class Lib {{ public static void {method}() {{}} }}"),
        ("app", NEEDS_LIB, f"class App {{ {{ Lib.{method}(); }} }}"),
    ):
        (directory / name / "src/main/java").mkdir(parents=True)
        (directory / name / "src/main/java" / f"{name.title()}.java").write_text(text)
        (directory / name / "pom.xml").write_text(MODULE.format(name, more))
    (directory / "pom.xml").write_text(REACTOR)
    return directory


@pytest.mark.internet
@pytest.mark.parametrize("farm", [".m2"], indirect=True)
def test_two_branches_of_one_reactor_do_not_see_each_others_modules(farm, tool, tmp_path):
    tool("mvn")
    main, branch = reactor(tmp_path / "main", "onMain"), reactor(tmp_path / "branch", "onBranch")
    forked = {"scope": "team/app@branch", "reads": ("team/app@main",)}
    farm.step("a", ("mvn", "-B", "-q", "install"), cwd=main)
    farm.step("b", ("mvn", "-B", "-o", "-q", "compile", "-pl", "app"), cwd=main, offline=True)
    # all that main fetched is there for the branch, and main's lib is not
    missing = farm.step("c", ("mvn", "-B", "-o", "compile", "-pl", "app"), cwd=branch, offline=True, fails=True, **forked)
    assert "example:lib:jar:1" in missing
    farm.step("c", ("mvn", "-B", "-o", "-q", "install"), cwd=branch, offline=True, **forked)
    farm.step("e", ("mvn", "-B", "-o", "-q", "compile", "-pl", "app"), cwd=branch, offline=True, **forked)
    farm.step("d", ("mvn", "-B", "-o", "-q", "compile", "-pl", "app"), cwd=main, offline=True)


@pytest.mark.internet
@pytest.mark.parametrize("farm", [".m2"], indirect=True)
def test_a_failing_unit_test_does_not_cost_other_machines_the_downloads(farm, tool, tmp_path):
    tool("mvn")
    Maven.project(tmp_path / "one", 0)
    (tmp_path / "one/src/main/java/A.java").write_text("class A { not java }")
    first = Maven.fetched.findall(farm.step("a", ("mvn", "-B", "compile"), cwd=tmp_path / "one", fails=True))
    (tmp_path / "one/src/main/java/A.java").write_text("class A { org.slf4j.Logger logger; }")
    again = Maven.fetched.findall(farm.step("b", ("mvn", "-B", "compile"), cwd=tmp_path / "one"))
    assert len(first) > 20
    assert again == []


def leave(*files):
    script = "".join(f"mkdir -p $(dirname {path}) && printf '%s' '{text}' > {path}; " for path, text in files)
    return ("sh", "-c", script)


@pytest.mark.parametrize("farm", [""], indirect=True)
def test_no_published_blob_holds_a_secret_or_a_file_of_credentials(farm):
    import zstandard
    from tests.tools.conftest import SECRET

    marks = {
        f".{place}": f"credential-{number}" for number, place in enumerate(("m2/settings.xml", "npmrc", "gradle/gradle.properties", "cargo/credentials.toml"))
    }
    marks |= {".docker/config.json": "credential-docker", ".netrc": "credential-netrc", ".config/pip/pip.conf": "credential-pip", ".ssh/id": "credential-ssh"}
    kept = {"tool/a": "kept-a", "m/x@v1.0.0/testdata/.npmrc": "kept-npmrc"}
    farm.step("a", leave(*marks.items(), *kept.items(), ("tool/log", "x" + SECRET.decode() + "y")), cwd=farm.home)
    farm.warnings.clear()
    plain = b""
    for blob in farm.blobs():
        data = blob.read_bytes()
        while data:
            piece = zstandard.ZstdDecompressor().decompressobj()
            plain += piece.decompress(data)
            data = piece.unused_data if piece.eof else b""
    found = plain + b"".join(path.read_bytes() for path in farm.share.rglob("*") if path.is_file())
    assert [text for text in kept.values() if text.encode() not in found] == []
    assert [text for text in (*marks.values(), SECRET.decode()) if text.encode() in found] == []


@pytest.mark.parametrize("farm", ["cache"], indirect=True)
def test_a_tool_that_nobody_knows_finds_what_others_left(farm, tool, tmp_path):
    """ccache's manner: names by hash, some counters beside them, which both sides change."""
    cwd = farm.target
    farm.step("a", leave(("a/1", "one"), ("stats", "1")), cwd=farm.home / "cache")
    farm.steps([("b", [leave(("b/2", "two"), ("stats", "2"))], cwd), ("c", [leave(("c/3", "three"), ("stats", "3"))], cwd)])
    output = farm.step("d", ("sh", "-c", "cat a/1 b/2 c/3 stats"), cwd=cwd)
    assert output in ("onetwothree2", "onetwothree3")
    assert os.listdir(farm.home / "cache") == []

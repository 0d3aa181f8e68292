"""Tools inside real builds: `RUN --mount=type=cache` on machines with stores of their own, a base image of this machine's own packages, and a shared
directory between the machines."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests import leaks
from tests.e2e.conftest import Builder
from tests.tools import host_base
from tests.tools.apt_repository import AptRepository
from tests.tools.package_index import PackageIndex
from tests.tools.test_real_tools import Go, Maven, Npm


class Yard:
    """Machines by name, made when first named."""

    def __init__(self, directory, base) -> None:
        self.directory, self.base = directory, base
        self._machines: dict[str, Builder] = {}

    def machine(self, name) -> Builder:
        if name not in self._machines:
            (self.directory / name).mkdir()
            self._machines[name] = Builder(self.directory / name)
            assert self._machines[name].run("load", "-q", "-i", str(self.base)).returncode == 0
        return self._machines[name]

    def build(self, name, dockerfile, *arguments):
        """A build whose steps may reach this machine's servers; its metadata and what it printed."""
        done = self.machine(name).build(dockerfile, *self._shared(), *arguments)
        assert done.status == 0, done.err
        return done

    def build_together(self, dockerfiles) -> None:
        """On several machines at once; each sees what was there before all of them."""
        started = [self.machine(name).start(dockerfile, *self._shared()) for name, dockerfile in dockerfiles.items()]
        for process in started:
            _, printed = process.communicate(timeout=60)
            assert process.returncode == 0, printed

    def _shared(self):
        remote = f"file://{self.directory}/share"
        return "--network=host", "--progress=plain", "--cache-remote", remote, "--cache-scope=team/app@main", "--cache-publish-timeout=60s"


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    file = tmp_path_factory.mktemp("base") / "base.tar"
    host_base.write_archive(file, "base", ("python3-pip",))
    return file


@pytest.fixture(scope="session")
def maven_base(tmp_path_factory):
    file = tmp_path_factory.mktemp("base") / "base.tar"
    host_base.write_archive(file, "base", ("maven", "openjdk-17-jdk-headless"))
    return file


@pytest.fixture(scope="session")
def npm_base(tmp_path_factory):
    npm = "/usr/lib/node_modules/npm"
    if not Path(npm).exists():
        pytest.skip("no npm on this machine")
    file = tmp_path_factory.mktemp("base") / "base.tar"
    # npm may be another than the package's
    host_base.write_archive(file, "base", ("nodejs",), whole={npm: npm})
    return file


def go_env(name) -> str:
    return subprocess.run(["go", "env", name], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def go_base(tmp_path_factory):
    """Without what compiles."""
    if shutil.which("go") is None:
        pytest.skip("no go on this machine")
    file = tmp_path_factory.mktemp("base") / "base.tar"
    places = [f"{go_env('GOROOT')}/{name}" for name in ("bin/go", "go.env", "VERSION")]
    host_base.write_archive(file, "base", whole={place: place for place in places if Path(place).exists()})
    return file


@pytest.fixture
def yard(request, tmp_path):
    """Machines that have an image `base`: with pip, unless the test is parametrised with another."""
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    archive = request.getfixturevalue(getattr(request, "param", "base"))
    with leaks.none_left(str(tmp_path)):
        yield Yard(tmp_path, archive)


@pytest.fixture
def repository(tmp_path):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    with AptRepository(tmp_path / "debs") as made:
        made.add("shared", size=300_000)
        for name in ("one", "two", "three"):
            made.add(name, needs="shared")
        yield made


def apt(repository, *packages, update="apt-get update && ", options="", network="host"):
    mounts = "--mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked"
    install = f"{update}apt-get install -y --no-install-recommends {options}{' '.join(packages)}"
    return f"FROM base\nRUN rm -rf /etc/apt/sources.list.d && echo '{repository.source}' > /etc/apt/sources.list\nRUN --network={network} {mounts} {install}\n"


def test_apt_takes_archives_and_lists_that_other_machines_fetched(yard, repository):
    archives = {name: f"{name}_1.0_all.deb" for name in ("shared", "one", "two", "three")}
    yard.build("a", apt(repository, "one"))
    fetched = repository.counted()
    assert {archives["shared"], archives["one"], "Packages"} <= set(fetched)
    yard.build_together({"b": apt(repository, "two"), "c": apt(repository, "three")})
    fetched = repository.counted()
    assert [name for name in fetched if name.endswith(".deb")] == [archives["three"], archives["two"]]
    assert "Packages" not in fetched, "the lists that A fetched were fetched again"
    # lists that come again, the same, from a server that sends no dates
    again = yard.build("a", apt(repository, "one"), "--no-cache=steps")
    assert "Release" in repository.counted()
    added = [volume["bytes_added"] for step in again.metadata["chandlery.build"]["steps"] for volume in step.get("volumes", ())]
    assert len(added) == 2
    assert sum(added) < len(repository.pages["/dists/stable/Release"].body), "apt's notes of what it installed, and no list"
    # a machine that has only the shared volume, and no network: lists and archives of all three writers
    done = yard.build("d", apt(repository, "one", "two", "three", update="", options="--no-download ", network="none"))
    assert [archive for archive in archives.values() if f"Unpacking {archive.partition('_')[0]} (1.0)" not in done.err] == []
    assert repository.asked == []


@pytest.fixture
def index():
    with PackageIndex() as made:
        made.add_wheel("shared", "1.0", size=200_000)
        for name in ("alpha", "beta"):
            made.add_wheel(name, "1.0", needs=("shared",))
        made.add_sdist("gamma", "3.0")
        yield made


def pip(index, *packages):
    install = f"pip install --break-system-packages --trusted-host 127.0.0.1 --index-url {index.simple} {' '.join(packages)}"
    return f"FROM base\nRUN --mount=type=cache,target=/root/.cache/pip python3 -m {install}\n"


def test_pip_takes_what_other_machines_fetched_and_built(yard, index):
    yard.build("a", pip(index, "alpha", "gamma"))
    assert index.counted() == ["alpha-1.0-py3-none-any.whl", "gamma-3.0.tar.gz", "shared-1.0-py3-none-any.whl"]
    yard.build("b", pip(index, "beta"))
    assert index.counted() == ["beta-1.0-py3-none-any.whl"]
    yard.build("c", pip(index, "alpha", "beta", "gamma"))
    assert index.counted() == []


def test_the_summary_says_which_mount_a_step_lacks_that_filled_a_moved_cache(yard, index):
    step = pip(index, "alpha").replace("--mount=type=cache,target=/root/.cache/pip", "PIP_CACHE_DIR=/moved")
    assert "MB that this step downloaded into /moved are in its layer; --mount=type=cache,target=/moved keeps" in yard.build("a", step).err


def uv(index, *packages, offline=""):
    """The program is in the context: what of Python it needs the base has."""
    install = f"/bin/uv pip install -q --target /installed --index-url {index.simple} {offline} {' '.join(packages)}"
    python = "UV_PYTHON=/usr/bin/python3 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy"
    network = "--network=none" if offline else ""
    return f"FROM base\nCOPY uv /bin/uv\nENV {python}\nRUN {network} --mount=type=cache,target=/root/.cache/uv {install}\n"


@pytest.mark.internet
def test_uv_takes_what_other_machines_fetched_and_built(yard, index, installed):
    program = Path(installed("uv")) / "bin/uv"

    def build(name, dockerfile):
        yard.machine(name).write({"uv": program.read_bytes()})
        (yard.machine(name).context / "uv").chmod(0o755)
        return yard.build(name, dockerfile)

    build("a", uv(index, "alpha", "gamma"))
    assert sorted(set(index.counted())) == ["alpha-1.0-py3-none-any.whl", "gamma-3.0.tar.gz", "shared-1.0-py3-none-any.whl"]
    build("b", uv(index, "beta"))
    assert set(index.counted()) == {"beta-1.0-py3-none-any.whl"}
    build("c", uv(index, "alpha", "beta", "gamma", offline="--offline"))
    assert index.asked == []


@pytest.mark.internet
@pytest.mark.parametrize("yard", ["npm_base"], indirect=True)
def test_npm_takes_what_other_machines_fetched_and_needs_no_network_for_it(yard):
    def build(name, number, command, network="host"):
        machine = yard.machine(name)
        shutil.rmtree(machine.context)
        Npm.project(machine.context, number)
        if number in locks:
            machine.write({"package-lock.json": locks[number]})
        step = f"RUN --network={network} --mount=type=cache,target=/root/.npm {' '.join(command)}"
        dockerfile = f"FROM base AS made\nWORKDIR /src\nCOPY . .\n{step}\nFROM scratch\nCOPY --from=made /src/package-lock.json /\n"
        done = yard.build(name, dockerfile, "--ca-certs=host", "--output", f"type=local,dest={out}")
        locks[number] = (out / "package-lock.json").read_bytes()
        return set(Npm.fetched.findall(done.err)), done.metadata

    locks, out = {}, yard.directory / "out"
    first, _ = build("a", 0, Npm.online)
    second, metadata = build("b", 1, Npm.online)
    assert "ms-2.1.3.tgz" in first
    assert second
    assert not first & second, "B fetched again what A had fetched"
    (used,) = [used for step in metadata["chandlery.build"]["steps"] for used in step.get("volumes", ())]
    assert used["files_fetched"] > 0
    assert used["files_added"] > 0
    for number in range(2):
        build("c", number, Npm.offline, network="none")


@pytest.mark.internet
@pytest.mark.parametrize("yard", ["go_base"], indirect=True)
def test_go_takes_what_other_machines_fetched_and_needs_no_network_for_it(yard):
    fetched = re.compile(r"# get \S+/([^/\s]+/@v/\S+\.zip): 200")
    asked = {name: go_env(name) for name in ("GOPROXY", "GOROOT")}
    env = f"GOROOT={asked['GOROOT']} GOFLAGS=-mod=mod GONOSUMDB=* GOTOOLCHAIN=local"

    def build(name, number, proxy, network="host"):
        machine = yard.machine(name)
        shutil.rmtree(machine.context)
        Go.project(machine.context, number)
        step = f"RUN --network={network} --mount=type=cache,target=/root/go/pkg/mod GOPROXY={proxy} {asked['GOROOT']}/bin/go mod download -x"
        return set(fetched.findall(yard.build(name, f"FROM base\nENV {env}\nWORKDIR /src\nCOPY . .\n{step}\n", "--ca-certs=host").err))

    first = build("a", 0, asked["GOPROXY"])
    assert "quote/@v/v1.5.2.zip" in first
    assert build("b", 1, asked["GOPROXY"]) == {"uuid/@v/v1.6.0.zip"}
    for number in range(2):
        build("c", number, "off", network="none")


MOVED = "-Dmaven.repo.local=/deps"


def maven(*arguments, network):
    java = f"ENV JAVA_HOME=/usr/lib/jvm/java-17-openjdk-{'amd64' if os.uname().machine == 'x86_64' else 'arm64'}"
    step = f"RUN --network={network} --mount=type=cache,target=/deps sh /usr/share/maven/bin/mvn -B {' '.join(arguments)} compile"
    return f"FROM base\n{java}\nWORKDIR /src\nCOPY . .\n{step}\n"


@pytest.mark.internet
@pytest.mark.parametrize("yard", ["maven_base"], indirect=True)
def test_maven_takes_what_other_machines_fetched_from_a_moved_repository(yard):
    """The first project tells its place in .mvn/maven.config, the second on the command line."""

    def build(name, number, *arguments, network="host"):
        machine = yard.machine(name)
        shutil.rmtree(machine.context)
        Maven.project(machine.context, number)
        told = {".mvn/maven.config": f"{MOVED}\n"} if number == 0 else {}
        machine.write(told)
        return Maven.fetched.findall(yard.build(name, maven(*([] if told else [MOVED]), *arguments, network=network)).err)

    first = build("a", 0)
    second = build("b", 1)
    assert len(first) > 20
    assert second
    assert not set(first) & set(second), "B fetched again what A had fetched"
    for number in range(2):
        build("c", number, "-o", network="none")

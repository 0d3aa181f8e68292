"""pnpm and yarn of several generations themselves: what machine A fetched machine B doesn't fetch, and after three writers each one's project installs offline.

They are installed by npm, once, into a directory that goes with the tests.
"""

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from tests.tools.registries import are_reachable

from chandlery.linux.removal import remove_tree

pytestmark = pytest.mark.internet

OWN = ("is-odd@3.0.1", "left-pad@1.3.0", "is-even@1.0.0")


class Pnpm:
    """The last of each kind of store: index files among the contents, index files of their own, an SQLite index."""

    online = ("{tool}", "install", "--reporter=append-only")
    offline = ("{tool}", "install", "--offline", "--frozen-lockfile")
    count = re.compile(r"downloaded (\d+), added \d+, done")

    def __init__(self, version):
        self.package, self.binary = f"pnpm@{version}", "pnpm"

    def downloads(self, output):
        return int(self.count.findall(output)[-1])


class YarnClassic:
    package, binary = "yarn@1", "yarn"
    online = ("{tool}", "install", "--verbose")
    offline = ("{tool}", "install", "--offline", "--frozen-lockfile")

    def downloads(self, output):
        return len(re.findall(r'Performing "GET" request to "\S+\.tgz"', output))


class YarnBerry:
    package, binary = "@yarnpkg/cli-dist@4", "yarn"
    online = ("{tool}", "install", "--no-immutable")
    offline = ("{tool}", "install", "--immutable", "--immutable-cache")

    def downloads(self, output):
        return sum(int(number or 1) for number in re.findall(r"(?:(\d+)|[Aa]) packages? (?:was|were) added to the project \(\+", output))


KINDS = {
    "pnpm-9": (Pnpm(9), (".local/share/pnpm/store", "")),
    "pnpm-10": (Pnpm(10), (".local/share/pnpm/store",)),
    "pnpm-12": (Pnpm(12), (".local/share/pnpm/store",)),
    "yarn-1": (YarnClassic(), (".cache/yarn",)),
    "yarn-4": (YarnBerry(), (".yarn/berry",)),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where npm installed a tool."""
    if not are_reachable():
        pytest.skip("package registries are out of reach")

    @cache
    def install(kind) -> Path:
        directory = tmp_path_factory.mktemp("tool")
        done = subprocess.run(["npm", "install", "--prefix", str(directory), kind.package], capture_output=True, text=True, timeout=100, check=False)
        if done.returncode:
            pytest.skip(f"no {kind.package} in this machine's registry")
        return directory / "node_modules/.bin" / kind.binary

    return install


def manifest(directory, own):
    name, version = own.split("@")
    directory.mkdir(parents=True)
    (directory / "package.json").write_text(f'{{"name":"one","version":"1.0.0","license":"MIT","dependencies":{{"ms":"2.1.3","{name}":"{version}"}}}}')
    (directory / "yarn.lock").write_text("")  # else yarn looks for a project further up


@pytest.mark.parametrize(("name", "farm"), [(name, place) for name, (_, places) in KINDS.items() for place in places], indirect=["farm"])
def test_each_of_three_writers_projects_installs_offline_on_a_machine_that_has_only_the_shared_volume(name, farm, installed, tmp_path):
    kind = KINDS[name][0]
    tool = installed(kind)
    env = environment(name, farm)

    def argv(words):
        return [word.format(tool=tool) for word in words]

    projects = [tmp_path / f"project{number}" for number in range(3)]
    for directory, own in zip(projects, OWN, strict=True):
        manifest(directory, own)
    first = farm.step("a", argv(kind.online), cwd=projects[0], env=env)
    outputs = farm.steps([("b", [argv(kind.online)], projects[1]), ("c", [argv(kind.online)], projects[2])], env=env)
    alone = [len(list(_packages(directory))) for directory in projects]
    counted = [kind.downloads(output) for output in (first, *outputs)]
    # what two of them have in common only A fetched: ms
    assert counted == [alone[0], alone[1] - 1, alone[2] - 1]
    for directory in projects:
        remove_tree(str(directory / "node_modules"))
        farm.step("d", argv(kind.offline), cwd=directory, offline=True, env=env)
        assert (directory / "node_modules/ms/package.json").exists() or os.path.exists(directory / ".pnp.cjs")


@pytest.mark.parametrize(("name", "farm"), [(name, places[0]) for name, (_, places) in KINDS.items()], indirect=["farm"])
def test_a_failing_step_does_not_cost_other_machines_the_downloads(name, farm, installed, tmp_path):
    kind = KINDS[name][0]
    tool = installed(kind)
    manifest(tmp_path / "one", OWN[0])
    env = environment(name, farm)
    first = farm.step("a", [word.format(tool=tool) for word in kind.online], ["false"], cwd=tmp_path / "one", env=env, fails=True)
    remove_tree(str(tmp_path / "one/node_modules"))
    farm.step("b", [word.format(tool=tool) for word in kind.offline], cwd=tmp_path / "one", env=env, offline=True)
    assert kind.downloads(first) == 3


def environment(name, farm):
    registry = subprocess.run(["npm", "config", "get", "registry"], capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    env = {"npm_config_registry": registry, "YARN_NPM_REGISTRY_SERVER": registry.rstrip("/"), "CI": "", "FORCE_COLOR": "0"}
    # where its store can't be linked from pnpm looks for another place
    if not farm.target.is_relative_to(farm.home / ".local"):
        env["npm_config_store_dir"] = str(farm.home / ".local/share/pnpm/store")
    if name == "yarn-1":
        env["YARN_CACHE_FOLDER"] = str(farm.home / ".cache/yarn")  # root's is elsewhere
    return env


def _packages(directory):
    """What a project's lock file lists."""
    for name in ("pnpm-lock.yaml", "yarn.lock"):
        if (directory / name).exists():
            text = (directory / name).read_text()
            yield from re.findall(r"^  resolved |^    resolution: \{integrity|^  resolution: \"[^\"]*@npm:", text, re.MULTILINE)

"""pip, uv and Poetry themselves, on an index of the test's own that counts: what machine A took machine B doesn't take, and after three writers each one's
project is there, without a single file, on a machine that has only the shared volume.

pip keeps an answer as long as its index's headers say, and none that came without an ETag or Cache-Control: what it built itself it keeps always.
"""

import subprocess
import sys

import pytest
from tests.tools.package_index import PackageIndex, sdist

from chandlery.linux.removal import remove_tree

# by project: what it asks for beside `shared`
PROJECTS = (("alpha", "gamma"), ("beta",), ("delta", "epsilon"))
FILES = (
    ("alpha-1.0-py3-none-any.whl", "gamma-3.0.tar.gz", "shared-1.0-py3-none-any.whl"),
    ("beta-2.0-py3-none-any.whl",),
    ("delta-1.0-py3-none-any.whl", "epsilon-1.0.tar.gz"),
)


@pytest.fixture
def index():
    with PackageIndex() as made:
        made.add_wheel("shared", "1.0")
        for name, version in (("alpha", "1.0"), ("beta", "2.0"), ("delta", "1.0")):
            made.add_wheel(name, version, needs=("shared",))
        for name, version in (("gamma", "3.0"), ("epsilon", "1.0")):
            made.add_sdist(name, version)
        yield made


class Pip:
    """No offline mode: it asks whether an index's page is still good."""

    offline = False

    def __init__(self, python_path: str = "") -> None:
        self.env = {"PYTHONPATH": python_path, "PIP_TRUSTED_HOST": "127.0.0.1", "PIP_FIND_LINKS": ""}

    def command(self, index, directory, number, *, offline):
        return (sys.executable, "-m", "pip", "install", "-q", "--index-url", index.simple, "--target", f"{directory}/installed", *PROJECTS[number])


class Uv:
    offline = True
    env = {"UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "copy", "UV_PYTHON": sys.executable}

    def __init__(self, binary: str) -> None:
        self.binary = binary

    def command(self, index, directory, number, *, offline):
        source = f'[[tool.uv.index]]\nname = "here"\nurl = "{index.simple}"\ndefault = true\n'
        (directory / "pyproject.toml").write_text(_project(number) + source)
        return (self.binary, "sync", "-q", *(["--offline"] if offline else []))


class Poetry:
    """No offline mode: with a lock file it asks for nothing that it has."""

    offline = False

    def __init__(self, python_path: str) -> None:
        self.env = {"PYTHONPATH": python_path, "POETRY_VIRTUALENVS_IN_PROJECT": "true"}

    def command(self, index, directory, number, *, offline):
        source = f'[tool.poetry]\npackage-mode = false\n[[tool.poetry.source]]\nname = "here"\nurl = "{index.simple}"\npriority = "primary"\n'
        (directory / "pyproject.toml").write_text(_project(number) + source)
        poetry = f"{sys.executable} -m poetry"
        return ("sh", "-ec", f"test -e poetry.lock || {poetry} lock -q -n; {poetry} install -q -n")


def _project(number):
    return f'[project]\nname = "one"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = {list(PROJECTS[number])!r}\n'


@pytest.fixture
def python_tool(name, installed):
    match name:
        case "pip":
            if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
                pytest.skip("no pip on this machine")
            return Pip()
        case "latest pip":
            return Pip(installed("pip"))
        case "uv":
            return Uv(f"{installed('uv')}/bin/uv")
        case _:
            return Poetry(installed("poetry"))


@pytest.mark.parametrize(
    ("name", "farm", "first_ends"),
    [
        ("pip", "moved/a", "badly"),
        pytest.param("latest pip", ".cache", "badly", marks=pytest.mark.internet),
        pytest.param("uv", ".cache/uv", "well", marks=pytest.mark.internet),
        pytest.param("uv", "moved/b", "badly", marks=pytest.mark.internet),
        pytest.param("poetry", ".cache/pypoetry", "badly", marks=pytest.mark.internet),
    ],
    indirect=["farm"],
)
def test_three_writers_projects_need_no_file_of_the_index_where_only_the_shared_volume_is(name, farm, first_ends, python_tool, index, tmp_path):
    projects = [tmp_path / f"project{number}" for number in range(3)]
    for directory in projects:
        directory.mkdir()
    env = {**python_tool.env, **({"PIP_CACHE_DIR": str(farm.target), "UV_CACHE_DIR": str(farm.target)} if "moved" in str(farm.target) else {})}

    def commands(number, *, offline=False):
        return [python_tool.command(index, projects[number], number, offline=offline)]

    # a step that fails behind it doesn't cost the others what it fetched and built
    fails = [("false",)] if first_ends == "badly" else []
    farm.step("a", *commands(0), *fails, cwd=projects[0], env=env, fails=bool(fails))
    assert sorted(set(index.counted())) == sorted(FILES[0])
    farm.steps([(machine, commands(number), projects[number]) for machine, number in (("b", 1), ("c", 2))], env=env)
    assert sorted(set(index.counted())) == sorted([*FILES[1], *FILES[2]])
    for number, directory in enumerate(projects):
        _forget(directory)
        farm.step("d", *commands(number, offline=python_tool.offline), cwd=directory, env=env, offline=python_tool.offline)
        for module in (*PROJECTS[number], "shared"):
            assert list(directory.rglob(f"{module}.py")), f"{module} is not installed"
    assert index.counted() == []


@pytest.mark.parametrize(("name", "farm"), [("pip", ".cache/pip")], indirect=["farm"])
def test_two_branches_do_not_see_each_others_archive_of_the_same_name(name, farm, python_tool, tmp_path):
    """pip keeps what it built of file:///.../lib-1.0.tar.gz under that name."""

    def step(machine, text, **options):
        archive = tmp_path / "lib-1.0.tar.gz"
        archive.write_bytes(sdist("lib", "1.0", text))
        _forget(tmp_path)
        command = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--target", f"{tmp_path}/installed", f"lib @ {archive.as_uri()}")
        farm.step(machine, command, env=python_tool.env, cwd=tmp_path, **options)
        return (tmp_path / "installed/lib.py").read_text()

    assert step("a", "MAIN = 1\n") == "MAIN = 1\n"
    assert step("b", "BRANCH = 1\n", scope="team/app@branch", reads=("team/app@main",)) == "BRANCH = 1\n"


def _forget(directory):
    for name in ("installed", ".venv"):
        remove_tree(str(directory / name))

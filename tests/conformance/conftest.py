"""Builders for the session, and what each case expects: a file that the reference wrote (`--accept`)."""

import os
import re
import shutil
from pathlib import Path

import pytest
from tests.conformance import bases
from tests.conformance.builders import Buildkit, Docker, Ours, program
from tests.conformance.cases import CASES
from tests.conformance.model import Case

EXPECTED = Path(__file__).parent / "expected"
MOUNTING = ("running", "mounts")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=lambda case: case.id)
    if "mounting_case" in metafunc.fixturenames:
        metafunc.parametrize("mounting_case", [case for case in CASES if case.theme in MOUNTING and not case.differs], ids=lambda case: case.id)


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Ours:
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    if not bases.BUSYBOX:
        pytest.skip("needs busybox-static")
    return Ours(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="session", params=["legacy", "copy"])
def ours_mounting(ours: Ours, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Ours:
    """The same where the kernel or the file system offers less."""
    return Ours(tmp_path_factory.mktemp(request.param), mount=request.param)


@pytest.fixture(scope="session")
def buildkit(tmp_path_factory: pytest.TempPathFactory):
    if not (program("buildkitd") and program("buildx")):
        pytest.skip("needs a buildkitd and buildx on the PATH or in ~/go/bin")
    with Buildkit(tmp_path_factory.mktemp("bk")).running() as side:
        yield side


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory):
    if not (shutil.which("dockerd", path="/usr/sbin") and shutil.which("docker", path="/usr/bin")):
        pytest.skip("needs Docker")
    with Docker(tmp_path_factory.mktemp("dk")).running() as side:
        yield side


def expected_path(case: Case, *, ours: bool = False) -> Path:
    """The file with what the reference made of a case, or where we differ on purpose, we."""
    name = re.sub(r"[^a-z0-9]+", "-", case.name.lower()).strip("-")
    return EXPECTED / case.theme / f"{name}{'.ours' if ours else ''}.json"

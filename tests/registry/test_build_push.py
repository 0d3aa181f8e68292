"""Whole builds with a registry at both ends: pushed while packed, and based on what another machine pushed."""

import hashlib
import json
import os

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.config import Settings
from chandlery.engine.request import BuildRequest, BuildResult, Output, OutputKind
from chandlery.wiring import build

PUSH = Output(OutputKind.IMAGE, options=(("push", "true"),))


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def context(tmp_path):
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "a").write_bytes(os.urandom(500_000))
    return str(directory)


def build_on(machine: str, context: str, dockerfile: str, tag: str) -> BuildResult:
    request = BuildRequest(context=context, dockerfile_text=dockerfile, tags=(tag,), outputs=(PUSH,))
    return build(request, settings=Settings({}, machine))


def check_complete(fake: FakeRegistry, repository: str) -> None:
    for (_, digest), data in fake.blobs.items():
        assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (repository, "1") in fake.manifests


def layer_of(fake: FakeRegistry, repository: str) -> str:
    return str(json.loads(fake.manifests[repository, "1"][0])["layers"][0]["digest"])


def test_pushed_image_is_the_base_of_a_build_elsewhere(fake, context, tmp_path):
    base = f"{fake.host}/base:1"
    first = build_on(str(tmp_path / "one"), context, "FROM scratch\nCOPY a /a\n", base)
    check_complete(fake, "base")
    assert first.bytes_moved > 500_000
    second = build_on(str(tmp_path / "two"), context, f"FROM {base}\nENV A=1\n", f"{fake.host}/app:1")
    check_complete(fake, "app")
    # the base's layer is mounted into the other repository: it passes this machine neither way
    assert second.bytes_moved < 10_000
    assert fake.manifests["app", "1"][0].count(layer_of(fake, "base").encode()) == 1


def test_fresh_layer_is_uploaded_once(fake, context, tmp_path):
    build_on(str(tmp_path / "one"), context, "FROM scratch\nCOPY a /a\n", f"{fake.host}/base:1")
    sent = [seen.size for seen in fake.seen if seen.method in ("PUT", "PATCH") and "/uploads/" in seen.path]
    assert len([size for size in sent if size > 400_000]) == 1


def test_second_push_of_the_same_image_moves_nothing(fake, context, tmp_path):
    for _ in range(2):
        result = build_on(str(tmp_path / "one"), context, "FROM scratch\nCOPY a /a\n", f"{fake.host}/base:1")
    assert result.bytes_moved == 0


def test_image_of_the_store_has_the_files_of_its_base(fake, context, tmp_path):
    base = f"{fake.host}/base:1"
    build_on(str(tmp_path / "one"), context, "FROM scratch\nCOPY a /a\n", base)
    settings = Settings({}, str(tmp_path / "two"))
    request = BuildRequest(context=context, dockerfile_text=f"FROM {base}\nCOPY a /b\n", tags=("app:1",))
    first = build(request, settings=settings)
    assert first.bytes_moved > 500_000
    again = build(request, settings=settings)
    assert again.bytes_moved == 0
    fake.manifests.clear()
    build(BuildRequest(dockerfile_text="FROM app:1\nCOPY --from=app:1 /a /c\n", outputs=(Output(OutputKind.CACHE_ONLY),)), settings=settings)

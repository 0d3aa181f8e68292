"""Volumes as images in a registry: made, refreshed, used by builds; and the build that starts without one."""

import json
import os

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.cli.main import main
from chandlery.config import Settings
from chandlery.content.store import Store
from chandlery.engine.request import BuildRequest, Output, OutputKind
from chandlery.errors import NotFound
from chandlery.events import Warned
from chandlery.oci import platform
from chandlery.volume.key import VolumeKey
from chandlery.volume.volumes import Volumes
from chandlery.wiring import build

DOCKERFILE = "FROM scratch AS m2cache\nWORKDIR /root/.m2\nFROM scratch\nCOPY --from=m2cache /root/.m2 /m2\n"


class Machine:
    """A store with cache volumes, at a registry."""

    def __init__(self, directory, registry, capsys):
        self.root, self.registry, self.capsys = str(directory), registry, capsys
        self.directory = directory.parent
        self.warnings = []

    def add(self, scope, files):
        """Do what a step of that scope does that writes `files`."""
        with Store.open(self.root) as store, store.begin() as session:
            volumes = Volumes(store)
            attachment = volumes.attach(VolumeKey(scope, "/root/.m2", str(platform.native())), session)
            for path, content in files.items():
                target = f"{attachment.upper}/{path}"
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(content)
            assert volumes.commit(attachment, succeeded=True).warning == ""

    def push(self, *arguments, ref="caches/m2"):
        """The digest that was pushed, and the uploads that it took."""
        before = len(self.registry.seen)
        name = f"{self.registry.host}/{ref}"
        status = main(["volume", "push", "/root/.m2", "--as-image", name, "--root", self.root, *arguments])
        shown = self.capsys.readouterr()
        assert status == 0, shown.err
        uploads = [seen.path for seen in self.registry.seen[before:] if seen.method == "POST"]
        return shown.out.split("Digest: ")[1].split()[0], uploads

    def build(self, text=DOCKERFILE, *, contexts=(), **changes):
        destination = self.directory / f"out{len(os.listdir(self.directory))}"
        self.warnings = []
        request = BuildRequest(dockerfile_text=text, build_contexts=contexts, outputs=(Output(OutputKind.LOCAL, str(destination)),), **changes)

        def sink(event):
            if isinstance(event, Warned):
                self.warnings.append(event.code)

        build(request, sink=sink, settings=Settings({}, self.root, insecure_registries=(self.registry.host,)))
        return {str(path.relative_to(destination)): path.read_bytes() for path in destination.rglob("*") if path.is_file()}

    def context(self, ref="caches/m2", *, optional=True):
        return (("m2cache", f"docker-image://{self.registry.host}/{ref}{',optional' if optional else ''}"),)


@pytest.fixture
def registry():
    with FakeRegistry() as made:
        yield made


@pytest.fixture
def machine(tmp_path, registry, capsys):
    if os.geteuid() != 0:
        pytest.skip("files of an image get their owners by root alone")
    return Machine(tmp_path / "a", registry, capsys)


def jars(names, size=400_000):
    return {f"repository/org/{name}/1/{name}-1.jar": os.urandom(size) for name in names}


def test_a_build_copies_from_it(machine):
    files = jars(["one", "two"])
    machine.add("app", files)
    machine.push("--scope", "app")
    assert machine.build(contexts=machine.context()) == {f"m2/{path}": content for path, content in files.items()}
    assert machine.warnings == []


def test_the_first_build_starts_without_one_where_it_is_marked_so(machine):
    assert machine.build(contexts=machine.context()) == {}
    assert machine.warnings == ["context.optional"]
    with pytest.raises(NotFound):
        machine.build(contexts=machine.context(optional=False))


def test_an_optional_image_that_nothing_uses_is_not_asked_for(machine, registry):
    machine.build("FROM scratch\nWORKDIR /x\n", contexts=machine.context())
    assert machine.warnings == []
    assert registry.seen == []


def test_an_optional_image_of_a_registry_out_of_reach_is_left_out(machine):
    contexts = (("m2cache", "docker-image://127.0.0.1:1/caches/m2,optional"),)
    assert machine.build(contexts=contexts) == {}
    assert machine.warnings == ["context.optional"]


def test_an_image_that_is_also_named_without_being_optional_must_be_there(machine, registry):
    text = f"FROM {registry.host}/caches/m2\nCOPY --from=m2cache /root/.m2 /m2\n"
    with pytest.raises(NotFound):
        machine.build(text, contexts=machine.context())


def test_unchanged_content_has_the_same_digest_and_moves_nothing(machine, tmp_path, registry, capsys):
    files = jars(["one", "two", "three"])
    machine.add("app", files)
    first, _ = machine.push("--scope", "app")
    assert machine.push("--scope", "app") == (first, [])
    # another machine that got the same files at another time, in another order, under another scope
    other = Machine(tmp_path / "b", registry, capsys)
    for path, content in reversed(files.items()):
        other.add("else", {path: content})
    assert other.push("--scope", "else") == (first, [])


def test_a_refresh_moves_the_layer_that_changed(machine, registry):
    # forty groups of half a megabyte: five layers of some megabytes
    files = {f"repository/g{number:02}/a/1/a.jar": os.urandom(500_000) for number in range(40)}
    machine.add("app", files)
    first, _ = machine.push("--scope", "app")
    layers = [layer["digest"] for layer in _manifest(registry, first)["layers"]]
    machine.add("app", {"repository/g20/b/1/b.jar": os.urandom(1000)})
    second, _ = machine.push("--scope", "app")
    after = _manifest(registry, second)["layers"]
    changed = [layer for layer in after if layer["digest"] not in layers]
    assert first != second
    assert len(layers) >= 3
    assert sum(layer["size"] for layer in changed) < sum(layer["size"] for layer in after) / 2


def test_several_scopes_on_a_base_make_a_fat_base(machine, registry):
    machine.add("one", jars(["a"]) | {"settings.xml": b"password"})
    machine.add("two", jars(["b"]))
    build(
        BuildRequest(dockerfile_text="FROM scratch\nWORKDIR /base\nVOLUME /root/.m2\nENV BASE=yes\n", tags=("base",)),
        settings=Settings({}, machine.root),
    )
    digest, _ = machine.push("--scope", "one", "--scope", "two", "--scope", "three", "--base", "base", ref="fat")
    config = json.loads(registry.blobs["fat", _manifest(registry, digest, "fat")["config"]["digest"]])
    assert config["config"]["Env"][-1] == "BASE=yes"
    assert config["config"]["Volumes"] == {"/root/.m2": {}}
    assert len(config["rootfs"]["diff_ids"]) == sum(1 for entry in config["history"] if not entry.get("empty_layer"))
    found = machine.build(f"FROM {registry.host}/fat\nCOPY --from={registry.host}/fat /root/.m2 /copied\n")
    assert sorted(found) == sorted(f"{place}/repository/org/{name}/1/{name}-1.jar" for place in ("root/.m2", "copied") for name in "ab")


def test_what_is_loaded_is_an_image_of_the_store(machine, registry, capsys):
    machine.add("app", jars(["one"]))
    assert main(["volume", "push", "/root/.m2", "--as-image", "local-cache", "--load", "--path", "/opt/deps", "--root", machine.root]) == 0
    capsys.readouterr()
    found = machine.build("FROM local-cache\n")
    assert list(found) == ["opt/deps/repository/org/one/1/one-1.jar"]
    assert registry.seen == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["/root/.m2"],
        ["/root/.m2", "--as-image", "x", "--path", "relative"],
        ["/root/.m2", "--as-image", "x", "--compression", "lzma"],
        ["/root/.m2", "--as-image", "x@sha256:" + "0" * 64],
        ["/root/.m2", "--as-image", "x", "--cache-remote", "file:///nowhere"],
        ["nowhere", "--as-image", "x"],
    ],
)
def test_mistakes_are_said(machine, capsys, arguments):
    machine.add("app", jars(["one"]))
    assert main(["volume", "push", *arguments, "--root", machine.root]) == 2


def _manifest(registry, digest, repository="caches/m2"):
    return json.loads(registry.manifests[repository, digest][0])

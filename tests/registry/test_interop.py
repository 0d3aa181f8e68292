"""What others push is pullable by us, and what we push is pullable by them: skopeo, buildah, umoci, docker, through docker-registry."""

import hashlib
import json
import os
import shutil
import subprocess
import time

import pytest
from tests.registry.conftest import need

from chandlery.content.store import Store
from chandlery.oci import image_config
from chandlery.oci import manifest as manifests
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.platform import native
from chandlery.oci.reference import parse
from chandlery.registry.client import RegistryClient
from chandlery.registry.push import push
from chandlery.registry.settings import RegistrySettings
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.source.image import ImageSource

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers hold root's files")


class Machine:
    def __init__(self, root: str) -> None:
        self.store = Store.open(root)
        self.session = self.store.begin()
        self.client = RegistryClient(RegistrySettings(certs_d=(), attempts=2))
        self.snapshots = SnapshotStore(self.store)
        self.images = ImageSource(self.store, self.snapshots, lambda: self.client)

    def close(self) -> None:
        self.client.close()
        self.session.close()
        self.store.close()

    def files(self, text: str) -> dict[str, bytes]:
        """Pull an image and flatten it: names and contents of its files, after whiteouts."""
        receipt = self.images.pull(parse(text), native(), self.session)
        found: dict[str, bytes] = {}
        for snapshot in receipt.snapshots:
            root = self.snapshots.path(snapshot)
            for directory, _, names in os.walk(root):
                for name in names:
                    path = os.path.join(directory, name)
                    inside = os.path.relpath(path, root)
                    status = os.lstat(path)
                    if os.path.islink(path):
                        found[inside] = b"-> " + os.fsencode(os.readlink(path))
                    elif status.st_rdev == 0 and not os.path.isfile(path):
                        found.pop(inside, None)
                    else:
                        with open(path, "rb") as file:
                            found[inside] = file.read()
        return found


@pytest.fixture
def machine(tmp_path):
    made = Machine(str(tmp_path / "store"))
    yield made
    made.close()


def run(*argv: str, **more: object) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=100, **more).stdout


def expected(layout) -> dict[str, bytes]:
    """What the `layout` fixture's image holds, checked against its own data blob's size."""
    assert layout.is_dir()
    return {"etc/hello": b"hello\n", "etc/more": b"more\n", "link": b"-> etc/hello"}


def check(found: dict[str, bytes], layout) -> None:
    assert len(found.pop("data")) == 300_000
    assert found == expected(layout)


# theirs, pulled by us


@pytest.mark.parametrize("form", ["oci", "v2s2"])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_we_pull_what_skopeo_pushed(machine, layout, open_registry, form, compression):
    need("skopeo")
    if (form, compression) == ("v2s2", "zstd"):
        pytest.skip("docker's manifest has no zstd layers")
    name = f"{open_registry.host}/skopeo/{form}-{compression}:1"
    run("skopeo", "copy", "--dest-tls-verify=false", "--format", form, "--dest-compress-format", compression, f"oci:{layout}:1", f"docker://{name}")
    check(machine.files(name), layout)


def test_we_pull_an_index_that_skopeo_pushed(machine, layout, open_registry, tmp_path):
    need("skopeo")
    name = f"{open_registry.host}/skopeo/index:1"
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{name}")
    client, ref = machine.client, parse(name)
    found = client.head_manifest(ref)
    index = {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": [{"mediaType": found.media_type, "digest": found.digest, "size": found.size_bytes}]}
    index["manifests"][0]["platform"] = {"os": "linux", "architecture": native().architecture}
    client.put_manifest(ref, "list", manifests.decode(json.dumps(index).encode()))
    check(machine.files(f"{open_registry.host}/skopeo/index:list"), layout)


def test_we_pull_what_buildah_pushed(machine, layout, open_registry, tmp_path):
    need("buildah")
    name = f"{open_registry.host}/buildah/app:1"
    storage = ["--root", str(tmp_path / "storage"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]
    try:
        image = run("buildah", *storage, "pull", f"oci:{layout}:1").strip()
        run("buildah", *storage, "push", "--tls-verify=false", image, f"docker://{name}")
    finally:
        shutil.rmtree(tmp_path / "storage", ignore_errors=True)
    check(machine.files(name), layout)


# ours, pulled by them


@pytest.fixture
def pushed(machine, layout, open_registry):
    """Push the layout's blobs as an image of ours; its name."""

    def push_as(repository: str, media_type: str = types.OCI_MANIFEST) -> str:
        blobs = layout / "blobs" / "sha256"
        index = json.loads((layout / "index.json").read_text())
        theirs = manifests.decode((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_bytes())
        layers, config = theirs.layers, theirs.config
        if media_type == types.DOCKER_MANIFEST:
            layers = tuple(Descriptor(types.DOCKER_LAYER_GZIP, layer.digest, layer.size_bytes) for layer in layers)
            config = Descriptor(types.DOCKER_CONFIG, config.digest, config.size_bytes)
        manifest = manifests.build_manifest(config=config, layers=layers, media_type=media_type)
        name = f"{open_registry.host}/{repository}:1"
        push(machine.client, parse(name), blobs=[config, *layers], open_blob=lambda blob: (blobs / blob.digest.hex).open("rb"), manifest=manifest)
        return name

    return push_as


BOTH = pytest.mark.parametrize("media_type", [types.OCI_MANIFEST, types.DOCKER_MANIFEST])


@BOTH
def test_skopeo_pulls_what_we_pushed(pushed, tmp_path, media_type):
    need("skopeo")
    name = pushed(f"ours/skopeo-{len(media_type)}", media_type)
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/copy:1")
    assert json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))["Env"][-1] == "A=1"


def test_umoci_unpacks_what_we_pushed(pushed, tmp_path):
    need("umoci")
    need("skopeo")
    name = pushed("ours/umoci")
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/copy:1")
    run("umoci", "unpack", "--image", f"{tmp_path}/copy:1", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle/rootfs/etc/more").read_text() == "more\n"
    assert not (tmp_path / "bundle/rootfs/etc/gone").exists()


@BOTH
def test_buildah_pulls_what_we_pushed(pushed, tmp_path, media_type):
    need("buildah")
    name = pushed(f"ours/buildah-{len(media_type)}", media_type)
    storage = ["--root", str(tmp_path / "storage"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]
    try:
        image = run("buildah", *storage, "pull", "--tls-verify=false", f"docker://{name}").strip()
        config = json.loads(run("buildah", *storage, "inspect", "--type", "image", image))["OCIv1"]["config"]
    finally:
        shutil.rmtree(tmp_path / "storage", ignore_errors=True)
    assert config["Cmd"] == ["/bin/true"]


# docker


@pytest.fixture(scope="session")
def docker(tmp_path_factory):
    """A docker daemon of our own, without any network: `docker("pull", name)`."""
    need("dockerd")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = tmp_path_factory.mktemp("docker")
    socket = f"unix://{directory}/s"
    argv = ["dockerd", "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec", "--pidfile", f"{directory}/pid", "-H", socket]
    argv += ["--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none", "--storage-driver=vfs"]
    with (directory / "log").open("w") as log:
        daemon = subprocess.Popen(argv, stdout=log, stderr=log)

    def docker(*arguments: str) -> str:
        return run("docker", "-H", socket, *arguments, env={**os.environ, "DOCKER_CONFIG": str(directory)})

    deadline = time.monotonic() + 30
    while True:
        try:
            docker("version")
            break
        except subprocess.CalledProcessError as failed:
            if daemon.poll() is not None or time.monotonic() > deadline:
                daemon.kill()
                daemon.wait()
                pytest.skip(f"dockerd does not start here: {failed.stderr[-200:]} {(directory / 'log').read_text()[-500:]}")
            time.sleep(0.1)
    yield docker
    daemon.terminate()
    daemon.wait(30)
    shutil.rmtree(directory, ignore_errors=True)


@BOTH
def test_docker_pulls_what_we_pushed(docker, pushed, media_type):
    name = pushed(f"ours/docker-{len(media_type)}", media_type)
    docker("pull", name)
    config = json.loads(docker("inspect", name))[0]
    assert config["Config"]["Cmd"] == ["/bin/true"]
    assert len(config["RootFS"]["Layers"]) == 2


def test_we_pull_what_docker_pushed(docker, machine, pushed, layout, open_registry):
    ours = pushed("ours/for-docker")
    docker("pull", ours)
    theirs = f"{open_registry.host}/docker/app:1"
    docker("tag", ours, theirs)
    docker("push", theirs)
    check(machine.files(theirs), layout)


def test_image_without_layers_round_trips(machine, open_registry):
    """FROM scratch with nothing but a command."""
    config = image_config.encode(ImageConfig("amd64", "linux", runtime={"Cmd": ["/x"]}))
    descriptor = Descriptor(types.OCI_CONFIG, sha256(config), len(config))
    import io

    name = f"{open_registry.host}/ours/empty:1"
    manifest = manifests.build_manifest(config=descriptor, layers=())
    push(machine.client, parse(name), blobs=[descriptor], open_blob=lambda _: io.BytesIO(config), manifest=manifest)
    assert machine.files(name) == {}
    assert Digest("sha256:" + hashlib.sha256(config).hexdigest()) == descriptor.digest

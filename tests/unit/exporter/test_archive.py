"""Archives: what is written is what tar, docker and OCI tools find in them, byte for byte the same each time."""

import io
import json
import tarfile

import pytest

from chandlery.exporter import archive
from chandlery.exporter.assemble import with_manifest
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.media_type import OCI_LAYER_GZIP, OCI_LAYER_ZSTD

LAYER = b"a layer's bytes"
DESCRIBED = Descriptor(OCI_LAYER_GZIP, sha256(LAYER), len(LAYER))
IMAGE = with_manifest(ImageConfig("amd64", "linux", diff_ids=(sha256(b"tar"),)), (DESCRIBED, DESCRIBED), is_docker=False)
NAMES = ("docker.io/library/app:1", "registry.example:5000/team/app:1")


def written(*images, is_oci: bool) -> bytes:
    out = io.BytesIO()
    archive.write(out, list(images), lambda blob: io.BytesIO(LAYER), is_oci=is_oci)
    return out.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def test_every_blob_is_there_once_under_its_digest():
    with tarfile.open(fileobj=io.BytesIO(written((IMAGE, NAMES), is_oci=True))) as tar:
        names = [member.name for member in tar if member.name.startswith("blobs/sha256/")]
        assert len(names) == len(set(names)) == 3
        for name in names:
            assert sha256(tar.extractfile(name).read()).hex == name.rpartition("/")[2]


def test_an_oci_layout_names_the_manifest_under_each_name():
    index = json.loads(contents(written((IMAGE, NAMES), is_oci=True))["index.json"])
    assert {entry["digest"] for entry in index["manifests"]} == {IMAGE.manifest.digest}
    assert [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]] == list(NAMES)
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]] == ["1", "1"]


def test_only_dockers_form_has_a_manifest_json_and_its_names_are_the_short_ones():
    assert "manifest.json" not in contents(written((IMAGE, NAMES), is_oci=True))
    found = contents(written((IMAGE, NAMES), is_oci=False))
    (entry,) = json.loads(found["manifest.json"])
    assert entry["RepoTags"] == ["app:1", "registry.example:5000/team/app:1"]
    assert found[entry["Config"]] == IMAGE.config_blob
    assert [found[name] for name in entry["Layers"]] == [LAYER, LAYER]


def test_an_image_without_a_name_is_listed_without_one():
    index = json.loads(contents(written((IMAGE, ()), is_oci=True))["index.json"])
    assert [Digest(entry["digest"]) for entry in index["manifests"]] == [IMAGE.manifest.digest]


def test_the_same_images_give_the_same_archive():
    assert written((IMAGE, NAMES), is_oci=False) == written((IMAGE, NAMES), is_oci=False)


@pytest.mark.parametrize(("media_type", "expected"), [(OCI_LAYER_GZIP, True), (OCI_LAYER_ZSTD, False)])
def test_old_dockers_can_not_load_zstd(media_type, expected):
    image = with_manifest(ImageConfig("amd64", "linux"), (Descriptor(media_type, sha256(LAYER), len(LAYER)),), is_docker=False)
    assert archive.is_loadable(image) is expected

"""A cache in a directory: whole or not at all, and the caches of other tags stay."""

import io
import json
import os

import pytest

from chandlery.buildcache.buildkit_artifact import Artifact, assemble
from chandlery.buildcache.buildkit_config import CacheConfig, CacheLayer
from chandlery.buildcache.cache_directory import write
from chandlery.errors import Lost, MachineError
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.oci.media_type import OCI_LAYER


def artifact_of(*layers: bytes) -> Artifact:
    blobs = {sha256(data): (sha256(data), Descriptor(OCI_LAYER, sha256(data), len(data))) for data in layers}
    config = CacheConfig(tuple(CacheLayer(digest, at - 1) for at, digest in enumerate(blobs)))
    return assemble(config, blobs, is_oci=True, is_image=True)


def opener(*layers: bytes):
    known = {sha256(data): data for data in layers}
    return lambda blob: io.BytesIO(known[blob.digest])


def index(directory) -> dict[str, str]:
    found = json.loads((directory / "index.json").read_text())["manifests"]
    return {row["annotations"]["org.opencontainers.image.ref.name"]: row["digest"] for row in found}


def test_a_cache_is_a_layout(tmp_path):
    made = artifact_of(b"one", b"two")
    write(str(tmp_path / "new/cache"), made, opener(b"one", b"two"), tag="latest")
    blobs = {sha256(path.read_bytes()).hex: path.name for path in (tmp_path / "new/cache/blobs/sha256").iterdir()}
    assert set(blobs) == {sha256(b"one").hex, sha256(b"two").hex, made.config.digest.hex, made.manifest.digest.hex}
    assert all(name == content for content, name in blobs.items())
    assert index(tmp_path / "new/cache") == {"latest": made.manifest.digest}
    assert json.loads((tmp_path / "new/cache/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_another_tag_s_cache_stays_and_the_same_tag_s_goes(tmp_path):
    first, second, third = (artifact_of(data) for data in (b"1", b"2", b"3"))
    write(str(tmp_path), first, opener(b"1"), tag="a")
    write(str(tmp_path), second, opener(b"2"), tag="b")
    write(str(tmp_path), third, opener(b"3"), tag="a")
    assert index(tmp_path) == {"a": third.manifest.digest, "b": second.manifest.digest}


def test_a_write_that_breaks_off_leaves_the_older_cache(tmp_path):
    first = artifact_of(b"1")
    write(str(tmp_path), first, opener(b"1"), tag="latest")

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise Lost("gone")

    with pytest.raises(Lost):
        write(str(tmp_path), artifact_of(b"2"), lambda _: Broken(), tag="latest")
    assert index(tmp_path) == {"latest": first.manifest.digest}
    assert not [name for name in os.listdir(tmp_path / "blobs/sha256") if ".tmp-" in name]


def test_a_blob_that_is_there_is_not_written_again(tmp_path):
    write(str(tmp_path), artifact_of(b"1"), opener(b"1"), tag="latest")
    write(str(tmp_path), artifact_of(b"1"), opener(), tag="again")
    assert len(index(tmp_path)) == 2


@pytest.mark.parametrize("text", ["", "no", "[]", '{"manifests": 7}', '{"manifests": ["x"]}'])
def test_an_index_that_can_t_be_read_is_begun_anew(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    write(str(tmp_path), artifact_of(b"1"), opener(b"1"), tag="latest")
    assert list(index(tmp_path)) == ["latest"]


def test_a_place_that_can_t_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError) as raised:
        write(str(tmp_path / "file"), artifact_of(b"1"), opener(b"1"), tag="latest")
    assert raised.value.code == "cache.unwritable"

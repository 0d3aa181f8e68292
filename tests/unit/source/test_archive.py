"""Archives and layouts that others wrote: taken in whole and verified, or refused with a code; never waited for, never followed out of their place."""

import gzip
import io
import json
import os
import tarfile

import pytest

from chandlery.content import gc
from chandlery.content.store import Store
from chandlery.errors import ChandleryError, LyingRegistry, RequestError
from chandlery.exporter import archive as writer
from chandlery.exporter.assemble import with_manifest
from chandlery.exporter.image_store import ImageNames
from chandlery.oci import image_config
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.media_type import OCI_LAYER_GZIP
from chandlery.source.archive import read_archive

TAR = bytes(10240)
LAYER = gzip.compress(TAR, mtime=0)
CONFIG = ImageConfig("amd64", "linux", diff_ids=(sha256(TAR),))
IMAGE = with_manifest(CONFIG, (Descriptor(OCI_LAYER_GZIP, sha256(LAYER), len(LAYER)),), is_docker=False)


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "R")) as opened:
        yield opened


@pytest.fixture
def session(store):
    with store.begin() as begun:
        yield begun


def saved(path, *, is_oci: bool, names=("docker.io/library/app:1",)) -> str:
    with open(path, "wb") as out:
        writer.write(out, [(IMAGE, names)], lambda blob: io.BytesIO(LAYER), is_oci=is_oci)
    return str(path)


def archive_of(path, members: "dict[str, bytes | tarfile.TarInfo]") -> str:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return str(path)


def old_form(**entry: object) -> dict[str, bytes]:
    described = {"Config": "config.json", "RepoTags": ["app:1"], "Layers": ["layer.tar"], **entry}
    return {"config.json": image_config.encode(CONFIG), "layer.tar": TAR, "manifest.json": json.dumps([described]).encode()}


@pytest.mark.parametrize("is_oci", [True, False])
def test_what_we_write_we_read(tmp_path, store, session, is_oci):
    (found,) = read_archive(saved(tmp_path / "a.tar", is_oci=is_oci), store, session)
    assert found.manifest is not None
    assert found.manifest.digest == IMAGE.manifest.digest
    assert found.config_blob == IMAGE.config_blob
    assert [name.removeprefix("docker.io/library/") for name in found.names] == ["app:1"]
    assert store.blobs.read(sha256(LAYER)) == LAYER


def test_a_compressed_archive_is_read(tmp_path, store, session):
    plain = saved(tmp_path / "a.tar", is_oci=False)
    with open(plain, "rb") as file, gzip.open(tmp_path / "a.tar.gz", "wb") as out:
        out.write(file.read())
    assert len(read_archive(str(tmp_path / "a.tar.gz"), store, session)) == 1


def test_the_older_form_is_read(tmp_path, store, session):
    (found,) = read_archive(archive_of(tmp_path / "a.tar", old_form()), store, session)
    assert (found.names, found.manifest) == (("app:1",), None)
    assert store.db.read("SELECT digest, compression FROM layer_blob WHERE diff_id = ?", (sha256(TAR),)) == [(sha256(TAR), "none")]


def test_the_layers_of_a_loaded_image_survive_a_prune(tmp_path, store):
    with store.begin() as loading:
        (found,) = read_archive(saved(tmp_path / "a.tar", is_oci=True), store, loading)
        ImageNames(store, loading).put(("docker.io/library/app:1",), found.config_blob, CONFIG.diff_ids, manifest_digest=found.manifest.digest)
    gc.prune(store, gc.PrunePolicy(), clock=lambda: 4e9)
    assert store.blobs.has(sha256(LAYER))


@pytest.mark.parametrize(
    "manifest",
    [b"{", b"{}", b"[1]", b'[{"Config": 1}]', b'[{"Config": "c", "Layers": "abc"}]', b'[{"Config": "c", "RepoTags": [1]}]', b"[" * 100_000, b'["a"]'],
)
def test_a_manifest_json_of_another_shape_is_damage(tmp_path, store, session, manifest):
    members = {**old_form(), "manifest.json": manifest}
    with pytest.raises(RequestError) as raised:
        read_archive(archive_of(tmp_path / "a.tar", members), store, session)
    assert raised.value.code == "archive.damaged"


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
@pytest.mark.parametrize("name", ["config.json", "layer.tar"])
def test_only_regular_files_are_read(tmp_path, store, session, kind, name):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(RequestError) as raised:
        read_archive(archive_of(tmp_path / "a.tar", {**old_form(), name: info}), store, session)
    assert raised.value.code == "archive.incomplete"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "missing", "a\0b", ""])
def test_names_that_lead_out_or_nowhere_are_refused(tmp_path, store, session, name):
    with pytest.raises(RequestError) as raised:
        read_archive(archive_of(tmp_path / "a.tar", old_form(Layers=[name])), store, session)
    assert raised.value.code == "archive.incomplete"


def test_more_layers_than_the_configuration_knows_are_a_lie(tmp_path, store, session):
    with pytest.raises(LyingRegistry):
        read_archive(archive_of(tmp_path / "a.tar", old_form(Layers=["layer.tar", "layer.tar"])), store, session)


def test_a_blob_with_another_content_is_refused(tmp_path, store, session):
    with tarfile.open(saved(tmp_path / "a.tar", is_oci=True)) as tar:
        tar.extractall(tmp_path / "layout")
    path = tmp_path / "layout" / "blobs" / "sha256" / sha256(LAYER).hex
    path.write_bytes(b"x" * len(LAYER))
    with pytest.raises(ChandleryError):
        read_archive(str(tmp_path / "layout"), store, session)
    assert not store.blobs.has(sha256(LAYER))


@pytest.mark.parametrize("content", [b"", b"not an archive at all" * 100])
def test_what_is_no_archive_is_refused(tmp_path, store, session, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(RequestError):
        read_archive(str(tmp_path / "a.tar"), store, session)


def test_a_pipe_in_a_layout_is_refused_and_not_waited_for(tmp_path, store, session):
    with tarfile.open(saved(tmp_path / "a.tar", is_oci=True)) as tar:
        tar.extractall(tmp_path / "layout")
    path = tmp_path / "layout" / "blobs" / "sha256" / IMAGE.config_digest.hex
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RequestError) as raised:
        read_archive(str(tmp_path / "layout"), store, session)
    assert raised.value.code == "layout.incomplete"

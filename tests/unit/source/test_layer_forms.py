"""One layer in its forms: made once, kept, and the bytes that others packed never replaced by ours."""

import gzip
import io
import shutil
import tarfile
import threading

import pytest

from chandlery.content.steplock import StepLocks
from chandlery.content.store import Store
from chandlery.errors import Cancelled, Lost, StoreError
from chandlery.layer.compression import Compression, decompressed
from chandlery.layer.unpack import apply_layer
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.source.layer_forms import BlobForm, LayerForms

GZIP = BlobForm(Compression.GZIP)


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "R")) as opened:
        yield opened


@pytest.fixture
def session(store):
    with store.begin() as begun:
        yield begun


@pytest.fixture
def snapshots(store):
    return SnapshotStore(store)


@pytest.fixture
def forms(store, snapshots, session):
    return LayerForms(store, snapshots, session, fetch=lambda _: pytest.fail("fetched"))


def made(snapshots, session, content: bytes = b"content") -> LayerRef:
    active = snapshots.prepare(session)
    with open(f"{active.upper}/file", "wb") as file:
        file.write(content)
    return LayerRef(snapshots.commit(active, size_bytes=4096))


def foreign_tar() -> bytes:
    """A tar as we never write one: GNU format, a user's name in it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("./file")
        info.size, info.uname, info.mtime = 7, "somebody", 1000
        tar.addfile(info, io.BytesIO(b"content"))
    return out.getvalue()


class Base:
    """A base image's layer: extracted here, its blob in a registry that can be asked."""

    def __init__(self, store, snapshots, session, *, has_blob: bool = True) -> None:
        self.tar = foreign_tar()
        self.data = gzip.compress(self.tar, mtime=0)
        self.blob = Descriptor(types.OCI_LAYER_GZIP, sha256(self.data), len(self.data))
        self.layer = LayerRef(diff_id=str(sha256(self.tar)))
        self.fetched = 0
        self.has_blob = has_blob
        self._store, self._session = store, session
        active = snapshots.prepare(session)
        apply_layer(iter([self.data]), active.upper, expected_diff_id=sha256(self.tar))
        self.snapshot = snapshots.commit(active, diff_id=self.layer.diff_id, size_bytes=1)
        self.forms = LayerForms(store, snapshots, session, fetch=lambda _: self.snapshot, fetch_blob=self.fetch_blob)

    def fetch_blob(self, diff_id: str) -> Descriptor | None:
        self.fetched += 1
        if not self.has_blob:
            return None
        self._store.blobs.put(self.data, session=self._session)
        return self.blob


@pytest.fixture
def base(store, snapshots, session):
    return Base(store, snapshots, session)


def plain(store, blob: Descriptor, compression: Compression) -> bytes:
    with store.blobs.open(blob.digest) as reader:
        return b"".join(map(bytes, decompressed(iter(lambda: reader.read(65536), b""), compression)))


def test_a_layer_is_packed_once_and_its_diff_id_is_of_its_tar(store, snapshots, session, forms):
    layer = made(snapshots, session)
    diff_id, blob = forms.blob(layer, GZIP)
    assert sha256(plain(store, blob, Compression.GZIP)) == diff_id == forms.diff_id(layer)
    assert forms.blob(layer, GZIP) == (diff_id, blob)


def test_an_existing_blob_will_do_unless_another_form_is_forced(snapshots, session, forms):
    layer = made(snapshots, session)
    _, blob = forms.blob(layer, GZIP)
    assert forms.blob(layer, BlobForm(Compression.ZSTD))[1] == blob
    forced = forms.blob(layer, BlobForm(Compression.ZSTD, is_forced=True))[1]
    assert forced.media_type == types.OCI_LAYER_ZSTD


def test_rewritten_times_give_another_layer_and_leave_the_first_one(snapshots, session, forms):
    layer = made(snapshots, session)
    assert forms.diff_id(layer, clamp_s=0) != forms.diff_id(layer)
    assert forms.blob(layer, BlobForm(Compression.GZIP, clamp_s=0))[0] == forms.diff_id(layer, clamp_s=0)


def test_a_base_layers_blob_is_sent_as_its_registry_has_it(base):
    assert base.forms.blob(base.layer, GZIP) == (sha256(base.tar), base.blob)
    assert base.forms.blob(base.layer, GZIP)[1] == base.blob
    assert base.fetched == 1


def test_a_base_layer_is_compressed_anew_from_its_own_tar(store, base):
    _, blob = base.forms.blob(base.layer, BlobForm(Compression.ZSTD, is_forced=True))
    assert blob.media_type == types.OCI_LAYER_ZSTD
    assert plain(store, blob, Compression.ZSTD) == base.tar


def test_a_base_layer_that_nobody_has_any_more_is_told(store, snapshots, session):
    base = Base(store, snapshots, session, has_blob=False)
    with pytest.raises(StoreError) as raised:
        base.forms.blob(base.layer, GZIP)
    assert raised.value.code == "store.base-lost"


def test_equal_layers_are_mounted_once_where_the_upper_one_is(snapshots, session, forms):
    one, other = made(snapshots, session), made(snapshots, session)
    paths = forms.directories(FileSystem((one, other, one)))
    assert paths == (snapshots.path(other.snapshot), snapshots.path(one.snapshot))


def test_layers_that_differ_in_times_alone_have_the_same_content(snapshots, session, forms):
    one, same, other = (made(snapshots, session, content) for content in (b"content", b"content", b"CONTENT"))
    assert forms.has_same_content(one, same)
    assert not forms.has_same_content(one, other)


def test_a_layer_that_is_gone_has_no_diff_id_and_is_lost_when_it_is_used(store, snapshots, session, forms):
    gone = LayerRef("abcdefgh")
    assert not forms.has_diff_id(gone)
    with pytest.raises(Lost):
        forms.directories(FileSystem((gone,)))
    layer = made(snapshots, session)
    shutil.rmtree(store.layout.snapshot(layer.snapshot))
    with pytest.raises(Lost):
        forms.directories(FileSystem((layer,)))


def test_who_waits_for_somebody_elses_packing_ends_with_the_build(store, snapshots, session):
    layer, held, release = made(snapshots, session), threading.Event(), threading.Event()

    def stopped() -> None:
        raise Cancelled()

    def hold() -> None:
        with StepLocks(store.layout).hold(f"pack:{layer.snapshot}:gzip", timeout_s=5):
            held.set()
            release.wait(5)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(5)
    with pytest.raises(Cancelled):
        LayerForms(store, snapshots, session, fetch=lambda _: "", check=stopped).blob(layer, GZIP)
    release.set()
    other.join()

"""What we write, independent readers read; what they write, we read; and the same tree gives the same bytes."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.tars import archive, file, header, pax

from chandlery.errors import InputError, InternalError, RequestError
from chandlery.layer import compression
from chandlery.layer.compression import Compression
from chandlery.layer.pack import CHUNK, diff_id_of, digest_diff, pack_layer, tar_chunks
from chandlery.layer.unpack import apply_layer, unpack, unpack_archive

LONG = "long-" * 30
# filters are newer than 3.11.3, and not to name one warns from 3.12 on
TRUSTED: dict[str, str] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}


def tar_of(root: Path, **options: object) -> bytes:
    return b"".join(bytes(chunk) for chunk in tar_chunks(str(root), **options))  # type: ignore[arg-type]


def described(root: Path, *, times: str = "all") -> dict[str, tuple[object, ...]]:
    """Everything that a layer keeps of a tree, by an ordinary walk."""
    found: dict[str, tuple[object, ...]] = {}
    links: dict[int, str] = {}
    for folder, folders, files in sorted(os.walk(root)):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest(), links.setdefault(status.st_ino, path[len(str(root)) :])
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            seconds = status.st_mtime_ns // 10**9 if times == "all" or not stat.S_ISLNK(status.st_mode) else 0
            found[os.path.relpath(path, root)] = (status.st_mode, status.st_uid, status.st_gid, seconds, content)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "dir/sub").mkdir(parents=True)
    (root / "dir-x").write_bytes(b"sorts between dir and dir/")
    (root / "dir/sub/file").write_bytes(b"hello" * 1000)
    (root / "dir/sub/file").chmod(0o4755)
    (root / "dir/empty").write_bytes(b"")
    (root / "dir/link").symlink_to("../nowhere/é")
    (root / "dir/hard").hardlink_to(root / "dir/sub/file")
    os.mkfifo(root / "pipe", 0o600)
    (root / LONG / LONG).mkdir(parents=True)
    (root / LONG / LONG / ("n" * 120)).write_bytes(b"long")
    (root / LONG / "short").symlink_to("t" * 150)
    (root / "größe").write_bytes(b"utf-8")
    os.close(os.open(bytes(root) + b"/latin-\xe9", os.O_CREAT | os.O_WRONLY))
    (root / "big").write_bytes(os.urandom(3 * CHUNK + 17))
    (root / "exact").write_bytes(b"x" * (2 * CHUNK))
    (root / "dir").chmod(0o1777)
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.utime(path, (number * 1000 + 0.5, number * 1000 + 0.5), follow_symlinks=False)
    os.utime(root / "exact", (-5, -5))
    return root


def test_our_tar_read_by_us_is_the_same_tree(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    unpack(tar_chunks(str(tree)), str(tmp_path / "copy"))
    assert described(tmp_path / "copy") == described(tree)


def test_our_tar_read_by_tarfile_is_the_same_tree(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(tree)), errors="surrogateescape") as tar:
        tar.extractall(tmp_path / "copy", **TRUSTED)
    assert described(tmp_path / "copy", times="not of links") == described(tree, times="not of links")


def test_our_tar_read_by_gnu_tar_is_the_same_tree(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "copy", "-xpf", "-"], input=tar_of(tree), check=True)
    assert described(tmp_path / "copy") == described(tree)


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tarfiles_tar_read_by_us_is_the_same_tree(tree: Path, tmp_path: Path, tar_format: int) -> None:
    if tar_format == tarfile.USTAR_FORMAT:
        os.utime(tree / "exact", (5, 5))
        subprocess.run(["rm", "-rf", tree / LONG], check=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format, errors="surrogateescape") as tar:
        for name in sorted(os.listdir(tree)):
            tar.add(tree / name, name)
    buffer.seek(0)
    (tmp_path / "copy").mkdir()
    unpack(buffer, str(tmp_path / "copy"))
    assert described(tmp_path / "copy") == described(tree)


@pytest.mark.parametrize("tar_format", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_gnu_tars_tar_read_by_us_is_the_same_tree(tree: Path, tmp_path: Path, tar_format: str) -> None:
    if tar_format in ("v7", "ustar"):
        subprocess.run(["rm", "-rf", tree / LONG, tree / "pipe"], check=True)
        os.utime(tree / "exact", (5, 5))
    made = subprocess.run(["tar", "-C", tree, f"--format={tar_format}", "-cf", "-", "."], check=True, capture_output=True)
    (tmp_path / "copy").mkdir()
    unpack(io.BytesIO(made.stdout), str(tmp_path / "copy"))
    assert described(tmp_path / "copy") == described(tree)


def test_a_tree_gives_the_same_bytes_wherever_it_is(tree: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", tree, tmp_path / "copy"], check=True)
    assert tar_of(tree) == tar_of(tmp_path / "copy")


def test_members_are_in_byte_order_and_chunks_are_full(tree: Path) -> None:
    chunks = list(tar_chunks(str(tree)))
    assert {len(chunk) for chunk in chunks[:-1]} == {CHUNK}
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks)), errors="surrogateescape") as tar:
        names = [os.fsencode(member.name + "/" * member.isdir()) for member in tar]
    assert names == sorted(names)
    assert names.index(b"dir-x") < names.index(b"dir/")


def test_digests_agree_with_the_bytes(tree: Path) -> None:
    plain = tar_of(tree)
    both = digest_diff(str(tree))
    assert both.diff_id.hex == hashlib.sha256(plain).hexdigest()
    assert diff_id_of(str(tree)) == (both.diff_id, len(plain)) == (both.diff_id, both.tar_size)
    assert both.content_digest == diff_id_of(str(tree), clamp_mtime_s=0)[0] or (tree / "exact").stat().st_mtime < 0


def test_the_content_digest_ignores_times_only(tree: Path) -> None:
    before = digest_diff(str(tree))
    os.utime(tree / "big", (1, 1))
    touched = digest_diff(str(tree))
    assert touched.content_digest == before.content_digest
    assert touched.diff_id != before.diff_id
    (tree / "big").chmod(0o600)
    assert digest_diff(str(tree)).content_digest != before.content_digest


def test_times_are_clamped_not_set(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(tree, clamp_mtime_s=3000)), errors="surrogateescape") as tar:
        times = {int(member.mtime) for member in tar}
    assert max(times) == 3000
    assert {0, 1000, 2000} <= times


@pytest.mark.parametrize("kind", [Compression.NONE, Compression.GZIP, Compression.ZSTD])
@pytest.mark.parametrize("workers", [1, 3])
def test_packed_layers_apply_again(tree: Path, tmp_path: Path, kind: Compression, workers: int) -> None:
    blob = io.BytesIO()
    packed = pack_layer(str(tree), blob.write, compression=kind, workers=workers)
    (tmp_path / "copy").mkdir()
    blob.seek(0)
    applied = apply_layer(blob, str(tmp_path / "copy"), expected_diff_id=packed.diff_id)
    assert described(tmp_path / "copy") == described(tree)
    assert (applied.diff_id, applied.tar_size) == (packed.diff_id, packed.tar_size)
    assert packed.digest.hex == hashlib.sha256(blob.getvalue()).hexdigest()
    assert packed.size_bytes == len(blob.getvalue())


def test_the_number_of_workers_does_not_change_the_bytes(tree: Path) -> None:
    assert pack_layer(str(tree), len, workers=1) == pack_layer(str(tree), len, workers=4)


@pytest.mark.parametrize("level", [None, 0, 1, 3, 6, 9])
def test_gzip_levels_are_read_by_gzip(level: int | None) -> None:
    used = compression.encoder(Compression.GZIP, level)
    members = bytes(used.compress(b"a" * 5000)) + bytes(used.compress(b"b"))
    assert subprocess.run(["gzip", "-dc"], input=members, check=True, capture_output=True).stdout == b"a" * 5000 + b"b"


def test_without_igzip_the_encoder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "igzip_lib", None)
    used = compression.encoder(Compression.GZIP)
    assert used.name.startswith("zlib-")
    members = bytes(used.compress(b"x" * 3_000_000)) * 2
    assert b"".join(compression.decompressed([members[:9], members[9:], bytes(100)], Compression.GZIP)) == b"x" * 6_000_000


@pytest.mark.parametrize(("kind", "level"), [(Compression.GZIP, 10), (Compression.ZSTD, 0), (Compression.ZSTD, 23), (Compression.GZIP, -2)])
def test_levels_that_do_not_exist_are_refused(kind: Compression, level: int) -> None:
    with pytest.raises(RequestError) as refused:
        compression.encoder(kind, level)
    assert refused.value.code == "compression.level"


def test_a_failing_sink_is_the_callers_error_and_leaves_no_thread(tree: Path) -> None:
    import threading

    def full(_: object) -> None:
        raise BlockingIOError("full")

    before = threading.active_count()
    with pytest.raises(BlockingIOError):
        pack_layer(str(tree), full)
    assert threading.active_count() == before


def test_names_that_a_layer_reserves_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.wh.x").write_bytes(b"")
    with pytest.raises(InputError) as refused:
        tar_of(tmp_path)
    assert refused.value.code == "layer.whiteout-name"


def test_sockets_are_left_out(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert tar_of(tmp_path) == bytes(1024)


def test_later_members_replace_earlier_ones(tmp_path: Path) -> None:
    members = [
        file(b"a", b"old"),
        file(b"a", b"new"),
        file(b"d/x", b"in a directory"),
        file(b"d", b"now a file"),
        file(b"f", b"a file"),
        header(b"f/", b"5", mode=0o750),
        header(b"kept/", b"5", mode=0o700),
        file(b"kept/x", b"stays"),
        header(b"kept/", b"5", mode=0o755),
    ]
    unpack(archive(*members), str(tmp_path))
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "d").read_bytes() == b"now a file"
    assert (tmp_path / "f").is_dir()
    assert (tmp_path / "kept/x").read_bytes() == b"stays"
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o755


def test_modes_are_exact_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        unpack(archive(file(b"a/b", mode=0o666), header(b"d", b"5", mode=0o2777), header(b"p", b"6", mode=0o622)), str(tmp_path))
    finally:
        os.umask(before)
    modes = {name: os.lstat(tmp_path / name).st_mode & 0o7777 for name in ("a", "a/b", "d", "p")}
    assert modes == {"a": 0o755, "a/b": 0o666, "d": 0o2777, "p": 0o622}


def test_pax_times_are_exact_to_the_nanosecond(tmp_path: Path) -> None:
    unpack(archive(pax({b"mtime": b"1700000000.123456789"}), file(b"x"), pax({b"mtime": b"-1.5"}), file(b"y")), str(tmp_path))
    assert (tmp_path / "x").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert (tmp_path / "y").stat().st_mtime_ns == -1_500_000_000


@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress, bz2.compress, lzma.compress])
def test_a_users_archive_has_no_whiteouts_and_any_compression(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    tar = archive(file(b"a/.wh.b", b"a file"), file(b".wh..wh..opq")).getvalue()
    unpack_archive(io.BytesIO(compress(tar)), str(tmp_path))
    assert (tmp_path / "a/.wh.b").read_bytes() == b"a file"
    assert (tmp_path / ".wh..wh..opq").exists()


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(os.fsencode(name)) < 200
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.dictionaries(st.lists(NAMES, min_size=1, max_size=5).map(tuple), st.binary(max_size=2000), max_size=8))
def test_any_names_survive_the_round_trip(entries: dict[tuple[str, ...], bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    root, copy, again = (tmp_path_factory.mktemp(name) for name in ("tree", "copy", "again"))
    for parts, data in entries.items():
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:
            continue
    unpack(tar_chunks(str(root)), str(copy))
    assert digest_diff(str(copy)) == digest_diff(str(root))
    with tarfile.open(fileobj=io.BytesIO(tar_of(root)), errors="surrogateescape") as tar:
        tar.extractall(again, **TRUSTED)
    assert described(again, times="not of links") == described(root, times="not of links")


def test_a_file_that_shrinks_while_it_is_packed_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(4 * CHUNK))
    chunks = tar_chunks(str(tmp_path))
    next(chunks)
    os.truncate(tmp_path / "big", CHUNK)
    with pytest.raises(InternalError) as changed:
        list(chunks)
    assert changed.value.code == "layer.changed"


def test_a_directory_that_moves_while_its_tree_is_packed_is_noticed(tmp_path: Path) -> None:
    deep = tmp_path / "tree" / "/".join("d" for _ in range(90))
    deep.mkdir(parents=True)
    (deep / "big").write_bytes(bytes(2 * CHUNK))
    chunks = tar_chunks(str(tmp_path / "tree"))
    next(chunks)
    (tmp_path / "tree/d/d").rename(tmp_path / "elsewhere")
    with pytest.raises(InternalError) as changed:
        list(chunks)
    assert changed.value.code == "layer.changed"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x1f\x8b\x08\0", Compression.GZIP),
        (b"\x28\xb5\x2f\xfd\0", Compression.ZSTD),
        (b"\x50\x2a\x4d\x18\0", Compression.ZSTD),
        (b"BZh9", Compression.BZIP2),
        (b"\xfd7zXZ\0", Compression.XZ),
        (b"usr/", Compression.NONE),
        (b"", Compression.NONE),
    ],
)
def test_compression_is_seen_from_the_first_bytes(head: bytes, kind: Compression) -> None:
    assert compression.detect(head) is kind


def test_layers_are_not_bzip2() -> None:
    with pytest.raises(RequestError) as refused:
        compression.encoder(Compression.BZIP2)
    assert refused.value.code == "compression.unknown"

"""Archives made to do harm: every class of them is refused by code or stays inside, and nothing outside changes."""

import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.tars import archive, file, header, pax

from chandlery.errors import ContextError, LyingRegistry
from chandlery.layer.compression import Compression, encoder
from chandlery.layer.unpack import Limits, apply_layer, unpack, unpack_archive
from chandlery.linux.removal import remove_tree
from chandlery.oci.digest import sha256


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root whose surroundings are checked: no member may reach them."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/victim").write_bytes(b"untouched")
    inside = tmp_path / "root"
    inside.mkdir()
    yield inside
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]
    assert os.listdir(tmp_path / "outside") == ["victim"]
    assert (tmp_path / "outside/victim").read_bytes() == b"untouched"
    assert (tmp_path / "outside/victim").stat().st_nlink == 1


def refusal(tar: io.BytesIO, root: Path, **options: object) -> str:
    with pytest.raises(LyingRegistry) as refused:
        unpack(tar, str(root), **options)  # type: ignore[arg-type]
    return refused.value.code


@pytest.mark.parametrize("path", [b"../outside/victim", b"a/../../outside/victim", b"..", b"/../x", b"./../x", b"a/b/../../../x"])
@pytest.mark.parametrize("kind", [b"0", b"1", b"2", b"5", b"6"])
def test_names_that_climb_out_are_refused(root: Path, path: bytes, kind: bytes) -> None:
    assert refusal(archive(header(path, kind, link=b"x")), root) == "layer.hostile"


def test_absolute_names_are_below_the_root(root: Path) -> None:
    unpack(archive(file(b"/etc/passwd", b"x"), file(b"//tmp//y", b"y"), file(b"./a/./b/../c", b"z")), str(root))
    assert (root / "etc/passwd").read_bytes() == b"x"
    assert (root / "tmp/y").read_bytes() == b"y"
    assert (root / "a/c").read_bytes() == b"z"


@pytest.mark.parametrize("target", [b"../outside", b"/outside", b"/nowhere", b"link"])
def test_members_below_a_link_that_leads_out_stay_inside(root: Path, target: bytes) -> None:
    tar = archive(header(b"link", b"2", link=target), file(b"link/victim", b"evil"))
    assert refusal(tar, root) == "layer.hostile"
    assert os.readlink(root / "link") == os.fsdecode(target)


def test_an_absolute_link_means_this_root(root: Path) -> None:
    unpack(archive(header(b"usr/lib", b"5"), header(b"lib", b"2", link=b"/usr/lib"), file(b"lib/x", b"x")), str(root))
    assert (root / "usr/lib/x").read_bytes() == b"x"


def test_a_file_replaces_a_link_and_does_not_follow_it(root: Path) -> None:
    unpack(archive(header(b"x", b"2", link=b"../outside/victim"), file(b"x", b"evil")), str(root))
    assert (root / "x").read_bytes() == b"evil"
    assert not (root / "x").is_symlink()


def test_a_directory_replaces_a_link_and_does_not_follow_it(root: Path) -> None:
    tar = archive(header(b"x", b"2", link=b"../outside"), header(b"x/", b"5", mode=0o700), file(b"x/victim", b"evil"))
    unpack(tar, str(root))
    assert (root / "x/victim").read_bytes() == b"evil"


def test_a_directory_that_replaces_a_used_link_is_a_new_one(root: Path) -> None:
    tar = archive(header(b"b", b"5"), header(b"x", b"2", link=b"b"), file(b"x/1", b""), header(b"x", b"5"), file(b"x/2", b""))
    unpack(tar, str(root))
    assert os.listdir(root / "b") == ["1"]
    assert os.listdir(root / "x") == ["2"]


def test_modes_of_a_replaced_directory_do_not_reach_the_links_target(root: Path) -> None:
    tar = archive(header(b"real/", b"5", mode=0o700), header(b"x/", b"5", mode=0o777), file(b".wh.y"), header(b"x", b"2", link=b"real"), file(b"x/f", b"1"))
    unpack(tar, str(root))
    assert (root / "real").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("target", [b"../outside/victim", b"a/../../outside/victim"])
def test_hard_links_that_climb_out_are_refused(root: Path, target: bytes) -> None:
    assert refusal(archive(header(b"x", b"1", link=target)), root) == "layer.hostile"


@pytest.mark.parametrize("target", [b"/outside/victim", b"nothing", b"file/x", b""])
def test_hard_links_to_what_the_archive_does_not_have_are_refused(root: Path, target: bytes) -> None:
    assert refusal(archive(file(b"file"), header(b"x", b"1", link=target)), root) == "layer.missing-link-target"


def test_hard_links_through_a_link_stay_inside(root: Path) -> None:
    tar = archive(header(b"out", b"2", link=b"../outside"), header(b"x", b"1", link=b"out/victim"))
    assert refusal(tar, root) in ("layer.hostile", "layer.missing-link-target")


def test_a_hard_link_to_a_link_does_not_follow_it(root: Path) -> None:
    tar = archive(header(b"out", b"2", link=b"../outside/victim"), header(b"x", b"1", link=b"out"), file(b"x", b"evil"))
    unpack(tar, str(root))
    assert (root / "x").read_bytes() == b"evil"


def test_hard_links_to_directories_are_refused(root: Path) -> None:
    assert refusal(archive(header(b"d", b"5"), header(b"x", b"1", link=b"d")), root) == "layer.malformed"


def test_a_hard_link_to_itself_is_nothing(root: Path) -> None:
    unpack(archive(file(b"x", b"1"), header(b"./x", b"1", link=b"x")), str(root))
    assert (root / "x").read_bytes() == b"1"


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh..", b"d/.wh..."])
def test_whiteouts_of_a_directory_through_its_own_name_are_refused(root: Path, name: bytes) -> None:
    (root / "d").mkdir()
    assert refusal(archive(file(name)), root) == "layer.hostile"
    assert (root / "d").is_dir()


@pytest.mark.parametrize("name", [b".wh.d/x", b".wh.d/.wh.x", b"a/.wh.b/c/d"])
def test_members_below_a_whiteout_are_refused(root: Path, name: bytes) -> None:
    assert refusal(archive(file(name)), root) == "layer.hostile"


@pytest.mark.parametrize("name", [b"out/.wh.victim", b"out/.wh..wh..opq"])
def test_whiteouts_through_a_link_reach_nothing_outside(root: Path, name: bytes) -> None:
    tar = archive(header(b"out", b"2", link=b"../outside"), file(name))
    assert refusal(tar, root) == "layer.hostile"


def test_device_zero_is_refused_because_it_would_be_a_whiteout(root: Path) -> None:
    assert refusal(archive(header(b"x", b"3")), root) == "layer.hostile"


def test_overlay_attributes_never_come_from_an_archive(root: Path) -> None:
    records = {b"SCHILY.xattr.trusted.overlay.redirect": b"/etc", b"SCHILY.xattr.user.overlay.opaque": b"y", b"SCHILY.xattr.security.selinux": b"x"}
    stats = unpack(archive(pax(records), file(b"x"), pax(records), header(b"d", b"5")), str(root))
    assert os.listxattr(root / "x") == os.listxattr(root / "d") == []
    assert stats.xattrs_dropped == 6


def test_the_root_is_not_replaced(root: Path) -> None:
    assert refusal(archive(header(b"./", b"2", link=b"x")), root) == "layer.hostile"
    assert refusal(archive(file(b"a/..", b"x")), root) == "layer.hostile"


@pytest.mark.parametrize("depth", [2100, 10_000])
def test_paths_that_nothing_could_open_are_refused(root: Path, depth: int) -> None:
    assert refusal(archive(pax({b"path": b"d/" * depth}), header(b"d", b"5")), root) == "layer.hostile"


def test_deep_directories_are_made_and_finished(root: Path) -> None:
    path = b"d/" * 2000
    unpack(archive(pax({b"path": path}), header(b"d", b"5", mode=0o711), pax({b"path": path + b"f"}), file(b"f", b"x")), str(root))
    before = os.getcwd()
    os.chdir(root)
    try:
        assert os.stat(b"d/" * 2000).st_mode & 0o777 == 0o711
        assert os.stat(b"d/" * 2000 + b"f").st_size == 1
    finally:
        os.chdir(before)
        remove_tree(str(root / "d"))
    assert os.listdir(root) == []


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("negative size", {"size": b"\xff" * 12}),
        ("signed octal", {"size": b"-0000000001\0"}),
        ("underscore", {"size": b"0000000_001\0"}),
        ("not octal", {"size": b"00000000089\0"}),
        ("words", {"mtime": b"yesterday   "}),
        ("checksum", {"checksum": b"000000\0 "}),
        ("size beyond the end", {"size": 4096}),
        ("base-256 size beyond everything", {"size": b"\x80" + b"\x7f" * 11}),
    ],
)
def test_bad_numbers_are_refused(root: Path, field: str, options: dict[str, bytes]) -> None:
    code = refusal(archive(header(b"x", **options)), root)  # type: ignore[arg-type]
    assert code in ("layer.malformed", "layer.truncated", "layer.bomb")


@pytest.mark.parametrize(
    "records",
    [
        {b"path": b"a\0b"},
        {b"linkpath": b"a\0b"},
        {b"size": b"-1"},
        {b"size": b"1e3"},
        {b"uid": b"-1"},
        {b"uid": b"4294967296"},
        {b"mtime": b"soon"},
        {b"size": b"9" * 30},
    ],
)
def test_bad_pax_values_are_refused(root: Path, records: dict[bytes, bytes]) -> None:
    assert refusal(archive(pax(records), file(b"x")), root) == "layer.malformed"


@pytest.mark.parametrize("body", [b"5 a\n", b"999999 path=x\n", b"0 path=x\n", b"-9 path=x\n", b"path=x\n", b"9 path=xx", b"8 =xxxx\n", b"1" * 600])
def test_damaged_pax_records_are_refused(root: Path, body: bytes) -> None:
    damaged = header(b"p", b"x", size=len(body)) + body + bytes(-len(body) % 512)
    assert refusal(archive(damaged, file(b"x")), root) == "layer.malformed"


@pytest.mark.parametrize("kind", [b"x", b"L", b"K"])
def test_endless_side_records_are_refused_before_memory_is_taken(root: Path, kind: bytes) -> None:
    assert refusal(archive(header(b"p", kind, size=1 << 32)), root) == "layer.malformed"


@pytest.mark.parametrize("kind", [b"S", b"M", b"D", b"Z"])
def test_member_types_that_we_do_not_know_are_refused(root: Path, kind: bytes) -> None:
    assert refusal(archive(header(b"x", kind)), root) == "layer.unsupported"


def test_garbage_is_refused(root: Path) -> None:
    assert refusal(io.BytesIO(b"\x01garbage" * 1000), root) == "layer.malformed"
    assert refusal(io.BytesIO(b"short"), root) == "layer.truncated"
    assert refusal(io.BytesIO(b""), root) == "layer.truncated"


def test_members_after_a_lone_zero_block_are_refused(root: Path) -> None:
    assert refusal(io.BytesIO(bytes(512) + file(b"x")), root) == "layer.malformed"


@pytest.mark.parametrize("cut", [100, 512, 600, 1100, 1535])
def test_truncated_archives_are_refused(root: Path, cut: int) -> None:
    whole = archive(file(b"x", b"d" * 1000), file(b"y", b"d")).getvalue()
    if cut == 512:
        cut = 513
    assert refusal(io.BytesIO(whole[:cut]), root) == "layer.truncated"


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_truncated_and_damaged_compression_is_refused(root: Path, compression: Compression) -> None:
    plain = archive(file(b"x", os.urandom(300_000))).getvalue()
    blob = bytes(encoder(compression).compress(plain))
    for damaged in (blob[: len(blob) // 2], blob[:1000] + bytes(100) + blob[1100:], blob[:7]):
        with pytest.raises(LyingRegistry) as refused:
            apply_layer(io.BytesIO(damaged), str(root), expected_diff_id=sha256(plain))
        assert refused.value.code in ("layer.truncated", "layer.malformed", "layer.wrong-diff-id")


def test_a_bomb_is_stopped_by_its_ratio(root: Path) -> None:
    size = 8 << 20
    bomb = zlib.compress(header(b"zeros", size=size) + bytes(size), 9, 31)
    with pytest.raises(LyingRegistry) as refused:
        apply_layer(io.BytesIO(bomb), str(root), limits=Limits(ratio_from_bytes=1 << 20))
    assert refused.value.code == "layer.bomb"


def test_a_bomb_is_stopped_by_its_promise(root: Path) -> None:
    tar = archive(header(b"x", size=b"\x80" + (1 << 60).to_bytes(11, "big")))
    assert refusal(tar, root) == "layer.bomb"
    assert not (root / "x").exists()


def test_a_bomb_of_members_is_stopped(root: Path) -> None:
    assert refusal(archive(*[file(b"x")] * 20), root, limits=Limits(max_entries=10)) == "layer.bomb"


def test_a_name_component_that_no_file_system_takes_is_refused(root: Path) -> None:
    assert refusal(archive(pax({b"path": b"n" * 300}), file(b"x")), root) == "layer.malformed"


def test_members_below_a_file_are_refused(root: Path) -> None:
    assert refusal(archive(file(b"f", b"x"), file(b"f/g", b"y")), root) == "layer.malformed"


def test_no_descriptor_or_thread_is_left_behind(root: Path) -> None:
    import threading

    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    bad = zlib.compress(b"".join(file(b"d%d/x" % n, b"y") for n in range(300)) + header(b"../x"), 1, 31)
    with pytest.raises(LyingRegistry):
        apply_layer(io.BytesIO(bad), str(root))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_a_users_archive_is_the_users_error(root: Path) -> None:
    with pytest.raises(ContextError) as refused:
        unpack_archive(archive(header(b"../x")), str(root))
    assert refused.value.code == "archive.hostile"

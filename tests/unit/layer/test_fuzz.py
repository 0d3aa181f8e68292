"""Random damage: whatever bytes come, the answer is a refusal or a tree inside the root."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.tars import archive, file, header, pax

from chandlery.errors import LyingRegistry
from chandlery.layer.unpack import Limits, apply_layer, unpack
from chandlery.linux.removal import remove_tree

PARTS = st.sampled_from([b"a", b"b", b"..", b".", b"", b".wh.a", b".wh..wh..opq", b".wh.", b".wh...", b"\xff", b"n" * 90])
PATHS = st.lists(PARTS, max_size=4).map(b"/".join).filter(lambda path: len(path) <= 100)
KINDS = st.sampled_from([b"0", b"1", b"2", b"5", b"6", b"\0", b"7"])
RECORDS = st.dictionaries(
    st.sampled_from([b"path", b"linkpath", b"size", b"mtime", b"uid", b"SCHILY.xattr.user.x", b"GNU.sparse.size", b"comment"]),
    st.one_of(PATHS, st.integers(-5, 10**12).map(lambda number: b"%d" % number), st.binary(max_size=20)),
    max_size=3,
)


def members() -> st.SearchStrategy[bytes]:
    plain = st.builds(
        lambda path, kind, link, mode, data: (
            header(path, kind, link=link, mode=mode, size=len(data) if kind in b"0\x007" else 0)
            + (data + bytes(-len(data) % 512) if kind in b"0\x007" else b"")
        ),
        PATHS,
        KINDS,
        PATHS,
        st.integers(0, 0o7777),
        st.binary(max_size=700),
    )
    return st.one_of(plain, RECORDS.map(pax))


def outcome(tar: bytes, base: Path, opener: object = unpack) -> str:
    """Extract below a fresh root; the error's code, or "" for success. Nothing beside the root may appear."""
    root = base / "root"
    root.mkdir()
    try:
        opener(io.BytesIO(tar), str(root), limits=Limits(max_bytes=1 << 24))  # type: ignore[operator]
    except LyingRegistry as refused:
        return refused.code
    finally:
        assert os.listdir(base) == ["root"]
        assert root.is_dir()
        remove_tree(str(root))
    return ""


@settings(max_examples=250, deadline=None)
@given(parts=st.lists(members(), max_size=8))
def test_odd_members_stay_inside(parts: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    outcome(archive(*parts).getvalue(), tmp_path_factory.mktemp("fuzz"))


@settings(max_examples=250, deadline=None)
@given(damage=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=12)), max_size=4), summed=st.booleans())
def test_damaged_bytes_stay_inside(damage: list[tuple[int, bytes]], summed: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    tar = bytearray(archive(header(b"d/", b"5"), pax({b"path": b"d/long"}), file(b"x", b"data"), header(b"l", b"2", link=b"d"), file(b"l/y")).getvalue())
    for at, data in damage:
        at %= len(tar) - len(data)
        tar[at : at + len(data)] = data
        if summed:
            # with a right checksum, so that what is behind it is reached
            start = at - at % 512
            block = bytes(tar[start : start + 512])
            tar[start + 148 : start + 156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    outcome(bytes(tar), tmp_path_factory.mktemp("fuzz"))


@settings(max_examples=100, deadline=None)
@given(
    blob=st.one_of(
        st.binary(max_size=600),
        st.sampled_from([b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\x00"]).flatmap(
            lambda magic: st.binary(max_size=300).map(lambda rest: magic + rest)
        ),
    )
)
def test_garbage_is_refused(blob: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    code = outcome(blob, tmp_path_factory.mktemp("fuzz"), apply_layer)
    assert code or not blob.strip(b"\0") or blob.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))

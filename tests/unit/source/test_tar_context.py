"""A tar as a context: its files are a context like any other, and it can't leave its directory."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from chandlery.errors import ContextError
from chandlery.source.context import LocalContext
from chandlery.source.tar_context import unpack_context


def tar(path: Path, *members: tuple[str, dict, bytes], packs: bool = False) -> str:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as writer:
        for name, fields, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.uid, member.gid = os.geteuid(), os.getegid()
            for field, content in fields.items():
                setattr(member, field, content)
            writer.addfile(member, io.BytesIO(data))
    path.write_bytes(gzip.compress(plain.getvalue()) if packs else plain.getvalue())
    return str(path)


@pytest.mark.parametrize("packs", [False, True])
def test_a_tar_gives_the_context_that_its_files_would(tmp_path: Path, packs: bool) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "e/d").mkdir(parents=True)
    (tmp_path / "e/d/f").write_text("1")
    (tmp_path / "e/d/f").chmod(0o644)
    (tmp_path / "e/d").chmod(0o755)
    root = unpack_context(
        tar(tmp_path / "t", ("d/", {"type": tarfile.DIRTYPE, "mode": 0o755}, b""), ("d/f", {"mode": 0o644}, b"1"), packs=packs), str(tmp_path / "c")
    )
    assert LocalContext(root).digest(("/",)) == LocalContext(str(tmp_path / "e")).digest(("/",))


def test_a_path_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    with pytest.raises(ContextError) as caught:
        unpack_context(tar(tmp_path / "t", ("../x", {}, b"1")), str(tmp_path / "a/b/c"))
    assert caught.value.code.startswith("archive.")
    assert not list(tmp_path.rglob("x"))


def test_a_link_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "a/b/c"
    inside.mkdir(parents=True)
    try:
        unpack_context(tar(tmp_path / "t", ("l", {"type": tarfile.SYMTYPE, "linkname": "../.."}, b""), ("l/x", {}, b"1")), str(inside))
    except ContextError:
        pass
    assert all(inside in path.parents for path in tmp_path.rglob("x"))


@pytest.mark.parametrize("data", [b"FROM scratch\n" * 100, b"\x1f\x8b\x08damaged"])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(ContextError) as caught:
        unpack_context(str(tmp_path / "t"), str(tmp_path / "c"))
    assert caught.value.code.startswith("archive.")

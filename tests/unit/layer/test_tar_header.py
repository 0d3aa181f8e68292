"""Headers at the edges of ustar: each form is read back by two readers."""

import io
import tarfile

import pytest

from chandlery.layer import tar_header
from chandlery.layer.tar_reader import TarReader


def read_back(blocks: bytes) -> tuple[tarfile.TarInfo, object]:
    with tarfile.open(fileobj=io.BytesIO(blocks + bytes(1024)), errors="surrogateescape") as tar:
        theirs = tar.next()
    assert theirs is not None
    return theirs, next(TarReader([blocks + bytes(1024)]).entries())


@pytest.mark.parametrize("length", [1, 99, 100, 101, 102, 155, 200, 255, 256, 257, 300, 1000, 4000])
@pytest.mark.parametrize("every", [7, 60, 120, 5000])
@pytest.mark.parametrize("slash", [b"", b"/"])
def test_names_of_any_length(length: int, every: int, slash: bytes) -> None:
    path = b"/".join(b"n" * min(every, length - at) for at in range(0, length, every + 1)) + slash
    blocks, _ = tar_header.header(path, tar_header.DIRECTORY if slash else tar_header.FILE, mode=0o644, uid=0, gid=0)
    theirs, ours = read_back(blocks)
    assert theirs.name == path.rstrip(b"/").decode()
    assert ours.path == path  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("field", "number"),
    [("uid", 0o7777777), ("uid", 0o10000000), ("gid", 0o10000000), ("size", 0o77777777777), ("size", 0o100000000000), ("mode", 0o7777)],
)
def test_numbers_at_their_limits(field: str, number: int) -> None:
    numbers = {"mode": 0o644, "uid": 0, "gid": 0, field: number}
    blocks, _ = tar_header.header(b"x", tar_header.FILE, **numbers)  # type: ignore[arg-type]
    theirs, ours = read_back(blocks)
    assert getattr(theirs, field) == getattr(ours, field) == number


@pytest.mark.parametrize("seconds", [-(1 << 40), -1, 0, 1, 1_700_000_000, 0o77777777777, 0o77777777777 + 1, 1 << 40])
def test_a_patched_time_keeps_the_checksum_right(seconds: int) -> None:
    blocks, checksum = tar_header.header(b"x", tar_header.FILE, mode=0o644, uid=0, gid=0)
    field, added = tar_header.mtime_patch(seconds)
    patched = blocks[: tar_header.MTIME_AT] + field + tar_header.checksum_field(checksum + added) + blocks[156:]
    theirs, ours = read_back(patched)
    assert int(theirs.mtime) == seconds
    assert ours.mtime_ns in (seconds * 10**9, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1, 80, 81, 82, 980, 981, 982, 983, 9_980, 70_000])
def test_a_records_length_counts_itself(size: int) -> None:
    blocks, _ = tar_header.header(b"x", tar_header.FILE, mode=0, uid=0, gid=0, xattrs={"user.a": bytes(range(256)) * (size // 256) + b"z" * (size % 256)})
    _, ours = read_back(blocks)
    assert len(ours.xattrs["user.a"]) == size  # type: ignore[attr-defined]

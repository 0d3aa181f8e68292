"""Tables of contents that somebody made to do harm: each is refused with a code, nothing is written outside, and the build goes on with one warning."""

import json
import os
import random
import resource
from types import SimpleNamespace

import pytest
import zstandard
from tests.fakes import packs
from tests.fakes.machine import KEY, Machine
from tests.fakes.packs import Forgery

from chandlery.errors import StoreError
from chandlery.volume import fetch, fetched_tree, pack, pack_reader, shared, table_check
from chandlery.volume.pack_reader import PackReader
from chandlery.volume.protocol import BlobStream
from chandlery.volume.remote_directory import DirectoryRemote

FILES = {"a/one.jar": b"1" * 9000, "a/two.jar": b"2" * 700, "b/big.bin": bytes(range(256)) * 2000}


@pytest.fixture
def forgery(tmp_path):
    return Forgery(str(tmp_path / "pack"), FILES)


@pytest.fixture
def remote(tmp_path):
    return DirectoryRemote(str(tmp_path / "share"), KEY)


def refused(forgery, **sealing):
    blob, ref = forgery.seal(**sealing)
    with pytest.raises(StoreError) as caught:
        pack.read_table(blob[ref.table_at :], ref)
    return caught.value.code


def first_piece(forgery, path):
    return forgery.row(path)["pieces"][0]


def test_a_table_as_it_was_written_is_read(forgery):
    blob, ref = forgery.seal()
    assert {entry.path for entry in pack.read_table(blob[ref.table_at :], ref).entries} == {"", "a", "b", *FILES}


BAD_PATHS = [
    "/etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    ".",
    "./x",
    "a//x",
    "a/",
    "a/./x",
    "x\0y",
    "a/%00",
    "%2e%2e/x",
    "a/" + "n" * 256,
    "a/" + "d/" * 1800 + "x",
    "a/\ud800",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_leads_out_or_can_not_be_is_refused(forgery, path):
    forgery.add_row("a/one.jar", path=path)
    assert refused(forgery) == "volume.bad-table"


@pytest.mark.parametrize("path", BAD_PATHS)
def test_such_a_directory_or_link_is_refused_as_well(forgery, path):
    forgery.row("a")["path"] = path
    assert refused(forgery) == "volume.bad-table"


def change(name, value, path="a/one.jar"):
    def apply(forgery):
        forgery.row(path)[name] = value

    return apply


def links_under(forgery):
    """A file below what the same table makes a symlink."""
    forgery.row("a").update(type="symlink", target="/etc")


def file_and_directory(forgery):
    forgery.add_row("a/two.jar", path="a/one.jar/inside", pieces=[], size=0)


def second_time(forgery):
    forgery.add_row("a/one.jar", mode=0o600)


def in_no_directory(forgery):
    forgery.add_row("a/one.jar", path="nowhere/x")


def rootless(forgery):
    forgery.document["entries"] = [row for row in forgery.document["entries"] if row["path"]]


def root_is_a_file(forgery):
    forgery.row("").update(type="file", sha256="0" * 64, pieces=[])


def same_bytes_twice(forgery):
    piece = first_piece(forgery, "a/one.jar")
    forgery.row("a/one.jar").update(size=18000, pieces=[piece, piece])


def another_file_s_bytes(forgery):
    forgery.row("a/two.jar").update(pieces=[[*first_piece(forgery, "a/one.jar")[:2], 700]])


def overlapping_frames(forgery):
    frames = forgery.document["frames"]
    frames[1][0] = frames[0][0] + 1


def frame_over_the_table(forgery):
    forgery.document["frames"][-1][1] += 9  # beyond the header of the skippable frame


def bomb_of_frames(forgery):
    """As many frames of a byte as there is room for, each promised to be as large as a frame may be."""
    forgery.document["frames"] = [[at, 1, 4 << 20] for at in range(len(forgery.frames))]
    forgery.row("a/one.jar").update(size=len(forgery.frames) * (4 << 20), pieces=[[at, 0, 4 << 20] for at in range(len(forgery.frames))])


def more_than_any_disk(forgery):
    forgery.frames = bytes(300_000)
    forgery.document["frames"] = [[at, 1, 4 << 20] for at in range(len(forgery.frames))]


def hard_link(target):
    def apply(forgery):
        forgery.row("a/one.jar").update(type="link", target=target)

    return apply


def negative_frame(forgery):
    forgery.document["frames"][0][0] = -5


def endless_frame(forgery):
    forgery.document["frames"][0][2] = 1 << 40


def fractional_frame(forgery):
    forgery.document["frames"][0][2] = 10.0


def piece_behind_its_frame(forgery):
    first_piece(forgery, "a/one.jar")[1] = 1 << 30


def piece_of_no_frame(forgery):
    first_piece(forgery, "a/one.jar")[0] = 99


def negative_piece(forgery):
    first_piece(forgery, "a/one.jar")[0] = -1


FORGERIES = [
    links_under,
    file_and_directory,
    second_time,
    in_no_directory,
    rootless,
    root_is_a_file,
    same_bytes_twice,
    another_file_s_bytes,
    overlapping_frames,
    frame_over_the_table,
    bomb_of_frames,
    more_than_any_disk,
    negative_frame,
    endless_frame,
    fractional_frame,
    piece_behind_its_frame,
    piece_of_no_frame,
    negative_piece,
    hard_link("/etc/passwd"),
    hard_link("../../x"),
    hard_link("a/nothing"),
    change("size", 1 << 60),
    change("size", -1),
    change("size", 9001),
    change("size", True),
    change("mode", 0o4755),
    change("mode", -1),
    change("mode", 0o3755),
    change("uid", 1 << 32),
    change("uid", (1 << 32) - 1),
    change("gid", -1),
    change("mtime_ns", 1 << 63),
    change("mtime_ns", -(1 << 70)),
    change("mtime_ns", 1.5),
    change("type", "device"),
    change("type", "symlink"),
    change("target", "/etc/passwd"),
    change("linked", "/etc/passwd"),
    change("linked", 7),
    change("sha256", "../../../etc/passwd"),
    change("sha256", ""),
    change("by", [1 << 63, packs.SLOT, 1]),
    change("by", [1, packs.SLOT, -1]),
    change("by", [1, "", 1]),
    change("by", [1, "x" * 5000, 1]),
    change("by", [1, ["w"], 1]),
    change("by", "by"),
    change("xattrs", {"trusted.overlay.opaque": "79"}),
    change("xattrs", {"user.overlay.whiteout": "79"}),
    change("xattrs", {"security.capability": "00"}),
    change("xattrs", {"user.\0": "00"}),
    change("xattrs", {"user.a": "00" * 70000}),
    change("xattrs", {f"user.{number}": "" for number in range(100)}),
    change("xattrs", []),
    change("pieces", None),
    change("pieces", [[0, 0]]),
    change("pieces", {"0": 1}),
    change("path", 7),
    change("path", None),
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: getattr(forge, "__qualname__", str(forge)).partition(".")[0])
def test_a_table_that_no_volume_has_is_refused(forgery, forge):
    forge(forgery)
    assert refused(forgery) == "volume.bad-table"


@pytest.mark.parametrize("target", ["", "x\0y", "t" * 5000])
def test_a_symlink_to_what_can_not_be_is_refused(forgery, target):
    forgery.document["entries"].append({"path": "a/link", "type": "symlink", "mode": 0o777, "mtime_ns": 0, "by": [1, packs.SLOT, 1], "target": target})
    assert refused(forgery) == "volume.bad-table"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "volume.bad-table"),
        (b"[" * 200_000, "volume.bad-table"),
        (b'{"format":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "volume.bad-table"),
        (b"\xff\xfe{}", "volume.bad-table"),
        (b'{"format": 1, "frames": [], "entries": [' + b"[]," * 9_000_000 + b"[]]}", "volume.bad-table"),
        (b'{"format": ' + b"9" * 5000 + b"}", "volume.bad-table"),
        (b"null", "volume.format"),
        (b'{"format": 2}', "volume.format"),
        (b'{"format": 1, "requires": ["chunks"], "frames": [], "entries": []}', "volume.format"),
        (b'{"format": 1, "frames": 1, "entries": []}', "volume.bad-table"),
        (b'{"format": 1, "frames": [], "entries": {"a": 1}}', "volume.bad-table"),
        (b'{"format": 1}', "volume.bad-table"),
    ],
    ids=[
        "empty",
        "deep",
        "deep-in-a-field",
        "not-utf-8",
        "nine-million-values",
        "huge-number",
        "null",
        "next-format",
        "unknown-feature",
        "frames",
        "entries",
        "bare",
    ],
)
def test_a_document_that_is_no_table_is_refused(forgery, document, code):
    assert refused(forgery, plain=document) == code


def test_too_many_entries_are_refused(forgery, monkeypatch):
    monkeypatch.setattr(table_check, "MAX_ENTRIES", 3)
    assert refused(forgery) == "volume.bad-table"


def test_a_table_that_expands_without_end_is_refused_before_memory_is_taken(forgery):
    blob, ref = forgery.seal(plain=b" " * (pack.MAX_PLAIN_TABLE_BYTES + 1))
    with pytest.raises(StoreError) as caught:
        pack.read_table(blob[ref.table_at :], ref)
    assert caught.value.code == "volume.bad-table"


def test_a_table_that_does_not_say_how_large_it_becomes_is_refused(forgery):
    assert refused(forgery, compressor=zstandard.ZstdCompressor(write_content_size=False)) == "volume.bad-table"


def test_a_frame_that_becomes_more_than_it_says_is_refused():
    honest = zstandard.ZstdCompressor().compress(b"x" * 4000)
    with pytest.raises(StoreError) as caught:
        pack.expand(honest, 3999)
    assert caught.value.code == "volume.bad-table"
    small = zstandard.ZstdCompressor().compress(b"x" * 200)
    # byte 5 of so small a frame is its content's size (RFC 8878, 3.1.1.1.4)
    assert small[5] == 200
    with pytest.raises(StoreError) as caught:
        pack.expand(small[:5] + bytes([100]) + small[6:], 1000)
    assert caught.value.code == "volume.bad-frame"


def test_a_frame_that_wants_a_huge_window_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = compressor.compress(os.urandom(1 << 20)) + compressor.flush()
    with pytest.raises(StoreError) as caught:
        pack.expand(frame, 1 << 30)
    assert caught.value.code in ("volume.bad-table", "volume.bad-frame")


def test_a_table_of_another_digest_is_not_even_parsed(forgery):
    blob, ref = forgery.seal()
    with pytest.raises(StoreError) as caught:
        pack.read_table(blob[ref.table_at :].replace(b"\0", b"\1"), ref)
    assert caught.value.code == "volume.bad-table"


# what a build sees of it


@pytest.fixture
def machine(tmp_path, remote):
    with Machine(tmp_path / "store", remote) as made:
        yield made


def test_a_hostile_pack_beside_honest_ones_costs_a_warning_and_nothing_else(tmp_path, remote, machine, forgery):
    links_under(forgery)
    packs.publish(remote, tmp_path, *forgery.seal(), slot="w2026-01-hostile")
    path = str(tmp_path / "honest")
    ref = packs.honest(path, {"ok/fine.jar": b"fine" * 100}, packs.Version(1, "w2026-01-honest", 1))
    with open(path, "rb") as file:
        packs.publish(remote, tmp_path, file.read(), ref, slot="w2026-01-honest")
    assert machine.sees() == {"ok/fine.jar": b"fine" * 100}
    assert len(machine.warnings) == 1
    assert "table of contents" in machine.warnings[0]


def test_a_table_that_disagrees_with_its_tar_is_what_counts(tmp_path, remote, machine, forgery):
    """Names, modes and links come from the table; the tar's own headers are read by nobody."""
    assert b"one.jar" in zstandard.ZstdDecompressor().decompressobj().decompress(forgery.frames)
    forgery.row("a/one.jar").update(path="a/renamed.jar", mode=0o600, mtime_ns=123_000_000_000)
    packs.publish(remote, tmp_path, *forgery.seal())
    assert sorted(machine.sees()) == ["a/renamed.jar", "a/two.jar", "b/big.bin"]
    assert machine.warnings == []
    entries = machine.entries()
    assert (entries["a/renamed.jar"].mode, entries["a/renamed.jar"].mtime_ns) == (0o600, 123_000_000_000)
    assert "a/one.jar" not in entries


def test_content_that_is_not_the_table_s_is_left_out_alone(tmp_path, remote, machine, forgery):
    forgery.row("a/two.jar")["sha256"] = "0" * 64
    packs.publish(remote, tmp_path, *forgery.seal())
    assert sorted(machine.sees()) == ["a/one.jar", "b/big.bin"]
    assert len(machine.warnings) == 1


def test_links_out_of_the_volume_stay_links_and_nothing_is_written_through_them(tmp_path, remote, machine, forgery):
    """One pack makes `a` a symlink to a directory of this machine; another has files below `a`."""
    outside = tmp_path / "outside"
    outside.mkdir()
    linked = Forgery(str(tmp_path / "linked"), {"z": b"z"})
    linked.document["entries"].append({"path": "a", "type": "symlink", "mode": 0o777, "mtime_ns": 0, "by": [9, "w2026-01-link", 1], "target": str(outside)})
    packs.publish(remote, tmp_path, *linked.seal(), slot="w2026-01-link")
    packs.publish(remote, tmp_path, *forgery.seal())
    assert machine.sees() == {"z": b"z", "a": str(outside), "b/big.bin": FILES["b/big.bin"]}
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("seed", range(6))
def test_random_changes_of_a_valid_pack_do_no_harm(tmp_path, seed):
    """600 mutations: what is read or fetched is right, or refused as ours; nothing appears outside of the target."""
    rng = random.Random(seed)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    directory = tmp_path / "inside" / "deep"
    directory.mkdir(parents=True)
    for number in range(100):
        forgery = Forgery(str(tmp_path / "pack"), FILES)
        for _ in range(rng.randint(1, 3)):
            mutate(rng, forgery)
        blob, ref = forgery.seal(plain=mutated_bytes(rng, json.dumps(forgery.document).encode()) if rng.random() < 0.3 else None)
        remote = Bytes(blob)
        reader = PackReader(remote, ref, str(tmp_path / "inside" / "deep" / "0.pack"))
        problems = pack_reader.read_tables([reader], most_bytes_whole=0)
        assert bool(reader.table) != bool(problems)
        if reader.table is not None:
            wanted = {entry.path: (entry, ref if entry.type is packs.EntryType.FILE else None) for entry in reader.table.entries}
            fetched = fetch.build_tree({ref: reader}, wanted, str(directory / str(number)))
            assert len(fetched.entries) <= len(wanted)
    assert sorted(os.listdir(tmp_path)) == ["inside", "pack"]
    assert os.listdir(tmp_path / "inside") == ["deep"]
    assert all(name.isdigit() or name == "0.pack" for name in os.listdir(directory))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kib + (256 << 10)


class Bytes:
    """A remote that is one blob."""

    name = "bytes"

    def __init__(self, blob):
        self.blob = blob

    def open_blob(self, digest, blob_bytes, start, size_bytes):
        return BlobStream(start, size_bytes, iter([self.blob[start : start + size_bytes]]))


ODD = [
    None,
    True,
    -1,
    0,
    1,
    7,
    1 << 31,
    1 << 32,
    1 << 63,
    1 << 64,
    1e300,
    float("nan"),
    "",
    ".",
    "..",
    "a/..",
    "/",
    "/etc",
    "a",
    "a/b",
    "x\0",
    "%",
    "%zz",
    "%2E",
    "\udc80",
    "é" * 200,
    [],
    {},
    [[]],
    {"a": 1},
    "link",
    "symlink",
    "dir",
    "file",
]


def mutate(rng, forgery):
    """Change something somewhere in the table, or a byte of the frames."""
    kind = rng.random()
    if kind < 0.1:
        at = rng.randrange(len(forgery.frames))
        forgery.frames = forgery.frames[:at] + bytes([rng.randrange(256)]) + forgery.frames[at + 1 :]
        return
    holder = forgery.document
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.85:
            holder = holder[key]
            continue
        break
    action = rng.random()
    if action < 0.15:
        del holder[key]
    elif action < 0.3 and isinstance(holder, list):
        holder.append(holder[key])
    elif action < 0.5 and type(holder[key]) is int:
        holder[key] += rng.choice((-1, 1, 512, 1 << 20))
    else:
        holder[key] = rng.choice(ODD)


def mutated_bytes(rng, plain):
    at = rng.randrange(len(plain))
    return plain[:at] + rng.choice((b"", b"[", b"{", b"\xff", b"9" * 30, b'"')) + plain[at + rng.randrange(2) :]


def test_what_this_disk_has_no_room_for_is_not_begun(tmp_path, remote, machine, forgery, monkeypatch):
    packs.publish(remote, tmp_path, *forgery.seal())
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=100, f_frsize=4096))
    assert machine.sees() == {}
    assert ["no room" in warning for warning in machine.warnings] == [True]


def test_a_full_disk_while_fetching_leaves_the_volume_as_it_was(tmp_path, remote, machine, forgery, monkeypatch):
    packs.publish(remote, tmp_path, *forgery.seal())
    monkeypatch.setattr(fetched_tree, "write_all", full)
    assert machine.sees() == {}
    assert len(machine.warnings) == 1
    monkeypatch.undo()
    assert shared.pull(machine.store, (remote,), KEY).warnings == ()
    assert sorted(machine.sees()) == sorted(FILES)


def full(*_):
    raise OSError(28, "No space left on device")

"""Packs and heads with whatever in them: made by the real writer, then changed and sealed again, so that every digest on the way is right."""

import copy
import hashlib
import io
import json
import os

import zstandard

from chandlery.oci.digest import from_hex
from chandlery.volume import pack, pack_writer, remote_head
from chandlery.volume.pack import PackRef
from chandlery.volume.remote_head import RemoteHead
from chandlery.volume.tree import Entry, EntryType, Version, VersionVector

SLOT = "w2026-01-other"
BY = VersionVector(((SLOT, 1),))


def entry(path: str, kind: EntryType = EntryType.FILE, *, size: int = 0, sha256: str = "", target: str = "", version: Version = Version(1, SLOT, 1)) -> Entry:
    mode = 0o755 if kind is EntryType.DIRECTORY else 0o644
    return Entry(path, kind, mode, os.getuid(), os.getgid(), 1_600_000_000_000_000_000, version, size, sha256, target)


def honest(path: str, files: dict[str, bytes], version: Version = Version(1, SLOT, 1)) -> PackRef:
    """Write a pack of `files`, with the directories above them, to `path`."""
    writer = pack_writer.Writer(path)
    directories = {""} | {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
    for name in sorted(directories, key=lambda name: (name.count("/"), name)):
        writer.add(entry(name, EntryType.DIRECTORY, version=version), None)
    for name, content in files.items():
        writer.add(entry(name, size=len(content), version=version), lambda content=content: io.BytesIO(content))
    return writer.finish(VersionVector(((version.slot, version.sequence),)))


class Forgery:
    """A pack whose table can be changed. `document` is the table; `seal` makes blob and reference agree with it."""

    def __init__(self, path: str, files: dict[str, bytes]) -> None:
        made = honest(path, files)
        with open(path, "rb") as file:
            whole = file.read()
        self.frames = whole[: made.table_at]
        self.document = json.loads(pack.expand(whole[made.table_at :], 1 << 24))
        self.by = made.by

    def row(self, path: str) -> dict:
        return next(row for row in self.document["entries"] if row["path"] == path)

    def add_row(self, like: str, **changes) -> None:
        self.document["entries"].append({**copy.deepcopy(self.row(like)), **changes})

    def seal(self, plain: bytes | None = None, *, compressor: zstandard.ZstdCompressor | None = None) -> tuple[bytes, PackRef]:
        table = (compressor or zstandard.ZstdCompressor()).compress(plain if plain is not None else json.dumps(self.document).encode())
        return self.seal_raw(table)

    def seal_raw(self, table: bytes) -> tuple[bytes, PackRef]:
        blob = self.frames + table
        digest = from_hex(hashlib.sha256(blob).hexdigest())
        return blob, PackRef(digest, len(blob), len(self.frames), len(table), hashlib.sha256(table).hexdigest(), self.by)


def publish(remote, directory, blob: bytes, ref: PackRef, *, slot: str = SLOT, **changes) -> None:
    """Show a forged pack under a head of its own; `changes` are those of the head."""
    path = os.path.join(str(directory), ref.digest.hex)
    with open(path, "wb") as file:
        file.write(blob)
    remote.put_blob(path, ref.digest, ref.size_bytes)
    head = RemoteHead(**{"vector": ref.by, "lamport": 1, "packs": (ref,), **changes})
    remote.put_head(slot, remote_head.encode(head), [(item.digest, item.size_bytes) for item in head.packs])

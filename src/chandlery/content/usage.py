"""What a store holds, thing by thing, with size, last use and whether anything needs it: the ground for `du` and for prune's decisions.

One thing is one row, so the sizes add up: a snapshot is listed once, under the name of the step that made it, however many records
stand on it. It was last used when the latest of those records was.
"""

import os
import time
from enum import StrEnum

from chandlery.content.references import digests_in, layers_of
from chandlery.content.session import live_leases
from chandlery.linux.disk_usage import tree_size
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from chandlery.content.database import Transaction
    from chandlery.content.layout import StoreLayout
    from chandlery.content.store import Store

# a blob that nothing refers to yet may be one that somebody is about to refer to
YOUNG_S = 600.0


class Kind(StrEnum):
    STEP = "step"
    SNAPSHOT = "snapshot"
    BLOB = "blob"
    VOLUME = "volume"
    LOG = "log"
    GIT = "git"
    IMAGE = "image"


@value
class UsageRow:
    """`id` is a snapshot id for steps and snapshots, else a digest, volume id, build id, mirror or image name. A step without files of its
    own has its record's key, and an image the size 0: its layers are listed by themselves. `is_in_use`: a running build or an image
    needs it. `is_shared`: it is part of an image."""

    kind: Kind
    id: str
    size_bytes: int
    created_at: float
    last_used_at: float
    is_in_use: bool
    is_shared: bool
    description: str


@value
class OnDisk:
    """What only the file system knows. Listing it takes a while, so it is done without the write lock, and is a little old when used."""

    blobs: dict[str, tuple[int, float]]
    logs: tuple[UsageRow, ...]
    mirrors: tuple[UsageRow, ...]


def usage(store: "Store") -> list[UsageRow]:
    """Everything in the store, most recently used last."""
    disk = list_disk(store.layout)
    with store.db.transaction(durable=False) as tx:
        rows = rows_of(tx, store.layout, disk, time.time())
    return sorted(rows, key=lambda row: (row.last_used_at, row.id))


def list_disk(layout: "StoreLayout") -> OnDisk:
    blobs = {f"sha256:{name}": (found.st_size, found.st_mtime) for name, found in _entries(layout.blobs + "/sha256")}
    logs = tuple(
        UsageRow(Kind.LOG, name.removesuffix(".log"), found.st_size, found.st_mtime, found.st_mtime, False, False, name)
        for name, found in _entries(layout.logs)
    )
    mirrors = tuple(
        UsageRow(Kind.GIT, name, _size(f"{layout.git}/{name}"), found.st_mtime, found.st_mtime, False, False, f"mirror {name}")
        for name, found in _entries(layout.git)
        if not name.endswith(".lock")
    )
    return OnDisk(blobs, logs, mirrors)


def rows_of(tx: "Transaction", layout: "StoreLayout", disk: OnDisk, now: float) -> list[UsageRow]:
    """All rows; exact about use for as long as the transaction lasts."""
    leases = live_leases(layout)
    images = _Images(tx)
    rows = [*_snapshots(tx, leases, images), *_blobs(tx, leases, images, disk, now), *_volumes(tx, leases, layout)]
    running = set(os.listdir(layout.builds))
    rows += [_as_in_use(row) if row.id in running else row for row in disk.logs]
    return [*rows, *disk.mirrors, *images.rows]


class _Images:
    """What images by name need: layers by diff id, and blobs. An image without a name is cache like any other: it keeps nothing."""

    def __init__(self, tx: "Transaction") -> None:
        self.diff_ids: set[str] = set()
        self.blobs: set[str] = set()
        self.rows: list[UsageRow] = []
        for name, config, manifest, layers, created, used in tx.execute(
            "SELECT name, config_digest, manifest_digest, layers, created_at, last_used_at FROM image"
        ):
            is_named = not name.startswith("sha256:")
            if is_named:
                self.diff_ids.update(diff_id for _, diff_id in layers_of(layers))
                self.blobs.update(digest for digest in (config, manifest) if digest)
            self.rows.append(UsageRow(Kind.IMAGE, name, 0, created, used, is_named, False, name))


def _snapshots(tx: "Transaction", leases: dict[str, set[str]], images: _Images) -> "Iterator[UsageRow]":
    rows = tx.execute("SELECT id, diff_id, size_bytes, created_at, last_used_at FROM snapshot").fetchall()
    by_diff_id: dict[str, list[str]] = {}
    for snapshot, diff_id, *_ in rows:
        by_diff_id.setdefault(diff_id, []).append(snapshot)
    used: dict[str, float] = {}
    names: dict[str, str] = {}
    held = set(leases["snapshot"])
    for key, layers, name, created, last_used in tx.execute("SELECT key, layers, name, created_at, last_used_at FROM step_record"):
        chain = layers_of(layers)
        stack = [[snapshot] if snapshot else by_diff_id.get(diff_id, []) for snapshot, diff_id in chain]
        for snapshot in (snapshot for alike in stack for snapshot in alike):
            used[snapshot] = max(used.get(snapshot, 0.0), last_used)
            if key in leases["record"]:
                held.add(snapshot)
        if chain and chain[-1][0]:
            names[chain[-1][0]] = name
        if not any(snapshot for snapshot, _ in chain):
            yield UsageRow(Kind.STEP, key, 0, created, last_used, key in leases["record"], False, name)
    for snapshot, diff_id, size, created, last_used in rows:
        kind = Kind.STEP if snapshot in names else Kind.SNAPSHOT
        is_shared = diff_id in images.diff_ids
        is_in_use = is_shared or snapshot in held
        yield UsageRow(kind, snapshot, size, created, max(last_used, used.get(snapshot, 0.0)), is_in_use, is_shared, names.get(snapshot, diff_id or ""))


def _blobs(tx: "Transaction", leases: dict[str, set[str]], images: _Images, disk: OnDisk, now: float) -> "Iterator[UsageRow]":
    used: dict[str, float] = {}
    names: dict[str, str] = {}
    shared = set(images.blobs)
    for digest, diff_id, media_type, last_used in tx.execute("SELECT digest, diff_id, media_type, last_used_at FROM layer_blob"):
        used[digest] = max(used.get(digest, 0.0), last_used)
        names[digest] = media_type
        if diff_id in images.diff_ids:
            shared.add(digest)
    for name, text, checked_at in tx.execute("SELECT name, value, checked_at FROM pin"):
        for digest in digests_in(text):
            used[digest] = max(used.get(digest, 0.0), checked_at)
            names.setdefault(digest, name)
    for digest, (size, written_at) in disk.blobs.items():
        is_shared = digest in shared
        is_young = digest not in used and abs(now - written_at) < YOUNG_S
        is_in_use = is_shared or is_young or digest in leases["blob"]
        yield UsageRow(Kind.BLOB, digest, size, written_at, max(used.get(digest, 0.0), written_at), is_in_use, is_shared, names.get(digest, "unreferenced"))


def _volumes(tx: "Transaction", leases: dict[str, set[str]], layout: "StoreLayout") -> "Iterator[UsageRow]":
    for volume, scope, name, created, last_used, size in tx.execute(
        "SELECT id, scope, name, volume.created_at, last_used_at, coalesce(size_bytes, 0) FROM volume"
        " LEFT JOIN volume_generation ON volume_id = id AND number = head"
    ):
        is_in_use = volume in leases["volume"] or _is_locked(f"{layout.volumes}/{volume}")
        yield UsageRow(Kind.VOLUME, volume, size, created, last_used, is_in_use, False, f"{name} ({scope})")


def _is_locked(directory: str) -> bool:
    """Whether a step has locked something in a volume's directory (layout.py)."""
    import fcntl

    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return False
    for name in names:
        try:
            fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False


def _as_in_use(row: UsageRow) -> UsageRow:
    return UsageRow(row.kind, row.id, row.size_bytes, row.created_at, time.time(), True, row.is_shared, row.description)


def _entries(directory: str) -> "Iterator[tuple[str, os.stat_result]]":
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def _size(path: str) -> int:
    try:
        return tree_size(path)
    except FileNotFoundError:  # removed while we looked
        return 0

"""Whether a store is what it claims to be: every row's files are there, every file's row too, every blob is what its name says.

Tests call it after everything they do to a store; a person calls it after a disk failed. Reads every blob.
"""

import os

from chandlery.content.references import layers_of
from chandlery.content.session import dead_sessions
from chandlery.errors import Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chandlery.content.store import Store


def verify(store: "Store") -> list[str]:
    """What is wrong, a sentence each; empty if nothing is. Builds may run meanwhile. Damaged blobs are removed, as on any read.

    Garbage, which a crash may leave and the next prune removes, is no problem: see `garbage`.
    """
    digests = [digest for digest, _ in store.blobs.walk()]
    return [*_bad_blobs(store, digests), *_bad_rows(store)]


def garbage(store: "Store") -> list[str]:
    """Paths of directories and files that no row names and no running build owns."""
    layout = store.layout
    with store.db.transaction(durable=False) as tx:
        known = {row[0] for row in tx.execute("SELECT id FROM snapshot")}
        found = [f"{layout.snapshots}/{name}" for name in os.listdir(layout.snapshots) if name not in known]
        found += [f"{layout.builds}/{name}" for name in dead_sessions(layout)]
    return found + [f"{layout.trash}/{name}" for name in os.listdir(layout.trash)]


def _bad_blobs(store: "Store", digests: "Sequence[str]") -> "Iterator[str]":
    for digest in digests:
        try:
            with store.blobs.open(digest) as reader:
                while reader.read(1 << 20):
                    pass
        except Lost as lost:
            if lost.code == "store.damaged-blob":
                yield f"blob {digest} is damaged"


def _bad_rows(store: "Store") -> "Iterator[str]":
    with store.db.transaction(durable=False) as tx:
        rows = tx.execute("SELECT id, diff_id FROM snapshot").fetchall()
        records = tx.execute("SELECT key, layers FROM step_record").fetchall()
        images = tx.execute("SELECT name, config_digest, manifest_digest, layers FROM image").fetchall()
        layer_blobs = tx.execute("SELECT diff_id, digest, size_bytes FROM layer_blob").fetchall()
        gone = {row[0] for row in rows if not os.path.isdir(store.layout.snapshot(row[0]))}
        missing = {digest for _, digest, _ in layer_blobs if not store.blobs.has(digest)}
        missing |= {digest for _, *pair, _ in images for digest in pair if digest and not store.blobs.has(digest)}
    snapshots = {row[0] for row in rows}
    layers_here = {row[1] for row in rows if row[1]} | {diff_id for diff_id, digest, _ in layer_blobs if digest not in missing}
    yield from (f"snapshot {snapshot} has no directory" for snapshot in gone)
    for key, layers in records:
        yield from (f"record {key} stands on snapshot {one}, which is gone" for one, _ in layers_of(layers) if one and one not in snapshots)
    yield from (f"layer {diff_id} names blob {digest}, which is gone" for diff_id, digest, _ in layer_blobs if digest in missing)
    for name, config, manifest, layers in images:
        yield from (f"image {name} names blob {digest}, which is gone" for digest in (config, manifest) if digest in missing)
        yield from (f"image {name} has layer {diff_id}, which is gone" for _, diff_id in layers_of(layers) if diff_id not in layers_here)

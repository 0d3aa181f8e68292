"""Layers whose files are linked from an earlier snapshot pack to the same bytes as layers that were copied."""

import os
from pathlib import Path

from chandlery.content.store import Store
from chandlery.graph.op import CopyAction, FileOp
from chandlery.layer.pack import tar_chunks
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.source.context import LocalContext
from chandlery.worker import manifest
from chandlery.worker.file_op import ContextInput, apply


def test_a_linked_layer_packs_as_a_copied_one(tmp_path: Path) -> None:
    context = tmp_path / "c"
    (context / "d").mkdir(parents=True)
    for name in ("a", "b", "d/c"):
        (context / name).write_text(name)
    op = FileOp((CopyAction(1, ("/",), "/t/"),))
    with Store.open(str(tmp_path / "R")) as store, store.begin() as session:
        snapshots = SnapshotStore(store)
        layers = []
        for previous in (None, "first"):
            looked = LocalContext(str(context))
            looked.digest(("/",))
            active = snapshots.prepare(session)
            before = layers[0] if previous else None
            report = apply(op, base=None, upper=active.upper, inputs={1: ContextInput(looked)}, previous=before, created_ns=0)
            path = snapshots.path(snapshots.commit(active, size_bytes=report.size_bytes))
            manifest.write(path, report.manifest)
            layers.append(path)
        assert os.stat(f"{layers[0]}/t/d/c").st_ino == os.stat(f"{layers[1]}/t/d/c").st_ino
        first, second = (b"".join(bytes(piece) for piece in tar_chunks(layer)) for layer in layers)
        assert first == second

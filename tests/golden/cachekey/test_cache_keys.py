"""The format of cache keys, for every operation and every kind of mount: NAME.json holds the document and its digest.

A key format is for ever. A change here makes every cache in the world miss: it needs a new CACHE_KEY_VERSION and a reason.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chandlery.graph.mount import BindMount, CacheMount, SecretMount, Sharing, TmpfsMount
from chandlery.graph.op import (
    ContextOp,
    CopyAction,
    ExecOp,
    FileOp,
    HttpOp,
    ImageOp,
    InlineFileAction,
    MakeDirAction,
    Network,
    Op,
    ScratchOp,
)
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import sha256
from chandlery.solver.cache_key import CacheKey, chain_keys, content_key

HERE = Path(__file__).parent
BASE = ImageOp("debian:12", sha256(b"manifest"), (sha256(b"layer 1"), sha256(b"layer 2")))
RUN = ExecOp(("/bin/sh", "-c", "make"), ("PATH=/bin", "VERSION=1"), "/src")


def execute(**changes: object) -> ExecOp:
    return ExecOp(**{"argv": RUN.argv, "env": RUN.env, "cwd": RUN.cwd, **changes})


OPERATIONS: dict[str, tuple[Op, tuple[Op, ...]]] = {
    "scratch": (ScratchOp(), ()),
    "image": (BASE, ()),
    "http": (HttpOp("https://example.com/a.tar", sha256(b"body"), "a.tar", 1700000000), ()),
    "exec": (RUN, (BASE,)),
    "exec-all-options": (execute(user="app:app", network=Network.NONE, hosts=(("db", "10.0.0.5"),), unkeyed_env=("HTTP_PROXY=http://p",)), (BASE,)),
    "exec-bind-stage": (execute(mounts=(BindMount("/in", 1, "/out", is_read_only=False),)), (BASE, RUN)),
    "exec-bind-context": (execute(mounts=(BindMount("/in", 1),)), (BASE, ContextOp(""))),
    "exec-cache": (execute(mounts=(CacheMount("/root/.m2", "m2"),)), (BASE,)),
    "exec-cache-all-options": (execute(mounts=(CacheMount("/c", "id", Sharing.LOCKED, True, 1, "/seed", 0o700, 1000, 100),)), (BASE, BASE)),
    "exec-tmpfs": (execute(mounts=(TmpfsMount("/tmp", 1 << 20),)), (BASE,)),
    "exec-secret-file": (execute(mounts=(SecretMount("token", "/run/secrets/token"),)), (BASE,)),
    "exec-secret-env": (execute(mounts=(SecretMount("token", "", "TOKEN", True, 0o440, 1, 2),)), (BASE,)),
    "copy-context": (FileOp((CopyAction(1, ("/src/*", "/pom.xml"), "/app/"),)), (BASE, ContextOp(""))),
    "copy-stage": (FileOp((CopyAction(1, ("/out",), "/app", "1000:1000", 0o755, allows_wildcards=False),)), (BASE, BASE)),
    "add-unpacks": (FileOp((CopyAction(1, ("/a.tar",), "/app/", unpacks=True),)), (BASE, ContextOp(""))),
    "heredoc": (FileOp((InlineFileAction("run.sh", b"#!/bin/sh\n", "/usr/bin/", "app", 0o755),)), (BASE,)),
    "workdir": (FileOp((MakeDirAction("/app", "app"),)), (BASE,)),
}


def key_of(op: Op, inputs: tuple[Op, ...]) -> CacheKey:
    """The chain key; inputs that need a base get BASE, and contexts have a digest."""
    vertices: list[Vertex] = [Vertex(BASE)]
    positions = []
    for source in inputs:
        if source != BASE:
            vertices.append(Vertex(source, (0,) if isinstance(source, ExecOp) else ()))
        positions.append(len(vertices) - 1 if source != BASE else 0)
    vertices.append(Vertex(op, tuple(positions)))
    digests = {(len(vertices) - 1, at): sha256(b"selected files") for at, source in enumerate(inputs) if isinstance(source, ContextOp)}
    key = chain_keys(Graph(tuple(vertices), ()), digests)[-1]
    assert key is not None
    return key


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_key_of_an_operation_is_its_golden_one(name: str, matches_golden: Callable[[Path, str], None]) -> None:
    key = key_of(*OPERATIONS[name])
    shown = {"digest": key.digest, "operation": key.op_digest, "document": json.loads(key.document)}
    matches_golden(HERE / f"{name}.json", json.dumps(shown, indent=1, ensure_ascii=False) + "\n")


def test_no_two_operations_share_a_key() -> None:
    keys = [key_of(*case).digest for case in OPERATIONS.values()]
    assert len(set(keys)) == len(keys)


def test_a_document_is_what_its_digest_is_of() -> None:
    key = key_of(*OPERATIONS["exec"])
    assert sha256(key.document) == key.digest


def test_what_must_not_count_does_not_count() -> None:
    key = key_of(RUN, (BASE,)).digest
    assert key_of(execute(unkeyed_env=("HTTP_PROXY=x",)), (BASE,)).digest == key
    one, other = (HttpOp(url, sha256(b"body"), "a.tar", 0) for url in ("https://one.example/a.tar", "https://other.example/a.tar"))
    assert key_of(one, ()).digest == key_of(other, ()).digest
    named = ImageOp("mirror.lan/debian:12", sha256(b"another manifest"), BASE.diff_ids)
    assert key_of(named, ()).digest == key_of(BASE, ()).digest


def test_a_content_key_names_what_is_read_by_content_and_the_rest_by_its_chain() -> None:
    vertex = Vertex(FileOp((CopyAction(1, ("/out",), "/app"),)), (0, 1))
    root = key_of(BASE, ())
    keys = [content_key(vertex, root, {1: sha256(content)}) for content in (b"a", b"a", b"b")]
    assert keys[0] == keys[1] != keys[2]
    assert json.loads(keys[0].document)["inputs"] == [{"chain": root.digest}, {"content": sha256(b"a")}]

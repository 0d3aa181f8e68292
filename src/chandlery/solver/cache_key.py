"""Cache keys: what makes two steps the same step (design.md section 4, dockerfile.md section 5).

A key is the sha256 of one canonical, versioned JSON document, and the document is kept beside the record so that a miss can be explained.
The format is for ever: golden files pin it, and a change to it is a new `CACHE_KEY_VERSION`.

    {"v": 1, "op": {"type": "exec", ...}, "inputs": [{"chain": key} | {"content": digest}, ...]}

Counted: the operation with its command, environment, working directory, user, network and hosts; in-scope ARG values (they are part of
the environment); what COPY, ADD and bind mounts select, by content where it is local, by the source's key where it is a stage; the options of
cache, secret and tmpfs mounts. Not counted: mtimes, values of secrets, content of caches, predefined proxy arguments, resource limits.
"""

from chandlery.errors import InternalError
from chandlery.graph.mount import BindMount, CacheMount, Mount, SecretMount, TmpfsMount
from chandlery.graph.op import (
    ContextOp,
    CopyAction,
    ExecOp,
    ExportOp,
    FileAction,
    FileOp,
    HttpOp,
    ImageOp,
    InlineFileAction,
    MakeDirAction,
    Op,
    ScratchOp,
)
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci import canonical
from chandlery.oci.digest import Digest, sha256
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CACHE_KEY_VERSION = 1


@value
class CacheKey:
    """`op_digest` names the operation without its inputs: steps that share it might have the same result."""

    digest: Digest
    document: bytes
    op_digest: Digest


def chain_keys(graph: Graph, context_digests: "Mapping[tuple[int, int], Digest]") -> "tuple[CacheKey | None, ...]":
    """The chain key of every vertex; None for local contexts, which only their consumers' selections give a content, and for exports.

    `context_digests` holds, for (vertex, input index), the digest of what the vertex selects of a local context.
    """
    keys: list[CacheKey | None] = []
    for vertex_id, vertex in enumerate(graph.vertices):
        if isinstance(vertex.op, ContextOp | ExportOp):
            keys.append(None)
            continue
        inputs = []
        for index, source in enumerate(vertex.inputs):
            source_key = keys[source]
            if source_key is not None:
                inputs.append({"chain": str(source_key.digest)})
            else:
                inputs.append({"content": str(context_digests[vertex_id, index])})
        keys.append(_key(vertex.op, inputs))
    return tuple(keys)


def content_key(vertex: Vertex, root: CacheKey | None, digests: "Mapping[int, Digest]") -> CacheKey:
    """The key of a vertex by the content of what it selects: `root` is the chain key of input 0, `digests` those of the other inputs."""
    inputs: list[dict[str, str]] = []
    for index in range(len(vertex.inputs)):
        if index in digests:
            inputs.append({"content": str(digests[index])})
        elif index == 0 and root is not None:
            inputs.append({"chain": str(root.digest)})
        else:
            raise InternalError(f"no digest for input {index} of {vertex.name}")
    return _key(vertex.op, inputs)


def _key(op: Op, inputs: list[dict[str, str]]) -> CacheKey:
    described = op_document(op)
    document = canonical.encode({"v": CACHE_KEY_VERSION, "op": described, "inputs": inputs})
    return CacheKey(sha256(document), document, _operation_digest(described))


def operation_digest(op: Op) -> Digest:
    """What steps share that do the same on whatever inputs."""
    return _operation_digest(op_document(op))


def _operation_digest(described: "dict[str, Any]") -> Digest:
    return sha256(canonical.encode({"v": CACHE_KEY_VERSION, "op": described}))


def op_document(op: Op) -> "dict[str, Any]":
    """The part of a key's document that describes the operation itself."""
    match op:
        case ScratchOp():
            return {"type": "scratch"}
        case ImageOp():
            return {"type": "image", "diff_ids": [str(diff_id) for diff_id in op.diff_ids]}
        case HttpOp():
            return {"type": "http", "digest": str(op.digest), "name": op.file_name, "mtime": op.mtime_s}
        case ExecOp():
            return {
                "type": "exec",
                "argv": list(op.argv),
                "env": list(op.env),
                "cwd": op.cwd,
                "user": op.user,
                "network": str(op.network),
                "hosts": [list(pair) for pair in op.hosts],
                "mounts": [_mount_document(mount) for mount in op.mounts],
            }
        case FileOp():
            return {"type": "file", "actions": [_action_document(action) for action in op.actions]}
    raise InternalError(f"{type(op).__name__} has no key")


def _mount_document(mount: Mount) -> "dict[str, Any]":
    match mount:
        case BindMount():
            return {"type": "bind", "target": mount.target, "input": mount.input, "source": mount.source, "ro": mount.is_read_only}
        case CacheMount():
            return {
                "type": "cache", "target": mount.target, "id": mount.id, "sharing": str(mount.sharing), "ro": mount.is_read_only, "input": mount.input,
                "source": mount.source, "mode": mount.mode, "uid": mount.uid, "gid": mount.gid,
            }  # fmt: skip
        case TmpfsMount():
            return {"type": "tmpfs", "target": mount.target, "size": mount.size_bytes}
        case SecretMount():
            return {
                "type": "secret", "id": mount.id, "target": mount.target, "env": mount.env, "required": mount.is_required, "mode": mount.mode,
                "uid": mount.uid, "gid": mount.gid,
            }  # fmt: skip


def _action_document(action: FileAction) -> "dict[str, Any]":
    match action:
        case CopyAction():
            return {
                "type": "copy", "input": action.input, "sources": list(action.sources), "target": action.target, "owner": action.owner, "mode": action.mode,
                "unpacks": action.unpacks, "wildcards": action.allows_wildcards,
            }  # fmt: skip
        case InlineFileAction():
            return {
                "type": "inline", "name": action.name, "data": str(sha256(action.data)), "target": action.target, "owner": action.owner, "mode": action.mode,
            }  # fmt: skip
        case MakeDirAction():
            return {"type": "mkdir", "path": action.path, "owner": action.owner}

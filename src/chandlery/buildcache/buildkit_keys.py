"""BuildKit's cache keys of our operations, so that a cache which one of the two builders wrote is found by the other.

BuildKit names an operation by the sha256 of a JSON document (solver/llbsolver/ops: "buildkit.exec.v0", "buildkit.file.v0", "buildkit.source.v0"), written by
Go's encoder: fields in the order of its structs, those without a value left out, <, > and & escaped. A record's name is sha256("<digest>@<output>"). What an
operation stands on isn't in its name: records are linked, an input by the record of its operation and a selector of the paths that are read, or by what these
paths contain. Tests compare with the real one. What can't be said in its terms has no key (None), and neither has what stands on it.

Pure, but for `contents`, which looks into local contexts.
"""

import json
from base64 import b64encode

from chandlery.graph.mount import BindMount, CacheMount, Mount, SecretMount, Sharing, TmpfsMount
from chandlery.graph.op import ContextOp, CopyAction, ExecOp, ExportOp, FileAction, FileOp, HttpOp, ImageOp, InlineFileAction, MakeDirAction, Network, ScratchOp
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import Digest, sha256
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from chandlery.oci.platform import Platform

    # (context's name, selected paths, whether the operation is a COPY) -> BuildKit's digest of them, "" where there is none
    Contents = Callable[[str, tuple[str, ...], bool], str]

_NETWORKS = {Network.HOST: 1, Network.NONE: 2}
_SECRET, _CACHE, _TMPFS = 1, 3, 4
_EMPTY = -1


@value
class Dependency:
    """What an operation needs of one input: a node (-1 for a local context, which has no name of its own), what is read of it, and what that contains."""

    node: int
    selector: str = ""
    content: str = ""


@value
class Node:
    """An operation as BuildKit's records name it; a base image has a name for its index and one for its manifest. `vertex` is ours, -1 for a part of one."""

    names: tuple[str, ...]
    dependencies: tuple[Dependency, ...] = ()
    vertex: int = -1


@value
class Surroundings:
    """What enters BuildKit's keys beside the graph. `tops` gives, for a base image's manifest, the index that its name led to; `has_usual_steps`: steps run
    without options (limits, shm size, host name) that would enter their keys."""

    platform: "Platform"
    tops: "Mapping[Digest, Digest]" = {}
    epoch_s: int | None = None
    has_usual_steps: bool = True


class Unsayable(Exception):
    """An operation that BuildKit has no equal of."""


def record_name(digest: str, output: int = 0) -> str:
    return str(sha256(f"{digest}@{output}".encode()))


class _Inputs:
    """The inputs of one operation in BuildKit's order, each once; the empty file system is none."""

    def __init__(self, names: "_Names") -> None:
        self._names = names
        self.vertices: list[int] = []
        self.selected: dict[int, list[str]] = {}
        self.unselected: set[int] = set()

    def index(self, vertex: int) -> int:
        vertex = self._names.canonical(vertex)
        if isinstance(self._names.op(vertex), ScratchOp):
            return _EMPTY
        if vertex not in self.vertices:
            self.vertices.append(vertex)
        return self.vertices.index(vertex)

    def select(self, index: int, path: str) -> None:
        self.selected.setdefault(index, []).append(path)


class _Names:
    def __init__(self, graph: Graph, surroundings: Surroundings, contents: "Contents") -> None:
        self._graph = graph
        platform = surroundings.platform
        self._surroundings = surroundings
        self._platform = {"OS": platform.os, "Arch": platform.architecture} | ({"Variant": platform.variant} if platform.variant else {})
        self._contents = contents
        self._same: dict[Vertex, int] = {}
        self.nodes: list[Node] = []
        self.of_vertex: dict[int, int] = {}

    def op(self, vertex: int) -> object:
        return self._graph.vertices[vertex].op

    def canonical(self, vertex: int) -> int:
        """The first vertex that does the same: inputs that are equal are one to BuildKit."""
        described = self._graph.vertices[vertex]
        return self._same.setdefault(Vertex(described.op, tuple(self.canonical(below) for below in described.inputs)), vertex)

    def add(self, vertex: int) -> None:
        try:
            node = self._node(self._graph.vertices[vertex], vertex)
        except (Unsayable, UnicodeEncodeError):
            return
        self.of_vertex[vertex] = self._put(node)

    def _put(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _node(self, vertex: Vertex, at: int) -> Node:
        match vertex.op:
            case ImageOp():
                tops = dict.fromkeys((self._surroundings.tops.get(vertex.op.manifest_digest, vertex.op.manifest_digest), vertex.op.manifest_digest))
                return Node(tuple(record_name(self._image(str(top))) for top in tops), (), at)
            case ExecOp():
                return self._exec(vertex, vertex.op, at)
            case FileOp():
                return self._file(vertex, vertex.op, at)
            case ScratchOp() | ContextOp() | HttpOp() | ExportOp():
                raise Unsayable(type(vertex.op).__name__)

    def _image(self, digest: str) -> str:
        """The name of a base image's source (source/containerimage, mainManifestKey)."""
        key = sha256(go_json({"Digest": digest, **self._platform}))
        return str(sha256(f"buildkit.source.v0:{key}".encode()))

    # RUN

    def _exec(self, vertex: Vertex, op: ExecOp, at: int) -> Node:
        if not self._surroundings.has_usual_steps:
            raise Unsayable("options")
        inputs = _Inputs(self)
        root = inputs.index(vertex.inputs[0])
        mounts = [_without_zero({"input": root, "dest": "/"})]
        if root != _EMPTY:
            inputs.select(root, "/")
        secrets, environment = [], []
        read: set[int] = set()
        for mount in op.mounts:
            if isinstance(mount, SecretMount):
                secrets += _secret_file(mount)
                environment += _secret_variable(mount)
            else:
                mounts.append(self._mount(vertex, mount, inputs, read))
        meta = _without_zero(
            {
                "args": list(op.argv), "env": list(op.env), "cwd": op.cwd, "user": op.user, "extraHosts": [{"Host": host} for host, _ in op.hosts],
                "removeMountStubsRecursive": True,
            }
        )  # fmt: skip
        # one mount alone, of the root, has never been counted
        counted = [*mounts, *secrets] if len(mounts) + len(secrets) > 1 else []
        network = _NETWORKS.get(op.network, 0)
        described = _without_zero({"meta": meta, "mounts": counted, "network": network, "secretenv": environment})
        name = record_name(str(sha256(go_json({"Type": "buildkit.exec.v0", "Exec": described, **self._platform}))))
        dependencies = []
        for index, source in enumerate(inputs.vertices):
            paths = inputs.selected[index]
            selector = str(sha256("\0".join(paths).encode()))
            dependencies.append(self._dependency(source, selector, tuple(paths) if index in read else (), is_copy=False))
        return Node((name,), tuple(dependencies), at)

    def _mount(self, vertex: Vertex, mount: Mount, inputs: _Inputs, read: set[int]) -> "dict[str, Any]":
        match mount:
            case BindMount():
                index = inputs.index(vertex.inputs[mount.input])
                if index != _EMPTY:
                    inputs.select(index, mount.source)
                    read.add(index)
                # a script from the Dockerfile has its directory named with a slash at the end
                target = f"{mount.target}/" if index != _EMPTY and _is_inline(self.op(inputs.vertices[index])) else mount.target
                return _without_zero({"input": index, "dest": target, "output": -1, "readonly": mount.is_read_only})
            case CacheMount():
                if mount.input is not None or mount.source != "/" or (mount.mode, mount.uid, mount.gid) != (0o755, 0, 0):
                    raise Unsayable("a cache mount with a seed")
                shown = {"input": _EMPTY, "dest": mount.target, "output": -1, "readonly": mount.is_read_only, "mountType": _CACHE}
                return {**_without_zero(shown), "cacheOpt": _cache_option(mount)}
            case TmpfsMount():
                shown = {"input": _EMPTY, "dest": mount.target, "output": -1, "mountType": _TMPFS}
                return {**shown, "TmpfsOpt": _without_zero({"size": mount.size_bytes})}
        raise Unsayable(type(mount).__name__)

    # COPY, ADD, WORKDIR

    def _file(self, vertex: Vertex, op: FileOp, at: int) -> Node:
        below = self.canonical(vertex.inputs[0])
        if not op.is_linked or isinstance(self.op(below), ScratchOp):
            return self._files_on(vertex.inputs[0], vertex, op, at)
        # a layer that is made on nothing, and laid upon what is below
        layer = self._put(self._files_on(None, vertex, op, -1))
        merged = sha256(go_json({"Type": "buildkit.merge.v0", "Merge": {"inputs": [{}, {"input": 1}]}}))
        return Node((record_name(str(merged)),), (self._dependency(below, "", (), is_copy=True), Dependency(layer)), at)

    def _files_on(self, below: int | None, vertex: Vertex, op: FileOp, at: int) -> Node:
        inputs = _Inputs(self)
        base = inputs.index(below) if below is not None else _EMPTY
        inputs.unselected.add(base)
        first = op.actions[0]
        if isinstance(first, InlineFileAction) and _is_inline(op) and not vertex.created_by and base == _EMPTY:
            return self._named_file((_inline_file(first, "/"),), [[_EMPTY, _EMPTY, 0]], (), at)
        parts: dict[int, Node] = {}
        described = []
        indexes: list[list[int]] = []
        for action in op.actions:
            document, second = self._action(vertex, action, inputs, parts)
            described.append(document)
            indexes.append([base, second, -1])
        for place in range(1, len(indexes)):
            indexes[place][0] = len(inputs.vertices) + place - 1
        indexes[-1][2] = 0
        dependencies = []
        for index, source in enumerate(inputs.vertices):
            if source in parts:
                paths = inputs.selected[index]
                dependencies.append(Dependency(self._put(parts[source]), _copy_selector(paths)))
            elif index in inputs.unselected or index not in inputs.selected:
                dependencies.append(self._dependency(source, "", (), is_copy=True))
            else:
                paths = inputs.selected[index]
                dependencies.append(self._dependency(source, _copy_selector(paths), tuple(paths), is_copy=True))
        return self._named_file(tuple(described), indexes, tuple(dependencies), at)

    def _named_file(self, actions: "tuple[dict[str, Any], ...]", indexes: list[list[int]], dependencies: tuple[Dependency, ...], at: int) -> Node:
        document: dict[str, Any] = {"Type": "buildkit.file.v0", "Actions": [b64encode(go_json(action)).decode() for action in actions]}
        if not _are_usual(indexes):
            document["indexes"] = indexes
        return Node((record_name(str(sha256(go_json(document)))),), dependencies, at)

    def _action(self, vertex: Vertex, action: FileAction, inputs: _Inputs, parts: dict[int, Node]) -> "tuple[dict[str, Any], int]":
        """An action's document, and the index of the input that it reads (-1: none)."""
        match action:
            case MakeDirAction():
                time_ns = -1 if self._surroundings.epoch_s is None else self._surroundings.epoch_s * 10**9
                shown = {"path": action.path, "mode": 0o755, "makeParents": True, "owner": _owner(action.owner), "timestamp": time_ns}
                return _without_zero(shown), _EMPTY
            case CopyAction():
                if not action.allows_wildcards or len(action.sources) != 1:
                    raise Unsayable("a copy of something else than paths")
                index = inputs.index(vertex.inputs[action.input])
                if index == _EMPTY:
                    raise Unsayable("a copy from nothing")
                inputs.select(index, action.sources[0])
                return _copy(action.sources[0], action.target, action.owner, action.mode, unpacks=action.unpacks), index
            case InlineFileAction():
                # a file that is written on an empty file system of its own, and copied from there
                part = self._named_file((_inline_file(action, "/", mode=0o644),), [[_EMPTY, _EMPTY, 0]], (), -1)
                marker = -2 - len(parts)
                parts[marker] = part
                inputs.vertices.append(marker)
                index = len(inputs.vertices) - 1
                inputs.select(index, f"/{action.name}")
                shown = {
                    "src": action.name.rpartition("/")[2], "dest": action.target, "owner": _owner(action.owner), "mode": _mode(action.mode),
                    "createDestPath": True, "timestamp": -1,
                }  # fmt: skip
                return _without_zero(shown), index

    def _dependency(self, source: int, selector: str, paths: tuple[str, ...], *, is_copy: bool) -> Dependency:
        op = self.op(source)
        if isinstance(op, ContextOp):
            content = self._contents(op.name, paths, is_copy) if paths else ""
            if not content:
                raise Unsayable("a local context whose digest isn't known")
            return Dependency(-1, "", record_name(content, -1))
        if source not in self.of_vertex:
            raise Unsayable("an input without a name")
        return Dependency(self.of_vertex[source], selector)


def name_operations(graph: Graph, surroundings: Surroundings, contents: "Contents") -> tuple[Node, ...]:
    """The operations of a graph that BuildKit has names for, inputs before what stands on them."""
    names = _Names(graph, surroundings, contents)
    for vertex in sorted(graph.needed()):
        if names.canonical(vertex) == vertex:
            names.add(vertex)
        elif names.canonical(vertex) in names.of_vertex:
            first = names.nodes[names.of_vertex[names.canonical(vertex)]]
            names.of_vertex[vertex] = names._put(Node(first.names, first.dependencies, vertex))
    return tuple(names.nodes)


def go_json(document: object) -> bytes:
    """JSON as Go's encoder writes it."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode()


def _without_zero(document: "dict[str, Any]") -> "dict[str, Any]":
    """Go's omitempty."""
    return {key: item for key, item in document.items() if item not in (0, "", None, []) and item is not False}


def _copy(source: str, target: str, owner: str, mode: int | None, *, unpacks: bool) -> "dict[str, Any]":
    shown = {
        "src": source.rpartition("/")[2] or "/",
        "dest": target,
        "owner": _owner(owner),
        "mode": _mode(mode),
        "followSymlink": True,
        "dirCopyContents": True,
        "attemptUnpackDockerCompatibility": unpacks,
        "createDestPath": True,
        "allowWildcard": True,
        "allowEmptyWildcard": True,
        "timestamp": -1,
    }
    return _without_zero(shown)


def _is_inline(op: object) -> bool:
    return isinstance(op, FileOp) and len(op.actions) == 1 and isinstance(op.actions[0], InlineFileAction)


def _inline_file(action: InlineFileAction, directory: str, *, mode: int | None = None) -> "dict[str, Any]":
    shown = {
        "path": directory + action.name, "mode": mode if mode is not None else action.mode, "data": b64encode(action.data).decode(), "timestamp": -1,
    }  # fmt: skip
    return _without_zero(shown)


def _mode(mode: int | None) -> int:
    return -1 if mode is None else mode


def _owner(text: str) -> "dict[str, Any] | None":
    if not text:
        return None
    user, colon, group = text.partition(":")
    return {"user": _one_owner(user)} | ({"group": _one_owner(group)} if colon and group else {})


def _one_owner(text: str) -> "dict[str, Any]":
    if text.isascii() and text.isdecimal():
        return {"User": {"byId": int(text)} if int(text) else {}}
    return {"User": {"byName": {"name": text}}}


def _copy_selector(paths: list[str]) -> str:
    return str(sha256("\0".join(sorted(paths, key=str.encode, reverse=True)).encode()))


def _cache_option(mount: CacheMount) -> "dict[str, Any]":
    """BuildKit counts a cache's name only where it is the usual one, with or without a namespace."""
    namespace, _, name = mount.id.partition("/")
    if mount.sharing is not Sharing.SHARED:
        return {}
    if mount.id == mount.target:
        return {"ID": f"/{mount.id}"}
    return {"ID": mount.id} if namespace and name == mount.target else {}


def _secret_file(mount: SecretMount) -> "list[dict[str, Any]]":
    if not mount.target:
        return []
    option = {"ID": mount.id, "uid": mount.uid, "gid": mount.gid, "mode": mount.mode, "optional": not mount.is_required}
    return [{"input": _EMPTY, "dest": mount.target, "mountType": _SECRET, "secretOpt": _without_zero(option)}]


def _secret_variable(mount: SecretMount) -> "list[dict[str, Any]]":
    if not mount.env:
        return []
    return [_without_zero({"ID": mount.id, "name": mount.env, "optional": not mount.is_required})]


def _are_usual(indexes: list[list[int]]) -> bool:
    """Whether BuildKit leaves the indexes of actions away (ops/file.go, isDefaultIndexes): as many inputs as actions, each on the one before."""
    for place, (first, second, output) in enumerate(indexes):
        if first != (0 if place == 0 else len(indexes) + place - 1) or second not in (-1, 1):
            return False
        if output != (0 if place == len(indexes) - 1 else -1):
            return False
    return True

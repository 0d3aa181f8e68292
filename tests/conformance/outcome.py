"""What a build made, as a document that can be compared and kept: the image's configuration, its history, and its tree where it isn't the base's."""

import functools
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

from tests.conformance.model import CONTEXT_TIMES_S

_OLD_S = 1_600_000_000
"""Times before this were somebody's: the context's, which differ from case to case, or else a time of its own; later ones are those of the build."""
_CONTAINER_FIELDS = ("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image")


@dataclass
class Node:
    kind: str
    mode: int
    owner: str
    detail: str
    mtime_s: int
    xattrs: tuple[tuple[str, str], ...]


Tree = dict[str, Node]


def outcome(archive: Path) -> dict[str, object]:
    """Read an image out of a docker or OCI archive."""
    with tarfile.open(archive) as opened:
        config, layers = _image(opened)
    runtime = {key: item for key, item in (config.get("config") or {}).items() if item not in (None, "", [], {}, False) and key not in _CONTAINER_FIELDS}
    base = _applied(layers[:1]) if _is_on_base(config) else {}
    return {
        "author": config.get("author", ""),
        "platform": f"{config['os']}",
        "config": runtime,
        "history": [_history(entry) for entry in config.get("history") or ()],
        "layers": len(layers),
        "tree": _difference(base, _applied(layers)),
    }


def _is_on_base(config: dict) -> bool:
    return any(entry.get("created_by", "").startswith("base ") for entry in (config.get("history") or ())[:1])


def _history(entry: dict[str, object]) -> str:
    return f"{'empty' if entry.get('empty_layer') else 'layer'} {entry.get('created_by', '')}"


def _image(archive: tarfile.TarFile) -> tuple[dict, tuple[bytes, ...]]:
    names = set(archive.getnames())

    def read(name: str) -> bytes:
        member = archive.getmember(name)
        while member.issym():
            member = archive.getmember(str((Path(member.name).parent / member.linkname).as_posix()).replace("/../", "/"))
        found = archive.extractfile(member)
        assert found is not None
        return found.read()

    if "index.json" in names:
        document = json.loads(read("index.json"))
        while "manifests" in document:
            document = json.loads(read(_blob(document["manifests"][0]["digest"])))
        return json.loads(read(_blob(document["config"]["digest"]))), tuple(read(_blob(layer["digest"])) for layer in document["layers"] or ())
    entry = json.loads(read("manifest.json"))[0]
    links = {member.name: member for member in archive.getmembers()}
    layers = []
    for name in entry["Layers"]:
        member = links[name]
        if member.issym():  # a layer that stands twice is a link to the first
            name = f"{member.linkname.removeprefix('../')}"
        layers.append(read(name))
    return json.loads(read(entry["Config"])), tuple(layers)


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _applied(layers: tuple[bytes, ...]) -> Tree:
    tree: Tree = {}
    for layer in layers:
        _apply(tree, _members(layer))
    return tree


@functools.lru_cache(maxsize=32)
def _members(layer: bytes) -> list[tuple[str, Node, str]]:
    """A layer's entries: path, node, and the path that it is a hard link to, or ""."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(layer)) as opened:
        for info in opened:
            path = info.name.strip("/").removeprefix("./")
            xattrs = tuple(sorted((key.removeprefix("SCHILY.xattr."), item) for key, item in info.pax_headers.items() if key.startswith("SCHILY.xattr.")))
            kind, detail = _content(opened, info)
            found.append(
                (path, Node(kind, info.mode & 0o7777, f"{info.uid}:{info.gid}", detail, int(info.mtime), xattrs), info.linkname if info.islnk() else "")
            )
    return found


def _content(opened: tarfile.TarFile, info: tarfile.TarInfo) -> tuple[str, str]:
    if info.isdir():
        return "directory", ""
    if info.issym():
        return "link", info.linkname
    if info.isreg():
        file = opened.extractfile(info)
        assert file is not None
        data = file.read()
        return "file", repr(data.decode("latin-1")) if len(data) <= 500 else f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
    if info.islnk():
        return "hard link", ""
    return {tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device"}[info.type], ""


def _apply(tree: Tree, members: list[tuple[str, Node, str]]) -> None:
    made: set[str] = set()
    for path, node, linked in members:
        parent, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            _remove_below(tree, parent, kept=made)
        elif name.startswith(".wh."):
            hidden = f"{parent}/{name[4:]}".lstrip("/")
            tree.pop(hidden, None)
            _remove_below(tree, hidden, kept=set())
        elif path not in ("", "."):
            if node.kind != "directory" or (path in tree and tree[path].kind != "directory"):
                _remove_below(tree, path, kept=set())
            tree[path] = tree[linked.strip("/").removeprefix("./")] if linked else replace(node)
            made.add(path)


def _remove_below(tree: Tree, path: str, *, kept: set[str]) -> None:
    for below in [other for other in tree if other.startswith(path + "/") and other not in kept]:
        del tree[below]


def _difference(base: Tree, tree: Tree) -> dict[str, str]:
    """The tree where it isn't the base's: a line for each path."""
    groups: dict[int, list[str]] = {}
    for path, node in tree.items():
        groups.setdefault(id(node), []).append(path)
    lines = {path: "gone" for path in base if path not in tree}
    base_groups: dict[int, list[str]] = {}
    for path, node in base.items():
        base_groups.setdefault(id(node), []).append(path)
    for path, node in tree.items():
        line = _line(node, groups[id(node)])
        if path not in base or line != _line(base[path], base_groups[id(base[path])]):
            lines[path] = line
    return dict(sorted(lines.items()))


def _time(mtime_s: int) -> str:
    if mtime_s >= _OLD_S:
        return "now"
    return "the context's time" if CONTEXT_TIMES_S.start <= mtime_s < CONTEXT_TIMES_S.stop else str(mtime_s)


def _line(node: Node, paths: list[str]) -> str:
    pieces = [node.kind, f"{node.mode:04o}" if node.kind != "link" else "", node.owner, node.detail]
    if node.kind != "directory":
        pieces.append("at " + _time(node.mtime_s))
    pieces += [f"{name}={item!r}" for name, item in node.xattrs]
    if len(paths) > 1:
        pieces.append("one file with " + " ".join(sorted(paths)))
    return " ".join(piece for piece in pieces if piece)

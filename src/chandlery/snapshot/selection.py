"""Which paths of a tree a COPY, ADD or bind mount selects, as BuildKit does it.

A source without wildcards names one path, and it must exist. A source with wildcards names whatever matches, also nothing: the part before the
first wildcard is resolved through symbolic links, the rest is matched name by name. A selected symbolic link stands for what it leads to,
inside the root, under its own name.
"""

from chandlery.errors import InputError
from chandlery.snapshot.globs import compile_component, has_wildcards
from chandlery.snapshot.tree import Match, clean, join, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.snapshot.tree import Tree


def select(tree: "Tree", pattern: str, *, allows_wildcards: bool = True) -> list[Match]:
    """The matches of one source pattern, sorted; raises InputError (code copy.missing-source) if a plain path isn't there."""
    parts = [part for part in clean(pattern).split("/") if part]
    wild = next((at for at, part in enumerate(parts) if has_wildcards(part)), len(parts)) if allows_wildcards else len(parts)
    fixed = "/".join(parts[:wild])
    if wild == len(parts):
        return [_followed(tree, fixed)]
    found = [resolve(tree, fixed)]
    for depth, part in enumerate(parts[wild:], wild):
        is_last = depth == len(parts) - 1
        found = [below for directory in found for below in _matching(tree, directory, part, is_last=is_last)]
    return [_followed(tree, path) for path in found]


def _matching(tree: "Tree", directory: str, part: str, *, is_last: bool) -> list[str]:
    entry = tree.lookup(directory)
    if entry is None or not entry.is_directory:
        return []
    matches = compile_component(part) if has_wildcards(part) else part.__eq__
    return [join(directory, below.name) for below in tree.entries(directory) if matches(below.name) and (is_last or below.is_directory)]


def _followed(tree: "Tree", path: str) -> Match:
    followed = resolve(tree, path)
    if tree.lookup(followed) is None:
        raise InputError(f"/{path} does not exist", code="copy.missing-source", hint="the path is looked for from the root of what is copied from")
    return Match(path.rpartition("/")[2], followed)

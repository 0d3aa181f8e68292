"""What a build knows -> BuildKit's cache document: for each step a record under our own key, and one under BuildKit's names, linked as BuildKit links them.

Pure. Ours is a record that stands on nothing, so BuildKit reads it and never asks for it; BuildKit's are found by both. Only records that lead to layers are
written. The same results give the same bytes.
"""

from chandlery.buildcache.buildkit_config import CacheConfig, CacheLayer, CacheRecord, CacheResult, Link
from chandlery.buildcache.buildkit_keys import Node
from chandlery.oci.digest import Digest
from chandlery.solver.cache_key import CacheKey
from chandlery.values import value


@value
class StepLayer:
    """One layer of a step's chain as a blob; `created` is the image history's time, RFC 3339 or ""."""

    blob: Digest
    created: str = ""


class _Document:
    def __init__(self) -> None:
        self.layers: list[CacheLayer] = []
        self.records: list[CacheRecord] = []
        self._layer_of: dict[CacheLayer, int] = {}
        self._root_of: dict[str, int] = {}

    def top(self, chain: tuple[StepLayer, ...]) -> int:
        at = -1
        for step in chain:
            layer = CacheLayer(step.blob, at, step.created)
            if layer not in self._layer_of:
                self._layer_of[layer] = len(self.layers)
                self.layers.append(layer)
            at = self._layer_of[layer]
        return at

    def add(self, record: CacheRecord) -> int:
        self.records.append(record)
        return len(self.records) - 1

    def root(self, name: str) -> int:
        """A record that stands on nothing and has no layers: an image, or what some files contain."""
        if name not in self._root_of:
            self._root_of[name] = self.add(CacheRecord(name))
        return self._root_of[name]

    def result(self, chain: tuple[StepLayer, ...] | None) -> tuple[CacheResult, ...]:
        return (CacheResult(self.top(chain), created=chain[-1].created),) if chain else ()


def describe(
    results: "dict[int, tuple[StepLayer, ...]]", keys: "tuple[CacheKey | None, ...]", nodes: tuple[Node, ...], *, layers: tuple[StepLayer, ...] = ()
) -> CacheConfig:
    """The document of these vertices' chains. `layers`, where given, come first and in their order: those of the image that will carry the records."""
    document = _Document()
    document.top(layers)
    for vertex, chain in sorted(results.items()):
        if (key := keys[vertex]) is not None and chain:
            document.add(CacheRecord(str(key.digest), (), document.result(chain)))
    wanted = _wanted(results, nodes)
    made: dict[int, tuple[int, ...]] = {}
    for at, node in enumerate(nodes):
        if at not in wanted:
            continue
        inputs: list[tuple[Link, ...]] = []
        for dependency in node.dependencies:
            if dependency.node < 0:
                inputs.append((Link(document.root(dependency.content)),))
            else:
                inputs.append(tuple(Link(record, dependency.selector) for record in made[dependency.node]))
        result = document.result(results.get(node.vertex))
        if inputs or result:
            made[at] = tuple(document.add(CacheRecord(name, tuple(inputs), result)) for name in node.names)
        else:
            made[at] = tuple(document.root(name) for name in node.names)
    return CacheConfig(tuple(document.layers), tuple(document.records))


def _wanted(results: "dict[int, tuple[StepLayer, ...]]", nodes: tuple[Node, ...]) -> set[int]:
    """The nodes that have layers, and those that they stand on."""
    wanted = {at for at, node in enumerate(nodes) if results.get(node.vertex)}
    for at in range(len(nodes) - 1, -1, -1):
        if at in wanted:
            wanted.update(dependency.node for dependency in nodes[at].dependencies if dependency.node >= 0)
    return wanted

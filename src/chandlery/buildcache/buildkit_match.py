"""Which records of a BuildKit cache are results of this build's steps: by our own keys, and by BuildKit's names followed from the base images upwards.

Pure. A record is a step's if it has the step's name and, input by input, may stand on what the step stands on. Nothing is followed through the document itself,
so whatever its links say, the work is bounded by this build's steps.
"""

from chandlery.buildcache.buildkit_config import CacheConfig, CacheRecord, CacheResult, Link
from chandlery.buildcache.buildkit_keys import Dependency, Node
from chandlery.oci.digest import Digest
from chandlery.solver.cache_key import CacheKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Matches:
    """`keys` are the build's chain keys, by vertex."""

    def __init__(self, config: CacheConfig, nodes: tuple[Node, ...], keys: "tuple[CacheKey | None, ...]") -> None:
        self._config = config
        self._by_name: dict[str, list[int]] = {}
        for at, record in enumerate(config.records):
            self._by_name.setdefault(record.digest, []).append(at)
        self._by_key: dict[Digest, list[int]] = {}
        found: list[set[int]] = []
        for node in nodes:
            same = {at for name in node.names for at in self._by_name.get(name, ()) if self._stands_on(config.records[at], node, found)}
            found.append(same)
            key = keys[node.vertex] if node.vertex >= 0 else None
            if key is not None:
                self._by_key.setdefault(key.digest, []).extend(sorted(same))

    def results(self, key: Digest) -> "Iterator[CacheResult]":
        """The results of a step, ours first."""
        for at in (*self._by_name.get(str(key), ()), *self._by_key.get(key, ())):
            yield from self._config.records[at].results

    def _stands_on(self, record: CacheRecord, node: Node, found: list[set[int]]) -> bool:
        if len(record.inputs) != len(node.dependencies):
            return False
        pairs = zip(record.inputs, node.dependencies, strict=True)
        return all(any(self._is_meant(link, dependency, found) for link in links) for links, dependency in pairs)

    def _is_meant(self, link: Link, dependency: Dependency, found: list[set[int]]) -> bool:
        if dependency.node >= 0 and link.selector == dependency.selector and link.record in found[dependency.node]:
            return True
        return bool(dependency.content) and not link.selector and self._config.records[link.record].digest == dependency.content

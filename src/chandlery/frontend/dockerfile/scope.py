"""`Scope`: what every instruction of one lowering shares: options, pins, global ARGs, the vertices made so far, what is still unpinned.

Vertices are hash-consed: the same operation on the same inputs is one vertex, so identical stages are built once.
"""

from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.excerpt import Misplaced, placed
from chandlery.frontend.dockerfile.lowered import ContextUse, LowerOptions, Pins, UrlReference
from chandlery.frontend.dockerfile.stage_state import StageState
from chandlery.frontend.dockerfile.words import Lex
from chandlery.graph.op import ContextOp, FileOp, Op, ScratchOp
from chandlery.graph.source_range import SourceRange
from chandlery.graph.vertex import Graph, Vertex
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Scope:
    def __init__(self, dockerfile: ins.Dockerfile, options: LowerOptions, pins: Pins) -> None:
        self.dockerfile = dockerfile
        self.options = options
        self.pins = pins
        self.build_args = dict(options.build_args)
        self.global_args: dict[str, str] = {}
        self.lex = Lex(dockerfile.escape)
        self.vertices: list[Vertex] = []
        self.unpinned_urls: dict[UrlReference, None] = {}
        self.declared: set[str] = set()
        self._ids: dict[tuple[Op, tuple[int, ...], bool], int] = {}
        self._uses: dict[str, set[str]] = {}

    def vertex(self, op: Op, inputs: tuple[int, ...] = (), *, state: StageState | None = None, name: str = "", created_by: str = "",
               source: SourceRange | None = None) -> int:  # fmt: skip
        """The id of the vertex that does `op` on `inputs`, made if there is none yet."""
        is_cache_ignored = state is not None and state.is_cache_ignored
        key = (op, inputs, is_cache_ignored)
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = len(self.vertices)
            stage = state.stage.name or str(state.stage.index) if state is not None and state.is_registered else ""
            self.vertices.append(Vertex(op, inputs, name, stage, source, created_by, is_cache_ignored))
        return found

    def at(self, source: SourceRange) -> "_Place":
        """A `with` block in which what is misplaced gets its place."""
        return _Place(self.dockerfile.text, source)

    def scratch(self) -> int:
        return self.vertex(ScratchOp(), name="scratch")

    def inline_file(self, op: FileOp) -> int:
        return self.vertex(op, (self.scratch(),), name="[internal] preparing inline document")

    def context(self, name: str = "") -> int:
        return self.vertex(ContextOp(name), name=f"[context {name}] load from client" if name else "[internal] load build context")

    def use_context(self, name: str, pattern: str) -> None:
        self._uses.setdefault(name, set()).add(pattern)

    def context_uses(self) -> tuple[ContextUse, ...]:
        return tuple(ContextUse(name, ("/",) if "/" in patterns else tuple(sorted(patterns))) for name, patterns in sorted(self._uses.items()))

    def expand(self, text: str, env: "Mapping[str, str]") -> str:
        return self.lex.word(text, env)

    def shown(self, text: str, env: "Mapping[str, str]", *, is_run: bool = False) -> str:
        """An instruction's text as progress shows it: the name in capitals, variables filled in."""
        lex = Lex(self.dockerfile.escape, keeps_quotes=True, keeps_escapes=True, keeps_unset=True) if is_run else self.lex
        try:
            text = lex.word(text, env)
        except Misplaced:
            pass
        name, blank, rest = text.partition(" ")
        return name.upper() + blank + rest

    def pruned(self, target: int) -> tuple[Graph, dict[int, int]]:
        """The graph of what `target` needs, and the new ids of the old ones."""
        needed = sorted(Graph(tuple(self.vertices), (target,)).needed())
        renumbered = {old: new for new, old in enumerate(needed)}
        vertices = tuple(replace(self.vertices[old], inputs=tuple(renumbered[item] for item in self.vertices[old].inputs)) for old in needed)
        return Graph(vertices, (renumbered[target],)), renumbered


class _Place:
    def __init__(self, text: str, source: SourceRange) -> None:
        self.text = text
        self.source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, failed: BaseException | None, trace: object) -> None:
        if isinstance(failed, Misplaced):
            raise placed(failed, self.text, self.source) from None

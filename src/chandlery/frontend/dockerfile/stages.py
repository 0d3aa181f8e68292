"""Stages and what they name: lookup by name or index, the target, dependencies, circles, and reachability.

`StageTable` holds the states of a lowering: the Dockerfile's stages in order, then the images and contexts that instructions name. It
answers by the rules of BuildKit: stage names are lower case, FROM compares them as written, COPY --from and --target in any case.
"""

from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.excerpt import Misplaced, placed, suggestion
from chandlery.frontend.dockerfile.stage_state import Command, StageState
from chandlery.frontend.dockerfile.words import Lex
from chandlery.graph.source_range import SourceRange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class StageTable:
    def __init__(self, dockerfile: ins.Dockerfile) -> None:
        self.dockerfile = dockerfile
        self.states: list[StageState] = []
        self._by_name: dict[str, StageState] = {}
        self._lex = Lex(dockerfile.escape)

    def add(self, state: StageState) -> None:
        self.states.append(state)
        state.base = self._by_name.get(state.base_name)
        if state.stage.name:
            self._by_name[state.stage.name] = state

    def target(self, name: str) -> StageState:
        """The stage that the request wants: by name in any case, or the last one; raises DockerfileError."""
        stages = [state for state in self.states if state.is_registered]
        if not name:
            return stages[-1]
        found = self._by_name.get(name.lower())
        if found is not None:
            return found
        known = [state.display_name for state in stages]
        hint = suggestion(name, known, f"there are: {', '.join(known)}")
        last = stages[-1].stage.source
        raise placed(Misplaced(f"there is no stage {name!r} to build", code="dockerfile.unknown-target", hint=hint), self.dockerfile.text, last)

    def command(self, instruction: ins.Instruction, *, is_trigger: bool = False) -> Command:
        """The instruction with the states that it names, added where they are new; raises Misplaced."""
        if isinstance(instruction, ins.Copy) and instruction.origin:
            return Command(instruction, (self._copy_origin(instruction),), is_trigger)
        if isinstance(instruction, ins.Run):
            sources = tuple(self._named(origin or "scratch", instruction.source) for origin in instruction.mount_froms)
            return Command(instruction, sources, is_trigger)
        return Command(instruction, (), is_trigger)

    def attach(self, state: StageState, commands: "Iterable[Command]") -> bool:
        """Note what `commands` make `state` depend on; True where one names a stage or image at all."""
        names_any = False
        for command in commands:
            for source in command.sources:
                names_any = True
                state.dependencies.append((source, command.instruction.source))
                if source not in self.states:
                    self.add(source)
        return names_any

    def _copy_origin(self, copy: ins.Copy) -> StageState:
        origin = copy.origin
        if self._lex.word(origin, {}) != origin:
            name = "".join(char for char in origin if char not in "${}'\"")
            hint = f"name it first: FROM {origin} AS cache, with ARG {name} before the first FROM, then COPY --from=cache"
            raise Misplaced(f"--from={origin} can't be a variable", code="dockerfile.variable-in-from", hint=hint, token=f"--from={origin}")
        digits = origin[1:] if origin[:1] in ("+", "-") else origin
        if not (digits.isascii() and digits.isdigit()):
            return self._named(origin, copy.source)
        if not 0 <= int(origin) < len(self.states):
            count = sum(state.is_registered for state in self.states)
            hint = f"stages have the indexes 0 to {count - 1}"
            raise Misplaced(f"there is no stage {origin}", code="dockerfile.unknown-stage", hint=hint, token=f"--from={origin}")
        return self.states[int(origin)]

    def _named(self, name: str, source: SourceRange) -> StageState:
        found = self._by_name.get(name.lower())
        if found is not None:
            return found
        return StageState(ins.Stage(source, "", 0, name, "", "", ()), name, is_registered=False)

    def refuse_circles(self) -> None:
        """Raise DockerfileError where stages copy from each other in a circle."""
        done: set[int] = set()
        for state in self.states:
            circle = _circle(state, done)
            if circle:
                (first, place), *_ = circle
                names = " -> ".join(item.display_name for item, _ in (*circle, circle[0]))
                hint = "move what both need into a stage of its own"
                token = f"from={first.display_name}" if len(circle) == 1 else f"from={circle[1][0].display_name}"
                error = Misplaced(f"stages depend on each other in a circle: {names}", code="dockerfile.circular", hint=hint, token=token)
                raise placed(error, self.dockerfile.text, place)

    def known_names(self) -> list[str]:
        return [state.display_name for state in self.states if state.is_registered]


def _circle(start: StageState, done: set[int]) -> list[tuple[StageState, SourceRange]]:
    """The states of a circle that `start` leads into, each with the instruction that leads on; [] without one. Depth first, without recursion."""
    path: list[tuple[StageState, SourceRange]] = []
    waiting = [(start, iter(start.dependencies))] if id(start) not in done else []
    while waiting:
        state, dependencies = waiting[-1]
        done.add(id(state))
        del path[len(waiting) - 1 :]
        following = next(dependencies, None)
        if following is None:
            waiting.pop()
            continue
        path.append((state, following[1]))
        for at, (earlier, _) in enumerate(path):
            if earlier is following[0]:
                return path[at:]
        if id(following[0]) not in done:
            waiting.append((following[0], iter(following[0].dependencies)))
    return []


def reachable(target: StageState) -> list[StageState]:
    """The states that the target needs, itself included, each once."""
    found: dict[int, StageState] = {}
    waiting = [target]
    while waiting:
        state = waiting.pop()
        if id(state) in found:
            continue
        found[id(state)] = state
        if state.base is not None:
            waiting.append(state.base)
        waiting.extend(dependency for dependency, _ in state.dependencies)
    return list(found.values())

"""`parse`: a Dockerfile's text -> the `Dockerfile` value. Pure.

Two passes, so that errors come in the order in which BuildKit finds them: first every line's syntax (its words, pairs or JSON), then
every instruction's own rules. The words of an instruction are split here; expansion is lowering's.
"""

from chandlery.errors import DockerfileError
from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.excerpt import Misplaced, placed
from chandlery.frontend.dockerfile.flags import BLANKS, split_command
from chandlery.frontend.dockerfile.lines import LogicalLine, Reader, json_strings, read
from chandlery.frontend.dockerfile.mount_flag import FALSE_WORDS, TRUE_WORDS
from chandlery.frontend.dockerfile.parse_instruction import Node, build
from chandlery.frontend.dockerfile.words import SPACE
from chandlery.graph.source_range import SourceRange
from chandlery.values import replace

_SPACES = frozenset(SPACE)


def parse(text: str, *, file: str = "Dockerfile") -> ins.Dockerfile:
    """The Dockerfile that `text` is; `file` is its name in messages. Raises DockerfileError and nothing else."""
    reader = Reader(text, file)
    nodes = [_placed_node(line, reader.escape, text) for line in reader.lines()]
    _refuse_bad_check(reader.directives.get("check", "").partition(" ")[0], text, file)
    global_args: list[ins.Arg] = []
    stages: list[ins.Stage] = []
    for node in nodes:
        try:
            built = build(node, len(stages))
            if isinstance(built, ins.Stage):
                stages.append(built)
            elif stages:
                stages[-1] = replace(stages[-1], instructions=(*stages[-1].instructions, built))
            elif isinstance(built, ins.Arg):
                global_args.append(built)
            else:
                hint = "only ARG, comments and directives may stand before the first FROM"
                raise Misplaced(f"{node.name.upper()} stands before the first FROM", code="dockerfile.no-stage", hint=hint)
        except Misplaced as failed:
            raise placed(failed, text, node.line.source) from None
    if not stages:
        nothing = Misplaced("the Dockerfile has no stage to build", code="dockerfile.no-stage", hint="it needs at least one FROM")
        raise placed(nothing, text, nodes[-1].line.source)
    empty = tuple(node.line.source.end_line for node in nodes if node.line.has_empty_continuation)
    directives = reader.directives
    syntax = directives.get("syntax", "").partition(" ")[0]
    return ins.Dockerfile(file, text, reader.escape, syntax, directives.get("check", ""), tuple(global_args), tuple(stages), empty)


def _refuse_bad_check(check: str, text: str, file: str) -> None:
    """Raise DockerfileError where the # check directive isn't skip=..., experimental=... or error=..., separated by semicolons."""
    for option in check.strip(SPACE).split(";", 2) if check else ():
        name, equals, item = option.partition("=")
        name, item = name.strip(SPACE), item.strip(SPACE)
        if equals and (name in ("skip", "experimental") or (name == "error" and item in TRUE_WORDS | FALSE_WORDS)):
            continue
        line = next(number for number, row in enumerate(text.split("\n"), 1) if option in row)
        hint = "write # check=skip=RuleName,OtherRule;error=true"
        raise placed(Misplaced(f"{option!r} is no check option", code="dockerfile.directive", hint=hint, token=option), text, SourceRange(file, line))


def parse_trigger(expression: str, source: SourceRange) -> ins.Instruction:
    """The instruction of an ONBUILD trigger; `source` is the FROM that it runs at. Raises Misplaced."""
    try:
        lines = read(expression, source.file)
        if len(lines.lines) != 1:
            raise Misplaced("an ONBUILD trigger must be one instruction", code="dockerfile.onbuild")
        line = replace(lines.lines[0], source=source)
        built = build(_node(line, lines.escape), 0)
    except DockerfileError as failed:
        hint = failed.hint or "the image was built with an instruction that can't be understood"
        raise Misplaced(f"in the base image's ONBUILD {expression!r}: {failed.message}", code=failed.code, hint=hint) from None
    if isinstance(built, ins.Stage):
        raise Misplaced(f"the base image's ONBUILD {expression!r} holds a FROM", code="dockerfile.onbuild", hint="use another base image")
    return built


def _placed_node(line: LogicalLine, escape: str, text: str) -> Node:
    try:
        return _node(line, escape)
    except Misplaced as failed:
        raise placed(failed, text, line.source) from None


def _node(line: LogicalLine, escape: str) -> Node:
    name, flags, rest = split_command(line.text, escape)
    args, is_json = _arguments(name.lower(), rest, escape)
    return Node(line, name, flags, args, is_json, rest)


def _arguments(name: str, rest: str, escape: str) -> tuple[tuple[str, ...], bool]:
    """The arguments of an instruction, and whether they came as JSON."""
    match name:
        case "run" | "cmd" | "entrypoint" | "shell":
            return _maybe_json(rest)
        case "add" | "copy" | "volume":
            strings = json_strings(rest)
            return (_blank_separated(rest), False) if strings is None else (strings, True)
        case "expose" | "from":
            return _blank_separated(rest), False
        case "env" | "label":
            return _pairs(rest, name.upper(), escape), False
        case "arg":
            return tuple(raw_words(rest, escape)), False
        case "healthcheck":
            return _healthcheck(rest)
        case "onbuild":
            return _trigger(rest, escape), False
        case _:
            return ((rest,) if rest else ()), False


def _maybe_json(rest: str) -> tuple[tuple[str, ...], bool]:
    strings = json_strings(rest)
    if strings is None:
        return ((rest,) if rest else ()), False
    return strings, True


def _blank_separated(rest: str) -> tuple[str, ...]:
    return tuple(BLANKS.split(rest)) if rest else ()


def _healthcheck(rest: str) -> tuple[tuple[str, ...], bool]:
    """The type, and its command as a string or JSON."""
    end = next((at for at, char in enumerate(rest) if char in _SPACES), len(rest))
    if end == 0:
        return (), False
    words, is_json = _maybe_json(rest[end:].lstrip(SPACE))
    return (rest[:end], *words), is_json


def _trigger(rest: str, escape: str) -> tuple[str, ...]:
    """The name of the triggered instruction, whose own syntax is checked on the way."""
    if not rest:
        return ()
    name, _, inner = split_command(rest, escape)
    _arguments(name.lower(), inner, escape)
    return (name,)


def _pairs(rest: str, name: str, escape: str) -> tuple[str, ...]:
    """The keys and values, alternating, of ENV and LABEL: `k=v k=v`, or the old form `k the rest is the value`."""
    words = raw_words(rest, escape)
    if not words:
        return ()
    if "=" not in words[0]:
        old = BLANKS.split(rest, maxsplit=1)
        if len(old) < 2:
            raise Misplaced(f"{name} {old[0]} lacks a value", hint=f"write {name} {old[0]}=VALUE", token=old[0])
        return (old[0], old[1])
    for word in words:
        if "=" not in word:
            hint = f'write name=value; a value with blanks needs quotes: {name} name="a b"'
            raise Misplaced(f"{word!r} has no =", hint=hint, token=word)
    return tuple(part for word in words for part in word.split("=", 1))


def raw_words(rest: str, escape: str) -> list[str]:
    """Words separated by blanks outside quotes; quotes and escapes are kept, for expansion to resolve."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    is_open = False
    chars = iter(range(len(rest)))
    for at in chars:
        char = rest[at]
        if not quote and char in _SPACES:
            if is_open:
                words.append("".join(word))
            word, is_open = [], False
            continue
        if char == escape and quote != "'":
            if at + 1 == len(rest):
                continue
            word += (char, rest[at + 1])
            next(chars)
        else:
            if quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            word.append(char)
        is_open = True
    if is_open:
        words.append("".join(word))
    return words

"""One instruction's own rules: a `Node` (name, flags, split arguments) -> the instruction's value.

What a flag or argument must look like before anything is expanded is checked here; the rest waits until lowering knows the variables.
"""

import re

from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.duration import parse_ns
from chandlery.frontend.dockerfile.excerpt import Misplaced, suggestion
from chandlery.frontend.dockerfile.flags import Flags, read_flags
from chandlery.frontend.dockerfile.lines import Heredoc, LogicalLine, heredoc_of
from chandlery.frontend.dockerfile.mount_flag import origin_of
from chandlery.frontend.dockerfile.words import SPACE
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
_ONBUILD = re.compile(r"[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*", re.IGNORECASE)


@value
class Node:
    line: LogicalLine
    name: str
    flags: tuple[str, ...]
    args: tuple[str, ...]
    is_json: bool
    rest: str

    @property
    def text(self) -> str:
        return self.line.text.strip(SPACE)


def build(node: Node, stage_index: int) -> "ins.Instruction | ins.Stage":
    """The instruction (or, for FROM, the stage with this index, still empty) that a node is; raises Misplaced."""
    if node.name.lower() == "from":
        return _from(node, stage_index)
    builder = _BUILDERS.get(node.name.lower())
    if builder is None:
        known = [*(name.upper() for name in _BUILDERS), "FROM"]
        hint = suggestion(node.name, known, f"known ones: {', '.join(sorted(known))}")
        raise Misplaced(f"unknown instruction {node.name!r}", code="dockerfile.unknown-instruction", hint=hint, token=node.name)
    return builder(node)


def _from(node: Node, index: int) -> ins.Stage:
    name = ""
    if len(node.args) == 3 and node.args[1].lower() == "as":
        name = node.args[2].lower()
        if _STAGE_NAME.fullmatch(name) is None:
            hint = "a name starts with a letter and holds letters, digits, - _ and ."
            raise Misplaced(f"{node.args[2]!r} can't be a stage's name", code="dockerfile.stage-name", hint=hint, token=node.args[2])
    elif len(node.args) != 1:
        raise Misplaced("FROM takes an image, and perhaps AS and a name", hint="write FROM image, or FROM image AS name")
    flags = read_flags(node.flags, texts=("platform",))
    return ins.Stage(node.line.source, node.text, index, node.args[0], name, flags.text("platform"), ())


def _one(node: Node) -> str:
    if len(node.args) != 1:
        raise Misplaced(f"{node.name.upper()} takes exactly one argument", hint=f"write {node.name.upper()} VALUE")
    return node.args[0]


def _some(node: Node) -> tuple[str, ...]:
    if not node.args:
        raise Misplaced(f"{node.name.upper()} needs at least one argument")
    return node.args


def _arg(node: Node) -> ins.Arg:
    declarations = []
    for word in _some(node):
        key, equals, default = word.partition("=")
        if not key:
            raise Misplaced("the name of an ARG is blank", hint="write ARG name, or ARG name=value", token=word)
        declarations.append(ins.Declaration(key, default if equals else None))
    return ins.Arg(node.line.source, node.text, tuple(declarations))


def _pairs(node: Node) -> tuple[ins.KeyValue, ...]:
    read_flags(node.flags)
    args = _some(node)
    for key, item in zip(args[::2], args[1::2], strict=True):
        if not key:
            raise Misplaced(f"a name of {node.name.upper()} is blank", hint="write name=value", token="=" + item)
    return tuple(ins.KeyValue(key, item) for key, item in zip(args[::2], args[1::2], strict=True))


def _env(node: Node) -> ins.Env:
    return ins.Env(node.line.source, node.text, _pairs(node))


def _label(node: Node) -> ins.Label:
    return ins.Label(node.line.source, node.text, _pairs(node))


def _maintainer(node: Node) -> ins.Maintainer:
    name = _one(node)
    read_flags(node.flags)
    return ins.Maintainer(node.line.source, node.text, name)


def _run(node: Node) -> ins.Run:
    flags = read_flags(node.flags, texts=("network", "security"), lists=("mount", "device"))
    network, security = flags.text("network", "default"), flags.text("security", "sandbox")
    if network not in ("default", "none", "host"):
        hint = suggestion(network, ("default", "none", "host"), "use default, none or host")
        raise Misplaced(f"{network!r} is no network mode", code="dockerfile.network", hint=hint, token=f"--network={network}")
    if security not in ("sandbox", "insecure"):
        raise Misplaced(f"{security!r} is no security mode", code="dockerfile.security", hint="use sandbox", token=f"--security={security}")
    mounts = flags.all("mount")
    origins = tuple(origin_of(mount) for mount in mounts)
    args, heredocs = node.args, node.line.heredocs
    return ins.Run(node.line.source, node.text, args, not node.is_json, heredocs, mounts, origins, network, security, flags.all("device"))


def _cmd(node: Node) -> ins.Cmd:
    read_flags(node.flags)
    return ins.Cmd(node.line.source, node.text, node.args, not node.is_json)


def _entrypoint(node: Node) -> ins.Entrypoint:
    read_flags(node.flags)
    return ins.Entrypoint(node.line.source, node.text, node.args, not node.is_json)


def _copy(node: Node) -> ins.Copy:
    flags = read_flags(node.flags, texts=("chown", "from", "chmod"), switches=("link", "parents"), lists=("exclude",))
    sources, inline, target = _sources(node)
    return ins.Copy(
        node.line.source, node.text, False, sources, inline, target,
        origin=flags.text("from"), owner=flags.text("chown"), mode=flags.text("chmod"), is_linked=flags.is_on("link"),
        excludes=flags.all("exclude"), keeps_parents=flags.is_on("parents"),
    )  # fmt: skip


def _add(node: Node) -> ins.Copy:
    switches = ("link", "keep-git-dir", "unpack")
    flags = read_flags(node.flags, texts=("chown", "chmod", "checksum"), switches=switches, lists=("exclude",))
    sources, inline, target = _sources(node)
    return ins.Copy(
        node.line.source, node.text, True, sources, inline, target,
        owner=flags.text("chown"), mode=flags.text("chmod"), is_linked=flags.is_on("link"), excludes=flags.all("exclude"),
        checksum=flags.text("checksum"), unpacks=flags.switch("unpack"), keeps_git_dir=flags.switch("keep-git-dir"),
    )  # fmt: skip


def _sources(node: Node) -> tuple[tuple[str, ...], tuple[ins.InlineFile, ...], str]:
    name = node.name.upper()
    if len(node.args) < 2:
        raise Misplaced(f"{name} needs a source and a destination", hint=f"write {name} SOURCE... DESTINATION")
    *sources, target = node.args
    if _heredoc(target) is not None:
        raise Misplaced(f"{name} can't have a heredoc for its destination", code="dockerfile.heredoc", hint="put the destination last", token=target)
    contents = {heredoc.name: heredoc for heredoc in node.line.heredocs}
    paths, inline = [], []
    for source in sources:
        heredoc = _heredoc(source)
        if heredoc is None:
            paths.append(source)
            continue
        filled = contents.get(heredoc.name, heredoc)
        data = replace(filled, chomps=heredoc.chomps).chomped
        inline.append(ins.InlineFile(heredoc.name, data, heredoc.expands))
    return tuple(paths), tuple(inline), target


def _heredoc(word: str) -> Heredoc | None:
    try:
        return heredoc_of(word)
    except Misplaced:
        return None


def _expose(node: Node) -> ins.Expose:
    ports = _some(node)
    read_flags(node.flags)
    return ins.Expose(node.line.source, node.text, tuple(sorted(ports)))


def _healthcheck(node: Node) -> ins.Healthcheck:
    kind, *words = _some(node)
    kind = kind.upper()
    if kind == "NONE":
        if words:
            raise Misplaced("HEALTHCHECK NONE takes no arguments", hint="write HEALTHCHECK NONE")
        return ins.Healthcheck(node.line.source, node.text, ("NONE",))
    flags = read_flags(node.flags, texts=("interval", "timeout", "start-period", "start-interval", "retries"))
    if kind != "CMD":
        raise Misplaced(f"HEALTHCHECK {kind} is unknown", hint="write HEALTHCHECK CMD command, or HEALTHCHECK NONE", token=node.args[0])
    if not words:
        raise Misplaced("HEALTHCHECK CMD lacks its command", hint="write HEALTHCHECK CMD command")
    test = ("CMD" if node.is_json else "CMD-SHELL", *words)
    return ins.Healthcheck(
        node.line.source, node.text, test,
        _interval(flags, "interval"), _interval(flags, "timeout"), _interval(flags, "start-period"), _interval(flags, "start-interval"), _retries(flags),
    )  # fmt: skip


def _interval(flags: Flags, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    duration = parse_ns(text)
    if duration is None:
        raise Misplaced(f"{text!r} is no duration", code="dockerfile.duration", hint="write 30s, 1m30s or 500ms", token=f"--{name}={text}")
    if duration != 0 and duration < 1_000_000:
        raise Misplaced(f"--{name} can't be less than 1ms", code="dockerfile.duration", hint="write 30s, 1m30s or 500ms", token=f"--{name}={text}")
    return duration


def _retries(flags: Flags) -> int:
    text = flags.text("retries")
    if not text:
        return 0
    if re.fullmatch(r"[+-]?[0-9]+", text) is None or not 0 <= int(text) < 2**31:
        raise Misplaced(f"{text!r} is no number of retries", hint="write --retries=3", token=f"--retries={text}")
    return int(text)


def _onbuild(node: Node) -> ins.OnBuild:
    trigger = _some(node)[0].strip(SPACE).upper()
    read_flags(node.flags)
    if trigger in ("ONBUILD", "MAINTAINER", "FROM"):
        hint = "a trigger is any instruction but FROM, MAINTAINER and ONBUILD"
        raise Misplaced(f"ONBUILD {trigger} isn't allowed", code="dockerfile.onbuild", hint=hint)
    expression = _ONBUILD.sub("", node.line.text, count=1)
    for heredoc in node.line.heredocs:
        expression += f"\n{heredoc.content}{heredoc.name}"
    return ins.OnBuild(node.line.source, node.text, expression)


def _shell(node: Node) -> ins.Shell:
    read_flags(node.flags)
    if not node.args:
        raise Misplaced("SHELL needs at least one argument", hint='write SHELL ["/bin/sh", "-c"]')
    if not node.is_json:
        raise Misplaced("SHELL must be in exec form", code="dockerfile.json", hint='write SHELL ["/bin/sh", "-c"]', token=node.rest)
    return ins.Shell(node.line.source, node.text, node.args)


def _stop_signal(node: Node) -> ins.StopSignal:
    return ins.StopSignal(node.line.source, node.text, _one(node))


def _user(node: Node) -> ins.User:
    name = _one(node)
    read_flags(node.flags)
    return ins.User(node.line.source, node.text, name)


def _volume(node: Node) -> ins.Volume:
    paths = tuple(path.strip(SPACE) for path in _some(node))
    read_flags(node.flags)
    if "" in paths:
        raise Misplaced("a VOLUME's path is empty", hint="write VOLUME /path")
    return ins.Volume(node.line.source, node.text, paths)


def _workdir(node: Node) -> ins.WorkDir:
    path = _one(node)
    read_flags(node.flags)
    return ins.WorkDir(node.line.source, node.text, path)


_BUILDERS: "dict[str, Callable[[Node], ins.Instruction]]" = {
    "add": _add, "arg": _arg, "cmd": _cmd, "copy": _copy, "entrypoint": _entrypoint, "env": _env, "expose": _expose,
    "healthcheck": _healthcheck, "label": _label, "maintainer": _maintainer, "onbuild": _onbuild, "run": _run, "shell": _shell,
    "stopsignal": _stop_signal, "user": _user, "volume": _volume, "workdir": _workdir,
}  # fmt: skip

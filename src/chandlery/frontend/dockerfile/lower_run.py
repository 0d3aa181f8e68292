"""RUN -> an ExecOp: its command (heredocs and shebangs included), environment, mounts and network.

Mounts are sorted by target, so that their order in the Dockerfile says nothing and a mount stands before those inside it.
"""

from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.container_path import clean, join, rooted
from chandlery.frontend.dockerfile.excerpt import Misplaced
from chandlery.frontend.dockerfile.lines import heredoc_of
from chandlery.frontend.dockerfile.lower_metadata import with_shell
from chandlery.frontend.dockerfile.mount_flag import MountFlag, read_mount
from chandlery.frontend.dockerfile.scope import Scope
from chandlery.frontend.dockerfile.stage_state import SCRATCH, StageState
from chandlery.frontend.dockerfile.words import SPACE
from chandlery.graph.mount import BindMount, CacheMount, Mount, SecretMount, Sharing, TmpfsMount
from chandlery.graph.op import ExecOp, FileOp, InlineFileAction, Network

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_PIPES = "/dev/pipes"


class _Inputs:
    """The inputs of the vertex being made: the stage's own file system first, others once each."""

    def __init__(self, first: int) -> None:
        self.ids = [first]

    def index(self, vertex: int) -> int:
        if vertex not in self.ids[1:]:
            self.ids.append(vertex)
        return self.ids.index(vertex, 1)


def lower_run(state: StageState, run: ins.Run, sources: tuple[StageState, ...], scope: Scope) -> None:
    """Append the step that `run` is to the stage; raises Misplaced."""
    _refuse_unsupported(run)
    inputs = _Inputs(state.vertex)
    flags = [read_mount(text, lambda word: scope.expand(word, state.env)) for text in run.mounts]
    argv, mounts, summary = _command(state, run, inputs, scope)
    if not argv:
        raise Misplaced("RUN has no command", hint='write RUN command, or RUN ["program", "argument"]')
    for flag, text, source in zip(flags, run.mounts, sources, strict=True):
        mounts.append(_mount(state, flag, text, source, inputs, scope))
    network = Network(run.network)
    op = ExecOp(
        argv=argv,
        env=tuple(f"{key}={item}" for key, item in state.env.items()),
        cwd=clean(state.work_dir),
        user=state.runtime("User") or "",
        network=scope.options.network if network is Network.DEFAULT else network,
        mounts=tuple(sorted(mounts, key=lambda mount: mount.target)),
        hosts=scope.options.hosts,
        unkeyed_env=proxy_env(scope, state),
    )
    masked = {**state.env, **{flag.env: "****" for flag in flags if flag.type == "secret" and flag.env is not None}}
    name = state.step_name(scope.shown(run.text + summary, masked, is_run=True))
    created_by = f"RUN {_history(state, argv)} # buildkit"
    state.vertex = scope.vertex(op, tuple(inputs.ids), state=state, name=name, created_by=created_by, source=run.source)
    state.record(created_by, vertex=state.vertex)


def _refuse_unsupported(run: ins.Run) -> None:
    if run.security == "insecure":
        raise _later("--security=insecure", "remove the flag: steps run confined")
    if run.devices:
        raise _later("--device", "remove the flag")


def _later(what: str, hint: str) -> Misplaced:
    return Misplaced(f"{what} is left to a later release", code="dockerfile.unsupported", hint=hint, token=what)


def _command(state: StageState, run: ins.Run, inputs: _Inputs, scope: Scope) -> tuple[tuple[str, ...], list[Mount], str]:
    """The command line, the mount that its script needs, and what progress says of its heredoc."""
    if not run.heredocs:
        return (with_shell(state, run.words) if run.is_shell_form else run.words), [], ""
    line = run.words[0]
    first = run.heredocs[0]
    if heredoc_of(line) is None:
        whole = line + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in run.heredocs)
        return with_shell(state, (whole,)), [], ""
    summary = f" ({_summary(first.content)})"
    script = first.chomped
    if not script.startswith("#!"):
        return with_shell(state, (script,)), [], summary
    action = InlineFileAction(first.name, script.encode("utf-8", "surrogateescape"), "/", mode=0o755)
    mount = BindMount(_PIPES, inputs.index(scope.inline_file(FileOp((action,)))))
    return with_shell(state, (join(_PIPES, first.name),)), [mount], summary


def _summary(content: str) -> str:
    lines = content.strip(SPACE).replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")


def _history(state: StageState, argv: tuple[str, ...]) -> str:
    """The command as history shows it, the stage's ARGs before it ("|1 A=b /bin/sh -c ...")."""
    shown: dict[str, str] = {}
    for arg in state.args:
        shown[arg.key] = f"{arg.key}={state.env.get(arg.key, arg.value or '')}"
    return " ".join((*((f"|{len(shown)}", *shown.values()) if shown else ()), *argv))


def proxy_env(scope: Scope, state: StageState) -> tuple[str, ...]:
    """The proxy variables of the request, in both cases, where the stage did not declare them itself: they don't enter the key."""
    given = {key.lower(): item for key, item in sorted(scope.build_args.items()) if key.lower() in _PROXIES}
    names: list[tuple[str, str]] = []
    for lower in _PROXIES:
        if lower in given:
            names += [(lower.upper(), given[lower]), (lower, given[lower])]
    return tuple(f"{name}={item}" for name, item in names if name not in state.env)


def _mount(state: StageState, flag: MountFlag, text: str, source: StageState, inputs: _Inputs, scope: Scope) -> Mount:
    if flag.type == "ssh":
        raise Misplaced("ssh mounts are left to a later release", code="dockerfile.unsupported", hint="lend a key as a secret instead", token=text)
    if flag.type == "secret":
        return _secret(state, flag)
    target = _target(state, flag, text)
    if flag.type == "tmpfs":
        return TmpfsMount(target, flag.size_bytes)
    if flag.type == "cache":
        return _cache(flag, target, source, inputs, scope)
    if not flag.origin:
        scope.use_context("", rooted(flag.source))
        return BindMount(target, inputs.index(scope.context()), rooted(flag.source), flag.is_read_only)
    return BindMount(target, inputs.index(origin_vertex(flag.origin, flag.source, source, scope)), rooted(flag.source), flag.is_read_only)


def _target(state: StageState, flag: MountFlag, text: str) -> str:
    target = clean(flag.target)
    if not target.startswith("/"):
        target = join("/", state.work_dir, flag.target)
    if target == "/":
        hint = "write target=/path" if not flag.target else "mount at a directory below it"
        raise Misplaced("a mount can't cover the whole file system", code="dockerfile.bad-mount", hint=hint, token=text)
    return target


def _secret(state: StageState, flag: MountFlag) -> SecretMount:
    name = flag.source or flag.id or clean(flag.target).rpartition("/")[2]
    target = flag.target
    if not target and flag.env is None:
        target = "/run/secrets/" + clean(name).rpartition("/")[2]
    if target:
        target = join("/", target if target.startswith("/") else join(state.work_dir, target))
    if target == "/":
        raise Misplaced("a secret can't cover the whole file system", code="dockerfile.bad-mount", hint="write target=/path", token="target=")
    mode = 0o400 if flag.mode is None else flag.mode
    return SecretMount(name, target, flag.env or "", flag.is_required, mode, flag.uid or 0, flag.gid or 0)


def _cache(flag: MountFlag, target: str, source: StageState, inputs: _Inputs, scope: Scope) -> CacheMount:
    """A directory's mode and owner count only where the whole volume is mounted, as in BuildKit."""
    namespace = scope.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
    name = flag.id or clean(flag.target)
    seed = None
    if flag.origin and flag.origin != SCRATCH:
        seed = inputs.index(origin_vertex(flag.origin, flag.source, source, scope))
    path = rooted(flag.source)
    is_whole = path == "/"
    return CacheMount(
        target, f"{namespace}/{name}" if namespace else name, Sharing(flag.sharing or "shared"), flag.is_read_only, seed, path,
        mode=flag.mode if is_whole and flag.mode is not None else 0o755,
        uid=flag.uid or 0 if is_whole else 0,
        gid=flag.gid or 0 if is_whole else 0,
    )  # fmt: skip


def origin_vertex(name: str, path: str, source: StageState, scope: Scope) -> int:
    """The vertex that --from=NAME means, its path noted where it is a local context; raises Misplaced where it isn't built yet."""
    if not source.is_done:
        hint = "move that stage before this one"
        raise Misplaced(f"the stage {name!r} is used before it is built", code="dockerfile.stage-order", hint=hint, token=f"from={name}")
    if source.context is not None and source.context.kind == "local":
        scope.use_context(source.context_name, rooted(path))
    return source.source_vertex

"""Instructions that change only the image's configuration (and, for WORKDIR, one directory): their effect on a stage's state."""

from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.container_path import clean, work_dir
from chandlery.frontend.dockerfile.duration import format_ns
from chandlery.frontend.dockerfile.excerpt import Misplaced, suggestion
from chandlery.frontend.dockerfile.expose import ports_of
from chandlery.frontend.dockerfile.go_text import plain_list, quoted_list
from chandlery.frontend.dockerfile.scope import Scope
from chandlery.frontend.dockerfile.stage_state import StageState
from chandlery.graph.op import FileOp, MakeDirAction
from chandlery.values import replace

_NOT_IN_ENV = frozenset(("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"))
_SIGNALS = frozenset((
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT",
    "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    "RTMIN", "RTMAX",
))  # fmt: skip


def with_shell(state: StageState, words: tuple[str, ...]) -> tuple[str, ...]:
    """A shell-form command as the stage's SHELL runs it."""
    return (*(state.runtime("Shell") or ("/bin/sh", "-c")), " ".join(words))


def apply_arg(state: StageState, arg: ins.Arg, scope: Scope) -> None:
    shown = []
    for declaration in arg.declarations:
        key = declaration.key
        scope.declared.add(key)
        item = declaration.value
        if key in scope.build_args:
            item = scope.build_args[key]
        elif item is not None:
            item = scope.expand(item, state.env)
        else:
            item = scope.global_args.get(key)
        if item is not None and key not in _NOT_IN_ENV:
            state.set_env(key, item)
        state.args.append(ins.Declaration(key, item))
        shown.append(key if item is None else f"{key}={item}")
    state.record("ARG " + " ".join(shown))


def apply_env(state: StageState, env: ins.Env, scope: Scope) -> None:
    pairs = _expanded(env.pairs, state, scope)
    image_env = list(state.runtime("Env") or ())
    for key, item in pairs:
        state.set_env(key, item)
        place = next((at for at, old in enumerate(image_env) if old.partition("=")[0] == key), len(image_env))
        image_env[place : place + 1] = [f"{key}={item}"]
    state.set_runtime(Env=image_env)
    state.record("ENV" + "".join(f" {key}={item}" for key, item in pairs))


def apply_label(state: StageState, label: ins.Label, scope: Scope) -> None:
    pairs = _expanded(label.pairs, state, scope)
    state.set_runtime(Labels={**(state.runtime("Labels") or {}), **dict(pairs)})
    state.record("LABEL" + "".join(f" {key}={item}" for key, item in pairs))


def _expanded(pairs: tuple[ins.KeyValue, ...], state: StageState, scope: Scope) -> list[tuple[str, str]]:
    """All of an instruction's pairs with the variables as they were before it."""
    return [(scope.expand(pair.key, state.env), scope.expand(pair.value, state.env)) for pair in pairs]


def apply_maintainer(state: StageState, maintainer: ins.Maintainer) -> None:
    state.config = replace(state.config, author=maintainer.name)
    state.record(f"MAINTAINER {maintainer.name}")


def apply_cmd(state: StageState, cmd: ins.Cmd) -> None:
    words = with_shell(state, cmd.words) if cmd.is_shell_form else cmd.words
    state.has_cmd = True
    state.set_runtime(Cmd=list(words), ArgsEscaped=True)
    state.record(f"CMD {quoted_list(words)}")


def apply_entrypoint(state: StageState, entrypoint: ins.Entrypoint) -> None:
    """A new ENTRYPOINT drops the CMD that the stage inherited, which was meant for another one."""
    words = with_shell(state, entrypoint.words) if entrypoint.is_shell_form else entrypoint.words
    state.set_runtime(Entrypoint=list(words))
    if not state.has_cmd:
        state.set_runtime(Cmd=None)
    state.record(f"ENTRYPOINT {quoted_list(words)}")


def apply_healthcheck(state: StageState, check: ins.Healthcheck) -> None:
    times = (
        ("Interval", check.interval_ns), ("Timeout", check.timeout_ns), ("StartPeriod", check.start_period_ns),
        ("StartInterval", check.start_interval_ns),
    )  # fmt: skip
    document = {"Test": list(check.test), **dict(times), "Retries": check.retries}
    state.set_runtime(Healthcheck={name: item for name, item in document.items() if item})
    shown = " ".join(f"{name}:{format_ns(duration)}" for name, duration in times)
    state.record(f"HEALTHCHECK {{Test:{plain_list(check.test)} {shown} Retries:{check.retries}}}")


def apply_expose(state: StageState, expose: ins.Expose, scope: Scope) -> None:
    words = [word for port in expose.ports for word in scope.lex.split(port, state.env)]
    ports = [port for word in words for port in ports_of(word)]
    state.set_runtime(ExposedPorts={**(state.runtime("ExposedPorts") or {}), **{port: {} for port in ports}})
    state.record(f"EXPOSE {plain_list(ports)}")


def apply_user(state: StageState, user: ins.User, scope: Scope) -> None:
    name = scope.expand(user.name, state.env)
    state.set_runtime(User=name)
    state.record(f"USER {name}")


def apply_volume(state: StageState, volume: ins.Volume, scope: Scope) -> None:
    paths = [scope.expand(path, state.env) for path in volume.paths]
    if "" in paths:
        blank = volume.paths[paths.index("")]
        raise Misplaced("a VOLUME's path is empty", hint=f"{blank} expands to nothing: give it a value", token=blank)
    state.set_runtime(Volumes={**(state.runtime("Volumes") or {}), **{path: {} for path in paths}})
    state.record(f"VOLUME {plain_list(paths)}")


def apply_stop_signal(state: StageState, stop: ins.StopSignal, scope: Scope) -> None:
    signal = scope.expand(stop.signal, state.env)
    if not _is_signal(signal):
        hint = suggestion(signal, [f"SIG{name}" for name in sorted(_SIGNALS)], "write SIGTERM, or a number")
        raise Misplaced(f"{signal!r} is no signal", code="dockerfile.signal", hint=hint, token=stop.signal)
    state.set_runtime(StopSignal=signal)
    state.record(f"STOPSIGNAL {signal}")


def _is_signal(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if digits.isascii() and digits.isdigit():
        return int(digits) != 0
    name = text.upper().removeprefix("SIG")
    base, sign, offset = name[:5], name[5:6], name[6:]
    if base in ("RTMIN", "RTMAX") and sign:
        return offset in [str(number) for number in range(1, 16 if base == "RTMIN" else 15)] and sign == ("+" if base == "RTMIN" else "-")
    return name in _SIGNALS


def apply_shell(state: StageState, shell: ins.Shell) -> None:
    state.set_runtime(Shell=list(shell.words))
    state.record(f"SHELL {plain_list(shell.words)}")


def apply_onbuild(state: StageState, onbuild: ins.OnBuild) -> None:
    state.set_runtime(OnBuild=[*(state.runtime("OnBuild") or ()), onbuild.expression])


def apply_workdir(state: StageState, workdir: ins.WorkDir, scope: Scope) -> None:
    """The configuration keeps the path as written; the directory is made, owned by the stage's user, unless it is the root."""
    path = work_dir(state.runtime("WorkingDir") or "", scope.expand(workdir.path, state.env))
    state.set_runtime(WorkingDir=path)
    state.work_dir = path
    created_by = f"WORKDIR {path}"
    if path == "/":
        state.record(created_by)
        return
    name = state.step_name(scope.shown(workdir.text, state.env))
    op = FileOp((MakeDirAction(clean(path), state.runtime("User") or ""),))
    state.vertex = scope.vertex(op, (state.vertex,), state=state, name=name, created_by=created_by, source=workdir.source)
    state.record(created_by, vertex=state.vertex)

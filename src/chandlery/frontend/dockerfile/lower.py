"""`lower`: a Dockerfile, the request's options and the pins so far -> the graph and the image's configuration. Pure.

    image_references(dockerfile, options) -> tuple[ImageReference, ...]       what must be pinned before anything else
    lower(dockerfile, options, pins) -> Lowered | NeedsPins                   the engine pins what is named and calls again

Lowering asks back because ONBUILD triggers of a pinned image may name further images, and a URL may hold a variable of an image's
environment. Every order and every corner here is that of BuildKit's dockerfile2llb, where "the newest wins" was the rule.
"""

from chandlery.errors import RequestError
from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile import lower_metadata as metadata
from chandlery.frontend.dockerfile.container_path import work_dir
from chandlery.frontend.dockerfile.excerpt import Misplaced
from chandlery.frontend.dockerfile.lower_copy import lower_copy
from chandlery.frontend.dockerfile.lower_run import lower_run
from chandlery.frontend.dockerfile.lowered import HistoryTemplate, ImagePlace, ImageReference, Lowered, LowerOptions, NeedsPins, Pins
from chandlery.frontend.dockerfile.parse import parse_trigger
from chandlery.frontend.dockerfile.resolve import Resolver
from chandlery.frontend.dockerfile.scope import Scope
from chandlery.frontend.dockerfile.stage_state import DEFAULT_PATH, Command, StageState
from chandlery.frontend.dockerfile.stages import StageTable, reachable
from chandlery.oci import platform as platforms
from chandlery.oci.platform import Platform
from chandlery.values import replace

_PREDEFINED = frozenset((
    "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy", "targetplatform", "targetos", "targetarch", "targetvariant",
    "targetosversion", "targetstage", "buildplatform", "buildos", "buildarch", "buildvariant", "buildosversion", "source_date_epoch",
))  # fmt: skip


def image_references(dockerfile: ins.Dockerfile, options: LowerOptions) -> tuple[ImageReference, ...]:
    """The images that the target's stages name; raises DockerfileError and RequestError as `lower` does."""
    first = lower(dockerfile, options, Pins())
    return first.images if isinstance(first, NeedsPins) else ()


def lower(dockerfile: ins.Dockerfile, options: LowerOptions, pins: Pins) -> Lowered | NeedsPins:
    """The graph, or what must be pinned first; raises DockerfileError, and RequestError (platform.foreign)."""
    scope = Scope(dockerfile, options, pins)
    _global_args(scope)
    table = StageTable(dockerfile)
    resolver = Resolver(scope, table)
    for stage in dockerfile.stages:
        with scope.at(stage.source):
            _add_stage(stage, scope, table, resolver)
    target = table.target(options.target)
    _find_dependencies(table, scope)
    missing = _resolve(target, table, resolver, scope)
    if missing:
        return NeedsPins(images=tuple(missing), places=tuple(missing.values()))
    needed = {id(state) for state in reachable(target)}
    for state in list(table.states):
        if id(state) in needed and not state.is_done:
            _lower_stage(state, scope)
    if scope.unpinned_urls:
        return NeedsPins(urls=tuple(scope.unpinned_urls))
    return _lowered(target, scope)


def _global_args(scope: Scope) -> None:
    build, target = scope.options.build_platform, scope.options.platform
    stage = scope.options.target or scope.dockerfile.stages[-1].name or "default"
    defaults = (
        *_platform_args("BUILD", build), *_platform_args("TARGET", target), ("TARGETSTAGE", stage),
    )  # fmt: skip
    scope.global_args = {key: scope.build_args.get(key, item) for key, item in defaults}
    for arg in scope.dockerfile.global_args:
        for declaration in arg.declarations:
            scope.declared.add(declaration.key)
            item = scope.build_args.get(declaration.key)
            if item is None and declaration.value is not None:
                with scope.at(arg.source):
                    item = scope.expand(declaration.value, scope.global_args)
            if item is not None:
                scope.global_args[declaration.key] = item


def _platform_args(prefix: str, platform: Platform) -> tuple[tuple[str, str], ...]:
    return (
        (f"{prefix}PLATFORM", str(platform)), (f"{prefix}OS", platform.os), (f"{prefix}OSVERSION", ""),
        (f"{prefix}ARCH", platform.architecture), (f"{prefix}VARIANT", platform.variant),
    )  # fmt: skip


def _add_stage(stage: ins.Stage, scope: Scope, table: StageTable, resolver: Resolver) -> None:
    """One FROM: its names expanded, and the steps that it will show counted."""
    base_name = scope.expand(stage.base, scope.global_args)
    if not base_name:
        hint = f"{stage.base} expands to nothing: give it a default with ARG before the first FROM"
        raise Misplaced("FROM names no image", code="dockerfile.image-name", hint=hint, token=stage.base)
    state = StageState(stage, base_name)
    if stage.platform:
        state.platform = _platform(stage.platform, scope)
    context = resolver.context_for_stage(stage.name) if stage.name else None
    table.add(state)
    if context is not None:
        state.base = None
        state.context_name, state.context = context
        return
    has_image = state.base is None and base_name != "scratch"
    layers = (ins.Copy, ins.Run, ins.WorkDir)
    state.steps = has_image + sum(isinstance(instruction, layers) for instruction in stage.instructions)
    state.is_cache_ignored = _ignores_cache(stage.name, scope.options)


def _ignores_cache(name: str, options: LowerOptions) -> bool:
    if isinstance(options.no_cache, bool):
        return options.no_cache
    return name in {item.lower() for item in options.no_cache}


def _platform(text: str, scope: Scope) -> Platform:
    written = scope.expand(text, scope.global_args)
    if not written:
        raise Misplaced(f"--platform={text} expands to nothing", code="dockerfile.platform", hint="give it a value", token=f"--platform={text}")
    try:
        return platforms.parse(written)
    except RequestError as failed:
        raise Misplaced(failed.message, code="dockerfile.platform", hint=failed.hint, token=f"--platform={text}") from None


def _find_dependencies(table: StageTable, scope: Scope) -> None:
    for state in list(table.states):
        for instruction in state.stage.instructions if state.context is None else ():
            with scope.at(instruction.source):
                command = table.command(instruction)
            state.commands.append(command)
            table.attach(state, (command,))
    table.refuse_circles()
    if len(table.states) == 1:
        table.states[0].display_name = ""


def _resolve(target: StageState, table: StageTable, resolver: Resolver, scope: Scope) -> dict[ImageReference, ImagePlace]:
    """Give every needed state its base image and its ONBUILD triggers, which may need more states; returns the images not pinned yet."""
    while True:
        needed = reachable(target)
        resolver.check_names()
        missing = resolver.resolve([state for state in table.states if state in needed])
        if missing:
            return missing
        found_more = False
        for state in table.states[:]:
            if state in needed and not state.has_triggers:
                state.has_triggers = True
                with scope.at(state.stage.source):
                    found_more |= _add_triggers(state, table)
        if not found_more:
            return {}


def _add_triggers(state: StageState, table: StageTable) -> bool:
    """Put the ONBUILD triggers of the base (image or stage) before the stage's own instructions; True where they name stages or images."""
    if not state.is_registered or (state.context is not None and state.is_done):
        state.set_runtime(OnBuild=None)
        return False
    expressions = list(state.runtime("OnBuild") or ()) if state.base is None else []
    if state.base is not None:
        base = (command.instruction for command in state.base.commands)
        expressions = [instruction.expression for instruction in base if isinstance(instruction, ins.OnBuild)]
    state.set_runtime(OnBuild=None)
    commands = [table.command(parse_trigger(expression, state.stage.source), is_trigger=True) for expression in expressions]
    state.commands = [*commands, *state.commands]
    state.steps += len(commands)
    return table.attach(state, commands)


def _lower_stage(state: StageState, scope: Scope) -> None:
    state.inherit()
    state.is_done = True
    env = list(state.runtime("Env") or ())
    if not any(item.partition("=")[0] == "PATH" for item in env):
        env.append("PATH=" + DEFAULT_PATH)
        state.set_runtime(Env=env)
    for item in env:
        key, _, text = item.partition("=")
        state.set_env(key, text)
    if state.runtime("WorkingDir"):
        state.work_dir = work_dir(state.runtime("WorkingDir"), state.runtime("WorkingDir"))
        state.set_runtime(WorkingDir=state.work_dir)
    for command in state.commands:
        with scope.at(command.instruction.source):
            _apply(state, command, scope)
    state.source_vertex = state.vertex


def _apply(state: StageState, command: Command, scope: Scope) -> None:
    state.is_in_trigger = command.is_trigger
    match command.instruction:
        case ins.Run() as run:
            lower_run(state, run, command.sources, scope)
        case ins.Copy() as copy:
            lower_copy(state, copy, command.sources, scope)
        case ins.WorkDir() as workdir:
            metadata.apply_workdir(state, workdir, scope)
        case ins.Env() as env:
            metadata.apply_env(state, env, scope)
        case ins.Arg() as arg:
            metadata.apply_arg(state, arg, scope)
        case ins.Label() as label:
            metadata.apply_label(state, label, scope)
        case ins.Cmd() as cmd:
            metadata.apply_cmd(state, cmd)
        case ins.Entrypoint() as entrypoint:
            metadata.apply_entrypoint(state, entrypoint)
        case ins.Expose() as expose:
            metadata.apply_expose(state, expose, scope)
        case ins.User() as user:
            metadata.apply_user(state, user, scope)
        case ins.Volume() as volume:
            metadata.apply_volume(state, volume, scope)
        case ins.StopSignal() as stop:
            metadata.apply_stop_signal(state, stop, scope)
        case ins.Healthcheck() as check:
            metadata.apply_healthcheck(state, check)
        case ins.Shell() as shell:
            metadata.apply_shell(state, shell)
        case ins.OnBuild() as onbuild:
            metadata.apply_onbuild(state, onbuild)
        case ins.Maintainer() as maintainer:
            metadata.apply_maintainer(state, maintainer)


def _lowered(target: StageState, scope: Scope) -> Lowered:
    options = scope.options
    if options.labels:
        target.set_runtime(Labels={**(target.runtime("Labels") or {}), **dict(options.labels)})
    graph, renumbered = scope.pruned(target.vertex)
    config = target.config
    if not config.os or not config.architecture:
        config = replace(config, os=options.platform.os, architecture=options.platform.architecture, variant=options.platform.variant)
    history: tuple[HistoryTemplate, ...] = tuple(item if item.vertex is None else replace(item, vertex=renumbered[item.vertex]) for item in target.history)
    unused = tuple(key for key, _ in options.build_args if key not in scope.declared and not _is_predefined(key))
    epoch = scope.build_args.get("SOURCE_DATE_EPOCH", scope.global_args.get("SOURCE_DATE_EPOCH", ""))
    return Lowered(graph, renumbered[target.vertex], config, history, target.pinned, scope.context_uses(), unused, epoch)


def _is_predefined(key: str) -> bool:
    return key.lower() in _PREDEFINED or key.startswith("BUILDKIT_")

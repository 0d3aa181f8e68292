"""The command line's words as a BuildRequest: every value checked here, so that nothing below has to doubt it."""

import os
import sys

from chandlery.cli.output_flag import parse_output, split_fields
from chandlery.engine.contexts import MAX_DOCKERFILE_BYTES
from chandlery.engine.request import DEFAULT_PUBLISH_TIMEOUT_S, DEFAULT_VOLATILE_MAX_AGE_S, BuildRequest, CacheSpec, Output, OutputKind, Pairs
from chandlery.errors import RequestError
from chandlery.graph.op import Network
from chandlery.linux.cgroup import Limits
from chandlery.oci import reference
from chandlery.quantities import parse_duration, parse_size, parse_whole
from chandlery.runtime.process import Ulimit
from chandlery.runtime.secrets import SecretSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from chandlery.cli.arguments import Arguments
    from chandlery.config import Settings

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_ULIMITS = frozenset(
    {"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}
)
_LIMITS = {
    "memory": "memory_bytes", "memory-swap": "memory_swap_bytes", "cpu-shares": "cpu_shares", "cpu-period": "cpu_period_us",
    "cpu-quota": "cpu_quota_us", "cpuset-cpus": "cpuset_cpus", "cpuset-mems": "cpuset_mems",
}  # fmt: skip


def to_request(arguments: "Arguments", settings: "Settings") -> BuildRequest:
    """The request that the arguments describe. Raises RequestError."""
    environment = settings.environment
    context, context_tar, text = _inputs(arguments)
    if len(arguments.platform) > 1 or any("," in item for item in arguments.platform):
        raise RequestError("several platforms can't be built at once yet", code="platform.many", hint="build one platform at a time")
    build_args = _pairs_from_environment(arguments.build_arg, environment)
    epoch = environment.get("SOURCE_DATE_EPOCH")
    if epoch and not any(name == "SOURCE_DATE_EPOCH" for name, _ in build_args):
        build_args = (*build_args, ("SOURCE_DATE_EPOCH", epoch))
    return BuildRequest(
        context=context,
        context_tar=context_tar,
        dockerfile="" if arguments.file == "-" else arguments.file,
        dockerfile_text=text,
        target=arguments.target,
        tags=tuple(arguments.tag),
        build_args=build_args,
        proxy_args=_proxy_args(settings),
        build_contexts=_pairs(arguments.build_context, "--build-context"),
        labels=_pairs([item if "=" in item else f"{item}=" for item in arguments.label], "--label"),
        platform=arguments.platform[0] if arguments.platform else "",
        no_cache=bool(arguments.no_cache),
        keeps_volumes=arguments.no_cache == "steps",
        no_cache_filter=tuple(name for item in arguments.no_cache_filter for name in item.split(",") if name),
        always_pull=arguments.pull,
        secrets=tuple(_secret(item, environment) for item in arguments.secret),
        network=parse_network(arguments.network),
        hosts=tuple(parse_host(item) for item in arguments.add_host),
        limits=_limits(arguments),
        shm_size_bytes=parse_size(arguments.shm_size, "--shm-size") if arguments.shm_size else 64 << 20,
        ulimits=tuple(_ulimit(item) for item in arguments.ulimit),
        outputs=_outputs(arguments),
        ca_certs=arguments.ca_certs,
        cache_scope=arguments.cache_scope,
        cache_fork_from=tuple(arguments.cache_fork_from),
        cache_remotes=_cache_remotes(arguments),
        deps_caches=_deps_caches(arguments),
        cache_publish_timeout_s=_publish_timeout_s(arguments, environment),
        cache_max_age_s=parse_duration(arguments.cache_max_age, "--cache-max-age") if arguments.cache_max_age else None,
        volatile_max_age_s=_volatile_max_age_s(arguments),
        cache_from=_caches("--cache-from", arguments.cache_from),
        cache_to=_caches("--cache-to", arguments.cache_to),
    )


def _cache_remotes(arguments: "Arguments") -> tuple[str, ...]:
    if arguments.cache_remote:
        from chandlery.buildcache import address

        for text in arguments.cache_remote:
            address.parse(text)
    return tuple(arguments.cache_remote)


def _deps_caches(arguments: "Arguments") -> tuple[str, ...]:
    if not arguments.deps_cache:
        return ()
    from chandlery.volume.deps_cache import parse_all

    return tuple([str(cache) for cache in parse_all(tuple(arguments.deps_cache))])


def _caches(flag: str, given: list[str]) -> tuple[CacheSpec, ...]:
    if not any(given):
        return ()
    from chandlery.cli.cache_flag import parse_cache

    return tuple(spec for text in given if text for spec in parse_cache(flag, text))


def _publish_timeout_s(arguments: "Arguments", environment: "Mapping[str, str]") -> float | None:
    """A CI system's machine is gone after the build: there it takes as long as it takes."""
    if arguments.cache_publish_timeout:
        return parse_duration(arguments.cache_publish_timeout, "--cache-publish-timeout")
    return None if environment.get("CI", "").lower() not in ("", "false", "0") else DEFAULT_PUBLISH_TIMEOUT_S


def _volatile_max_age_s(arguments: "Arguments") -> float:
    return parse_duration(arguments.volatile_max_age, "--volatile-max-age") if arguments.volatile_max_age else DEFAULT_VOLATILE_MAX_AGE_S


def _inputs(arguments: "Arguments") -> "tuple[str, str, str | None]":
    """(context, file with a tar context, Dockerfile's text): standard input is read here and only here."""
    if arguments.context == "-" and arguments.file == "-":
        raise RequestError("the context and the Dockerfile can't both come from standard input", code="request.usage", hint="give one of them a path")
    if arguments.file == "-":
        return arguments.context, "", _stdin_text(_stdin().read(MAX_DOCKERFILE_BYTES + 1))
    if arguments.context != "-":
        return arguments.context, "", None
    first = _stdin().read(512)
    if _is_archive(first):
        return "", spool_stdin(first), None
    return "", "", _stdin_text(first + _stdin().read(MAX_DOCKERFILE_BYTES + 1))


def _stdin() -> "IO[bytes]":
    if sys.stdin is None:
        raise RequestError("standard input is closed", code="request.empty-stdin", hint="pipe a Dockerfile or a tar archive into the command")
    return sys.stdin.buffer


def _stdin_text(data: bytes) -> str:
    if len(data) > MAX_DOCKERFILE_BYTES:
        raise RequestError("standard input is too large for a Dockerfile", code="request.bad-stdin", hint="is it a tar archive of an old format? Use ustar")
    if not data.strip():
        raise RequestError("standard input is empty", code="request.empty-stdin", hint="pipe a Dockerfile or a tar archive into the command")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RequestError("standard input is neither a tar archive nor a Dockerfile in UTF-8", code="request.bad-stdin") from error


def _is_archive(first: bytes) -> bool:
    magics = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
    return first[257:262] == b"ustar" or first.startswith(magics)


def spool_stdin(first: bytes) -> str:
    """The rest of standard input, behind what was read of it, as a file without a name, which is gone when the process is."""
    import shutil
    import tempfile

    file = tempfile.TemporaryFile()  # noqa: SIM115 - it must live as long as the process
    file.write(first)
    shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    file.flush()
    fd = os.dup(file.fileno())
    return f"/proc/self/fd/{fd}"


def _pairs(items: list[str], flag: str) -> Pairs:
    pairs = []
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise RequestError(f"{flag} {item!r} is not NAME=VALUE", code="request.usage", hint=f"write {flag} name=value")
        pairs.append((key, text))
    return tuple(pairs)


def _pairs_from_environment(items: list[str], environment: "Mapping[str, str]") -> Pairs:
    """--build-arg: a bare name takes its value from the environment and is left out where there is none."""
    pairs = []
    for item in items:
        key, equals, text = item.partition("=")
        if not key:
            raise RequestError(f"--build-arg {item!r} has no name", code="request.usage", hint="write --build-arg NAME=value")
        if equals:
            pairs.append((key, text))
        elif key in environment:
            pairs.append((key, environment[key]))
    return tuple(pairs)


def _proxy_args(settings: "Settings") -> Pairs:
    """The proxies of docker's config.json, as docker hands them to builds; "default" where no daemon is named."""
    directory = settings.environment.get("DOCKER_CONFIG") or os.path.join(settings.environment.get("HOME", "/"), ".docker")
    path = os.path.join(directory, "config.json")
    if not os.path.isfile(path):
        return ()
    import json

    names = {"httpProxy": "HTTP_PROXY", "httpsProxy": "HTTPS_PROXY", "noProxy": "NO_PROXY", "ftpProxy": "FTP_PROXY", "allProxy": "ALL_PROXY"}
    try:
        with open(path, encoding="utf-8") as file:
            proxies = json.load(file).get("proxies", {}).get("default", {})
        found = {key: str(proxies[key]) for key in names if proxies.get(key)}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RequestError(f"{path} can't be read: {error}", code="config.unreadable", hint="it must be docker's config.json, or absent") from error
    return tuple((spelled, text) for key, text in found.items() for spelled in (names[key], names[key].lower()))


def _secret(item: str, environment: "Mapping[str, str]") -> SecretSource:
    fields = dict(part.partition("=")[::2] for part in split_fields(item))
    unknown = set(fields) - {"id", "type", "src", "source", "env"}
    if unknown or not (fields.get("id") or "").strip():
        raise RequestError(f"--secret {item!r} is not understood", code="request.bad-secret", hint="write id=NAME,src=FILE or id=NAME,env=VARIABLE")
    name, kind = fields["id"], fields.get("type", "")
    source = fields.get("src") or fields.get("source") or ""
    variable = fields.get("env") or (source if kind == "env" else "")
    if kind not in ("", "file", "env"):
        raise RequestError(f"--secret {item!r}: unknown type {kind!r}", code="request.bad-secret", hint="the types are file and env")
    if kind == "env" and not variable:
        variable = name
    if variable or (not source and kind != "file" and name in environment):
        return SecretSource(name, env=variable or name)
    path = source or name
    if not os.path.isfile(path):
        raise RequestError(f"--secret {name}: there is no file {path}", code="request.missing-secret", hint="check src=, or use env=")
    return SecretSource(name, file=os.path.abspath(path))


def parse_network(text: str) -> Network:
    if text in ("", "default", "bridge"):
        return Network.DEFAULT
    if text in ("none", "host"):
        return Network(text)
    raise RequestError(f"--network {text!r} is not supported", code="request.bad-network", hint="use default, none or host")


def parse_host(item: str) -> tuple[str, str]:
    """host:ip, host=ip, with an IPv6 address in brackets or bare."""
    name, separator, address = item.partition("=") if "=" in item else item.partition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not separator or not name or not _is_address(address):
        raise RequestError(f"--add-host {item!r} is not HOST:IP", code="request.bad-host", hint="write --add-host db:10.0.0.5")
    return name, address


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return text == "host-gateway"
    return True


def _limits(arguments: "Arguments") -> Limits:
    given: dict[str, str] = {}
    for item in arguments.resource:
        for part in item.split(","):
            key, _, text = part.partition("=")
            if key not in _LIMITS:
                raise RequestError(f"--resource {part!r} is not a limit", code="request.bad-resource", hint=f"limits: {', '.join(_LIMITS)}")
            given[key] = text
    given |= {key: text for key in _LIMITS if (text := getattr(arguments, key.replace("-", "_")))}
    checked: dict[str, int | str] = {}
    for key, text in given.items():
        if key == "memory-swap" and text == "-1":
            checked[_LIMITS[key]] = -1
        elif key.startswith("memory"):
            checked[_LIMITS[key]] = parse_size(text, f"--{key}")
        elif key.startswith("cpuset"):
            checked[_LIMITS[key]] = text
        else:
            checked[_LIMITS[key]] = parse_whole(text, f"--{key}")
    return Limits(**checked)  # type: ignore[arg-type]


def _ulimit(item: str) -> Ulimit:
    name, _, text = item.partition("=")
    soft, _, hard = text.partition(":")
    try:
        found = Ulimit(name.lower(), int(soft), int(hard or soft))
        if found.name not in _ULIMITS or min(found.soft, found.hard) < -1 or (found.soft > found.hard != -1) or (found.soft == -1 != found.hard):
            raise ValueError(item)
        return found
    except ValueError as error:
        raise RequestError(f"--ulimit {item!r} is not understood", code="request.bad-ulimit", hint="write --ulimit nofile=1024:2048") from error


def _outputs(arguments: "Arguments") -> tuple[Output, ...]:
    outputs = [parse_output(item) for item in arguments.output]
    if arguments.push:
        images = [at for at, output in enumerate(outputs) if output.kind is OutputKind.IMAGE]
        for at in images:
            outputs[at] = Output(OutputKind.IMAGE, "", (*outputs[at].options, ("push", "true")))
        if not images:
            outputs.append(Output(OutputKind.IMAGE, "", (("push", "true"),)))
    if arguments.load and not any(output.kind is OutputKind.IMAGE for output in outputs):
        outputs.append(Output(OutputKind.IMAGE))
    _check_names(arguments, outputs)
    return tuple(outputs)


def _check_names(arguments: "Arguments", outputs: list[Output]) -> None:
    for name in (*arguments.tag, *(name for output in outputs for name in output.option("name").split(",") if name)):
        if reference.parse(name).digest is not None:
            raise RequestError(f"{name} has a digest: an image's digest follows from what it is", code="reference.malformed", hint="leave the digest away")
    for output in outputs:
        if output.destination == "-" and output.kind is not OutputKind.CACHE_ONLY and sys.stdout is not None and sys.stdout.isatty():
            raise RequestError("an archive isn't written to a terminal", code="request.terminal", hint="add dest=FILE, or redirect standard output")
        if output.is_set("push") and not arguments.tag and not output.option("name"):
            raise RequestError("a push needs a name", code="request.no-name", hint="name the image with -t REGISTRY/NAME:TAG")
        if sum(1 for other in outputs if other.destination == "-") > 1:
            raise RequestError("only one output can go to standard output", code="request.usage")

"""`chandlery build`: arguments to a BuildRequest, the build on this machine, and what is left to write afterwards (iidfile, metadata)."""

import os

from chandlery.cli.options import OPTIONAL
from chandlery.errors import ChandleryError, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.engine.request import BuildRequest, BuildResult

SUMMARY = "Build an image from a Dockerfile; the context is a directory, a git URL (#ref:subdirectory), or - for a tar or a Dockerfile on stdin."

_LATER = {
    "--allow": "nothing needs an entitlement yet",
    "--annotation": "annotations come with a later release",
    "--attest": "attestations come with a later release",
    "--builder": "there are no builders: the build runs in this process",
    "--call": "only builds can be called yet",
    "--cgroup-parent": "steps run in cgroups of Chandlery's own",
    "--check": "lint rules come with a later release",
    "--policy": "policies come with a later release",
    "--provenance": "attestations come with a later release",
    "--sbom": "attestations come with a later release",
    "--ssh": "ssh mounts come with a later release",
}
_OFF = ("false", "0", "disabled=true")


def add_arguments(parser: "Parser") -> None:
    parser.word("context", kind=OPTIONAL, metavar="PATH | URL | -", help="the build context", default=None)
    _add_inputs(parser)
    _add_running(parser)
    _add_outputs(parser)
    for flag in _LATER:
        parser.many(flag, dest="later:" + flag)
    for flag in ("--compress", "--squash", "--rm", "--force-rm"):
        parser.flag(flag, dest="ignored")
    for flag in ("--isolation", "--security-opt"):
        parser.many(flag, dest="ignored_option")
    parser.epilog = (
        f"Not supported, and refused with the reason: {', '.join(_LATER)}.\nAccepted and ignored, as by buildx: --compress, --squash, --rm, --force-rm,"
        " --isolation, --security-opt.\n\nAny option's default can be set: CHANDLERY_NO_CACHE=true, or no-cache = true under [build] in chandlery.toml."
        "\nExit statuses: 0 built, 1 a step failed, 2 the input is wrong, 75 worth another try, 130 or 143 stopped (docs/exit-statuses.md)."
    )


def _add_inputs(parser: "Parser") -> None:
    parser.one("-f", "--file", help='name of the Dockerfile (default "PATH/Dockerfile"), - for stdin', metavar="FILE", dest="file")
    parser.one("--target", help="the stage to build", metavar="STAGE")
    parser.many("--build-arg", help="set a build-time variable; without a value, from the environment", metavar="KEY[=VALUE]")
    parser.many("--build-context", help="an additional context: a directory, docker-image://REF[,optional] or oci-layout://PATH[@DIGEST]", metavar="NAME=VALUE")
    parser.many("--label", help="set metadata of the image", metavar="KEY=VALUE")
    parser.many("--platform", help="the target platform (only this machine's yet)", metavar="OS/ARCH")
    parser.many("--secret", help="a secret to lend to steps: id=NAME[,src=FILE|,env=VARIABLE]", metavar="SPEC")
    parser.flag("--no-cache", help="run every step anew, with empty cache volumes; --no-cache=steps keeps the volumes", choices=("steps",))
    parser.many("--no-cache-filter", help="run the steps of these stages anew", metavar="STAGE")
    parser.flag("--pull", help="ask the registry for every base image")
    parser.many("--insecure-registry", help="a registry to reach by plain HTTP or with an unknown certificate", metavar="HOST:PORT")


def _add_running(parser: "Parser") -> None:
    parser.one("--network", help="network of RUN steps: default, none or host", metavar="MODE", default="default")
    parser.many("--add-host", help="a host name for RUN steps (HOST:IP or HOST=IP)", metavar="HOST:IP")
    parser.one("--shm-size", help="size of /dev/shm", metavar="BYTES")
    parser.many("--ulimit", help="a limit of RUN steps' processes", metavar="NAME=SOFT[:HARD]")
    parser.many("--resource", help="limits of RUN steps: memory=1g,cpu-quota=50000 ...", metavar="KEY=VALUE")
    parser.one("-m", "--memory", help="memory limit of a RUN step", metavar="BYTES", dest="memory")
    for name, metavar in (("memory-swap", "BYTES"), ("cpu-period", "US"), ("cpu-quota", "US"), ("cpuset-cpus", "LIST"), ("cpuset-mems", "LIST")):
        parser.one(f"--{name}", help=f"as --resource {name}=", metavar=metavar)
    parser.one("-c", "--cpu-shares", help="as --resource cpu-shares=", metavar="N", dest="cpu_shares")
    parser.one("--ca-certs", help="certificate authorities that steps trust beside the image's: host, or a PEM file", metavar="host|FILE")
    _add_caches(parser)


def _add_caches(parser: "Parser") -> None:
    parser.many(
        "--cache-remote",
        help="a cache that machines share: registry://HOST/REPOSITORY[/{scope}] or file:///DIRECTORY, each with [,mode=ro|rw]; several are read in order",
        metavar="ADDRESS",
    )
    parser.many(
        "--deps-cache",
        help="dependencies on a share, for steps that mount nothing there: tar:DIRECTORY (unpacked before a step, written after it if it changed) or"
        " dir:DIRECTORY (the directory itself: what a step writes is there at once, half-written or wrong files too), each with [,target=/root/.m2]",
        metavar="SPEC",
    )
    parser.one("--cache-scope", help="whose caches the build uses (default: from git and the CI system's variables)", metavar="SCOPE")
    parser.many("--cache-fork-from", help="a scope to read as well, but not to write (default: the main branch's)", metavar="SCOPE")
    parser.one("--cache-publish-timeout", help="how long the end of the build waits for what it shares (default 10s; no limit where CI is set)", metavar="TIME")
    parser.many("--cache-from", help="a cache in buildx's form: an image's NAME[:TAG], or type=registry,ref=NAME or type=local,src=DIR", metavar="SPEC")
    parser.many(
        "--cache-to", help="where to write such a cache: type=registry,ref=NAME, type=local,dest=DIR, each with [,mode=max], or type=inline", metavar="SPEC"
    )
    parser.one("--cache-max-age", help="steps that were made longer ago are made anew", metavar="TIME")
    parser.one("--volatile-max-age", help="so are steps that looked up a SNAPSHOT, a dist-tag or an index longer ago (default 1h)", metavar="TIME")


def _add_outputs(parser: "Parser") -> None:
    parser.many("-t", "--tag", help="name of the image", metavar="NAME[:TAG]", dest="tag")
    parser.many(
        "-o",
        "--output",
        help="what to make of the result: DIRECTORY, or type=TYPE,...; types: local, tar, oci, docker, image, registry, cacheonly",
        metavar="SPEC",
        dest="output",
    )
    parser.flag("--push", help="as --output=type=registry")
    parser.flag("--load", help="as --output=type=docker: put the image in the store")
    parser.one("--iidfile", help="write the image id to a file", metavar="FILE")
    parser.one("--metadata-file", help="write the result's metadata to a file", metavar="FILE")
    parser.one("--progress", help="how to show the build: auto, tty, plain, quiet or rawjson", metavar="MODE")
    parser.flag("--explain", help="say at the end of each step where it was found, or why it ran")
    parser.flag("-q", "--quiet", help="print the image id alone, at the end", dest="quiet")
    parser.one("--root", help="the store's directory", metavar="DIR")


def run(arguments: "Arguments", settings: "Settings") -> int:
    """Build; 0, or an error's exit status. Files asked for are written only where their content is true."""
    from chandlery.cli.build_request import to_request
    from chandlery.cli.display.choice import open_display
    from chandlery.cli.settings import apply, trusting
    from chandlery.cli.signals import as_cancelled
    from chandlery.wiring import build

    progress = "quiet" if arguments.quiet else arguments.progress or settings.environment.get("BUILDKIT_PROGRESS", "") or "auto"
    display = open_display(progress, settings.environment)
    request = None
    try:
        _refuse_later(arguments)
        if arguments.context is None:
            raise RequestError("a build needs a context", code="request.no-context", hint="for the current directory: chandlery build .")
        request = to_request(arguments, settings)
        with as_cancelled():
            result = build(request, sink=display.sink, settings=trusting(request, apply(arguments, settings)))
    except ChandleryError as error:
        _name_root(error, arguments.root)
        display.fail(error)
        if arguments.metadata_file:
            from chandlery.cli.metadata import failure_metadata

            _write_metadata(arguments.metadata_file, failure_metadata(request, error))
        return error.exit_status
    except BaseException:
        display.close(None)
        raise
    display.close(result)
    if arguments.explain:
        _explain(result)
    _write_results(arguments, request, result)
    return 0


def _explain(result: "BuildResult") -> None:
    import sys

    from chandlery.cli.display.explained import explained_lines

    print("\n".join(explained_lines(result)), file=sys.stderr)


def _name_root(error: ChandleryError, root: str) -> None:
    """A command that repeats a step needs the store that the build had."""
    if root and getattr(error, "reproduce", ""):
        from shlex import quote

        error.reproduce += f" --root {quote(os.path.abspath(root))}"  # type: ignore[attr-defined]


def _refuse_later(arguments: "Arguments") -> None:
    for name, given in vars(arguments).items():
        if not name.startswith("later:") or not given:
            continue
        flag = name.removeprefix("later:")
        if flag in ("--provenance", "--sbom", "--attest") and all(text.lower() in _OFF for text in given):
            continue
        if flag == "--allow" and all(text == "network.host" for text in given):
            continue
        raise RequestError(f"{flag} is not supported: {_LATER[flag]}", code="request.unsupported-flag", hint="leave it away")


def _write_results(arguments: "Arguments", request: "BuildRequest", result: "BuildResult") -> None:
    if arguments.iidfile:
        _write(arguments.iidfile, result.config_digest or result.image_digest)
    if arguments.metadata_file:
        from chandlery.cli.metadata import metadata

        _write_metadata(arguments.metadata_file, metadata(request, result))
    if arguments.quiet and result.config_digest and not any(output.destination == "-" for output in request.outputs):
        print(result.config_digest)


def _write_metadata(path: str, document: "dict[str, object]") -> None:
    if path:
        import json

        _write(path, json.dumps(document, indent=2) + "\n")


def _write(path: str, text: str) -> None:
    """Write a file that the user asked for, whole or not at all."""
    from chandlery.engine.destination import Destination

    with Destination(path) as file:
        file.write(text.encode())

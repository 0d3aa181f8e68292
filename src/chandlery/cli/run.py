"""`chandlery run`: a command in an image, to try it. No container manager: when the command ends, all of it is gone."""

import os
import sys

from chandlery.cli.open_shelf import add_registry_arguments, open_shelf
from chandlery.cli.options import OPTIONAL, REST
from chandlery.errors import Cancelled, NotFound, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.cli.options import Parser
    from chandlery.config import Settings
    from chandlery.engine.shelf import ImageShelf, StoredImage

SUMMARY = "Run a command in an image, to try it; nothing of it is kept."


def add_arguments(parser: "Parser") -> None:
    parser.word("image", kind=OPTIONAL, help="a name or an id; a name that isn't here is pulled")
    parser.word("command", kind=REST, help="what to run instead of the image's command")
    parser.one("--failed", help="instead of an image: the RUN step at which a build failed, with its files, mounts and network", metavar="BUILD", dest="failed")
    parser.many("-e", "--env", help="set a variable, or hand on one of the environment", metavar="KEY[=VALUE]", dest="env")
    parser.many("-v", "--volume", help="a directory or file of this machine", metavar="SOURCE:TARGET[:ro]", dest="volume")
    parser.one("-w", "--workdir", help="the working directory", metavar="DIR", dest="workdir")
    parser.one("-u", "--user", help="user[:group], names or numbers", metavar="USER", dest="user")
    parser.one("--entrypoint", help="instead of the image's entrypoint", metavar="COMMAND", default=None)
    parser.one("--network", help="default (isolated, with the internet), none or host", default="default")
    parser.many("--add-host", help="a host name (HOST:IP)", metavar="HOST:IP")
    parser.one("-m", "--memory", help="memory limit", metavar="BYTES", dest="memory")
    parser.flag("-i", "--interactive", help="standard input is the command's", dest="interactive")
    parser.flag("-t", "--tty", help="the terminal is the command's", dest="tty")
    parser.flag("--rm", help="accepted for docker's sake: nothing is kept anyway", dest="ignored")
    add_registry_arguments(parser)


def run(arguments: "Arguments", settings: "Settings") -> int:
    if arguments.failed:
        return _run_failed(arguments, settings)
    if not arguments.image:
        raise RequestError("there is no image to run", code="request.usage", hint="write chandlery run IMAGE [COMMAND]")
    return _run_image(arguments, settings)


def _run_failed(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.engine.again import run_again
    from chandlery.events import Event, StepLog

    def show(event: Event) -> None:
        if isinstance(event, StepLog):
            _pass_on(event.stream, event.data)

    command = (arguments.image, *arguments.command) if arguments.image else ()
    is_interactive = arguments.interactive or arguments.tty
    with open_shelf(arguments, settings) as shelf:
        return run_again(shelf.tools, arguments.failed, command=command, is_interactive=is_interactive, sink=show).code


def _run_image(arguments: "Arguments", settings: "Settings") -> int:
    from chandlery.cli.build_request import parse_host, parse_network
    from chandlery.engine.trial import Trial, run_trial
    from chandlery.linux.cgroup import Limits
    from chandlery.quantities import parse_size

    trial = Trial(
        command=tuple(arguments.command),
        entrypoint=None if arguments.entrypoint is None else ((arguments.entrypoint,) if arguments.entrypoint else ()),
        env=tuple(entry for text in arguments.env for entry in _env(text)),
        volumes=tuple(_volume(text) for text in arguments.volume),
        working_directory=arguments.workdir,
        user=arguments.user,
        network=parse_network(arguments.network),
        hosts=tuple(parse_host(text) for text in arguments.add_host),
        limits=Limits(memory_bytes=parse_size(arguments.memory, "--memory") if arguments.memory else 0),
        is_interactive=arguments.interactive or arguments.tty,
    )
    with open_shelf(arguments, settings) as shelf:
        try:
            status = run_trial(shelf.tools, _find(shelf, arguments.image), trial, output=_pass_on)
        except Cancelled as ended:
            return ended.exit_status  # a signal is how such a command usually ends: nothing to report
    if status.was_oom_killed:
        print("the command was killed: it needed more memory than its limit", file=sys.stderr)
    return status.code


def _find(shelf: "ImageShelf", text: str) -> "StoredImage":
    try:
        return shelf.find(text)
    except NotFound:
        print(f"{text} is not in the store: pulling it", file=sys.stderr)
        shelf.pull(text, on_progress=lambda _: None)
        return shelf.find(text)


def _pass_on(stream: int, data: bytes) -> None:
    os.write(stream, data)


def _env(text: str) -> list[str]:
    name, equals, _ = text.partition("=")
    if equals:
        return [text]
    return [f"{name}={os.environ[name]}"] if name in os.environ else []


def _volume(text: str) -> tuple[str, str, bool]:
    source, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    if not target.startswith("/") or options not in ("", "ro", "rw"):
        raise RequestError(f"--volume {text!r} is not understood", code="request.bad-volume", hint="write -v SOURCE:/TARGET or -v SOURCE:/TARGET:ro")
    if not os.path.exists(source):
        raise RequestError(f"--volume {text!r}: there is no {source}", code="request.bad-volume", hint="make it first; it is not made for you")
    return os.path.realpath(source), target, options == "ro"

"""The command line: finds the command, loads its module alone, and turns what it raises into a sentence and an exit status.

A command module has `SUMMARY`, `add_arguments(parser)` and `run(arguments, settings) -> int`. A command of several actions (GROUPS) is a package with such a
module for each. Nothing else is imported before the command is known: `chandlery --version` must not pay for an engine.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

COMMANDS = {
    "build": "Build an image from a Dockerfile",
    "images": "List the images of the store",
    "inspect": "Show an image's configuration",
    "tag": "Give an image one more name",
    "rmi": "Take names from images, and what only they kept",
    "pull": "Fetch an image from a registry",
    "push": "Send an image to a registry",
    "save": "Write images to a file",
    "load": "Read images from a file",
    "run": "Run a command in an image, to try it",
    "base": "Make base images from distribution packages",
    "volume": "Look after cache volumes",
    "cache": "Look after the caches that machines share",
    "du": "Show what takes space in the store",
    "prune": "Free space in the store",
    "verify": "Check every record and blob of the store",
    "completion": "Let a shell complete commands and flags",
}
GROUPS = {
    "cache": {
        "ls": "List the steps of a shared cache",
        "prune": "Delete steps of a shared cache, the cheapest and longest unused first",
    },
    "volume": {
        "ls": "List the cache volumes",
        "show": "Show what a volume holds, who wrote it, and what it was good for",
        "push": "Push what volumes hold as an image",
        "pull": "Fetch what others added to a volume",
        "fork": "Start a scope's volume from another scope's",
        "rm": "Remove a volume here, or a path in it everywhere",
        "trim": "Remove what no build has read for a while",
        "verify": "Read every file of the volumes, and repair what is damaged",
    },
}
USAGE_STATUS = 2


def program() -> "NoReturn":
    """The installed command: `main`, with as little before and after it as the interpreter allows."""
    import gc

    # a start makes tens of thousands of objects that stay, and looking through them again and again is a twentieth of a cached build
    gc.set_threshold(50_000, 20, 20)
    status = main()
    from _thread import _count as other_threads

    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            sys.exit(status)
    if other_threads():
        sys.exit(status)
    # nothing is left to do but to take the interpreter apart, a tenth of a cached build
    os._exit(status)


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else "--help"
    if name in ("--version", "-v", "version"):
        from chandlery import __version__

        print(f"chandlery {__version__}")
        return 0
    if name == "buildx" and len(arguments) > 1:
        arguments = arguments[1:]
        name = arguments[0]
    if name in ("--help", "-h", "help"):
        print(_help())
        return 0 if arguments else USAGE_STATUS
    if name not in COMMANDS:
        return _unknown(name, COMMANDS)
    if name in GROUPS:
        return _action(name, arguments[1:])
    return _run(name, arguments[1:])


def _action(group: str, arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h", "help"):
        print(_group_help(group))
        return 0 if arguments else USAGE_STATUS
    if name not in GROUPS[group]:
        return _unknown(name, GROUPS[group], group)
    return _run(f"{group} {name}", arguments[1:])


def _run(name: str, arguments: list[str]) -> int:
    from chandlery.errors import ChandleryError

    module = f"chandlery.cli.{name.replace(' ', '.')}"
    try:
        __import__(module)
        command = sys.modules[module]
        from chandlery.cli.arguments import parse
        from chandlery.config import load

        settings = load(dict(os.environ), os.getcwd())
        return int(command.run(parse(name, command, arguments, settings), settings))
    except ChandleryError as error:
        from chandlery.cli.display.error_report import report

        return report(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as failure:
        return _unforeseen(failure)


def _unforeseen(failure: Exception) -> int:
    """A refusal of this machine, or a bug: a sentence, and where it happened for those who ask."""
    if os.environ.get("CHANDLERY_DEBUG"):
        raise failure
    from chandlery.cli.display.error_report import report
    from chandlery.engine.foreign import as_ours
    from chandlery.errors import ChandleryError

    ours = as_ours(failure, "the store")
    if not isinstance(ours, ChandleryError):
        raise failure
    return report(ours)


def _help() -> str:
    return (
        "Usage: chandlery COMMAND [OPTIONS]\n\nBuilds container images from source, without a daemon.\n\nCommands:\n"
        + _listed(COMMANDS)
        + "\n\nRun 'chandlery COMMAND --help' for a command's options."
    )


def _group_help(group: str) -> str:
    return (
        f"Usage: chandlery {group} ACTION [OPTIONS]\n\n{COMMANDS[group]}.\n\nActions:\n"
        + _listed(GROUPS[group])
        + f"\n\nRun 'chandlery {group} ACTION --help' for an action's options."
    )


def _listed(commands: dict[str, str]) -> str:
    width = max(len(name) for name in commands)
    return "\n".join(f"  {name.ljust(width)}  {summary}" for name, summary in commands.items())


def _unknown(name: str, commands: dict[str, str], group: str = "") -> int:
    from difflib import get_close_matches

    prefix = f"chandlery {group}".rstrip()
    near = get_close_matches(name, commands, 1, 0.5)
    hint = f"did you mean '{prefix} {near[0]}'?" if near else f"'{prefix} --help' lists the {'actions' if group else 'commands'}"
    from chandlery.cli.display.error_report import report
    from chandlery.errors import RequestError

    what = f"unknown action {name!r} of 'chandlery {group}'" if group else f"unknown command {name!r}"
    return report(RequestError(what, code="request.unknown-command", hint=hint))


if __name__ == "__main__":
    program()

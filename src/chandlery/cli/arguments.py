"""Argument parsing as a user of docker's command line expects it, on argparse.

Booleans take `--push`, `--push=true` and `--push=false`; defaults come from the configuration's table of the command and from CHANDLERY_<FLAG>, put in front
of what was typed, so that a flag on the command line wins and repeatable flags add up. What can't be parsed is a RequestError, never an exit from in here,
and an unknown flag names the nearest known one.
"""

import argparse

from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

    from chandlery.config import Settings

_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")


class Parser(argparse.ArgumentParser):
    """Raises RequestError (request.usage, request.unknown-flag) instead of ending the process."""

    def error(self, message: str) -> "NoReturn":
        raise RequestError(message, code="request.usage", hint=f"'{self.prog} --help' lists the options")

    def flag(self, *names: str, help: str, dest: str = "") -> None:
        """A boolean flag."""
        options: dict[str, Any] = {"dest": dest} if dest else {}
        self.add_argument(*names, action="store_true", help=help, **options)

    def many(self, *names: str, help: str, metavar: str = "STRING", dest: str = "") -> None:
        """A flag that may be given many times."""
        options: dict[str, Any] = {"dest": dest} if dest else {}
        self.add_argument(*names, action="append", default=[], help=help, metavar=metavar, **options)

    def one(self, *names: str, help: str, metavar: str = "STRING", default: str = "", dest: str = "") -> None:
        """A flag with one value."""
        options: dict[str, Any] = {"dest": dest} if dest else {}
        self.add_argument(*names, default=default, help=help, metavar=metavar, **options)


def parse(name: str, command: "ModuleType", arguments: list[str], settings: "Settings") -> argparse.Namespace:
    """The namespace of a command's arguments, defaults applied."""
    parser = Parser(prog=f"chandlery {name}", description=command.SUMMARY, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_arguments(parser)
    booleans = {option for action in parser._actions if isinstance(action, argparse._StoreTrueAction) for option in action.option_strings}
    given = [*_defaults(name, parser, settings), *arguments]
    known, unknown = parser.parse_known_args(_booleans(given, booleans))
    if unknown:
        raise _unknown_flag(unknown[0], parser)
    return known


def _booleans(arguments: list[str], booleans: set[str]) -> list[str]:
    """`--flag=true` as `--flag`; `--flag=false` takes earlier ones back."""
    out: list[str] = []
    for at, argument in enumerate(arguments):
        if argument == "--":
            return out + arguments[at:]
        flag, equals, text = argument.partition("=")
        if not equals or flag not in booleans:
            out.append(argument)
        elif text.lower() in _TRUE:
            out.append(flag)
        elif text.lower() in _FALSE:
            out = [earlier for earlier in out if earlier != flag]
        else:
            raise RequestError(f"{flag} takes true or false, not {text!r}", code="request.usage", hint=f"write {flag} or {flag}=false")
    return out


def _defaults(name: str, parser: Parser, settings: "Settings") -> list[str]:
    """Arguments from the configuration's table of the command, then from the environment."""
    flags = {option[2:]: action for action in parser._actions for option in action.option_strings if option.startswith("--") and option != "--help"}
    out: list[str] = []
    for key, text in settings.defaults(name):
        if key not in flags:
            raise RequestError(
                f"the configuration sets {key!r} for 'chandlery {name}', which has no such option", code="config.unknown-key", hint=nearest(key, list(flags))
            )
        out.append(f"--{key}={text}")
    for flag in flags:
        text = settings.environment.get("CHANDLERY_" + flag.replace("-", "_").upper(), "")
        out.extend(f"--{flag}={line}" for line in text.split("\n") if line)
    return out


def _unknown_flag(argument: str, parser: Parser) -> RequestError:
    flag = argument.partition("=")[0]
    if not flag.startswith("-"):
        return RequestError(f"unexpected argument {argument!r}", code="request.usage", hint=f"'{parser.prog} --help' shows what it takes")
    known = [option for action in parser._actions for option in action.option_strings]
    return RequestError(f"unknown flag {flag}", code="request.unknown-flag", hint=nearest(flag, known) or f"'{parser.prog} --help' lists the options")


def nearest(word: str, known: list[str]) -> str:
    """ "did you mean X?", or "" where nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1, 0.6)
    return f"did you mean {near[0]}?" if near else ""

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

_WIDEST_NAME = 34
_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")


class Parser(argparse.ArgumentParser):
    """Raises RequestError (request.usage, request.unknown-flag) instead of ending the process."""

    def error(self, message: str) -> "NoReturn":
        raise RequestError(message, code="request.usage", hint=f"'{self.prog} --help' lists the options")

    def format_help(self) -> str:
        """As docker's: the usage in one line, then every option with its words in one column."""
        from shutil import get_terminal_size

        columns = max(60, get_terminal_size((120, 24)).columns)
        words = [_placeholder(action) for action in self._actions if not action.option_strings]
        paragraphs = [f"Usage: {' '.join([self.prog, '[OPTIONS]', *words])}", _wrapped(self.description or "", columns)]
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        for title, chosen in (
            ("Arguments", [action for action in shown if not action.option_strings and action.help]),
            ("Options", [action for action in shown if action.option_strings]),
        ):
            if chosen:
                paragraphs.append("\n".join([f"{title}:", *_rows(chosen, columns)]))
        notes = [_wrapped(line, columns) for line in self.epilog.split("\n")] if self.epilog else []
        return "\n\n".join([*paragraphs, *(["\n".join(notes)] if notes else [])]) + "\n"

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


def _placeholder(action: argparse.Action) -> str:
    word = str(action.metavar or action.dest.upper())
    if action.nargs == argparse.REMAINDER:
        return f"[{word}...]"
    return f"[{word}]" if action.nargs == "?" else f"{word} [{word}...]" if action.nargs == "+" else word


def _rows(actions: list[argparse.Action], columns: int) -> list[str]:
    rows = [_row(action) for action in actions]
    width = min(_WIDEST_NAME, max(len(left) for left, _ in rows))
    lines = []
    for left, right in rows:
        first, *more = _wrapped(right, columns - width - 5).split("\n")
        if len(left) > width:
            lines.append(f"  {left}")
            left = ""
        lines += [f"  {left.ljust(width)}   {first}".rstrip(), *(f"  {'':{width}}   {line}" for line in more)]
    return lines


def _row(action: argparse.Action) -> tuple[str, str]:
    """An option's names and its words; short names stand before the column of long ones."""
    short = [name for name in action.option_strings if not name.startswith("--")]
    long = [name for name in action.option_strings if name.startswith("--")]
    left = _placeholder(action) if not action.option_strings else ", ".join([*short, *long]) if short else f"    {long[0]}"
    if action.option_strings and action.nargs != 0:
        left += f" {action.metavar or action.dest.upper()}"
    words = action.help or ""
    if action.choices and action.option_strings:
        words += f": {', '.join(map(str, action.choices))}"
    has_default = isinstance(action.default, str) and action.default not in ("", "default", argparse.SUPPRESS)
    return left, f"{words} (default {action.default})" if has_default and action.option_strings else words


def _wrapped(text: str, columns: int) -> str:
    from textwrap import fill

    return fill(text, columns, break_long_words=False, break_on_hyphens=False)


def parse(name: str, command: "ModuleType", arguments: list[str], settings: "Settings") -> argparse.Namespace:
    """The namespace of a command's arguments, defaults applied."""
    parser = Parser(prog=f"chandlery {name}", description=command.SUMMARY, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_arguments(parser)
    booleans = {option for action in parser._actions if isinstance(action, argparse._StoreTrueAction) for option in action.option_strings}
    given = [*_defaults(name, parser, settings), *arguments]
    given, rest = _split_command(given, parser)
    known, unknown = parser.parse_known_args(_booleans(given, booleans) + rest)
    if unknown:
        raise _unknown_flag(unknown[0], parser)
    return known


def _split_command(arguments: list[str], parser: Parser) -> tuple[list[str], list[str]]:
    """What is for us, and, where a command of somebody else's follows (chandlery run), that: nothing in it is a flag of ours."""
    if not any(action.nargs == argparse.REMAINDER for action in parser._actions):
        return arguments, []
    valued = {option for action in parser._actions if action.nargs is None for option in action.option_strings}
    at = 0
    while at < len(arguments) and arguments[at].startswith("-") and arguments[at] != "--":
        at += 2 if arguments[at] in valued else 1
    return arguments[:at], arguments[at:]


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

"""Argument parsing as a user of docker's command line expects it.

Booleans take `--push`, `--push=true` and `--push=false`; values stand behind `=`, a space, or directly behind a short flag, and short booleans can be joined
(-it). Defaults come from the configuration's table of the command and from CHANDLERY_<FLAG>, put in front of what was typed, so that a flag on the command
line wins and repeatable flags add up. What can't be parsed is a RequestError, and an unknown flag names the nearest known one.

This is argparse's work, and not argparse, because that takes a sixth of a fully cached build's time for translations and formatters that it may need later.
"""

from chandlery.cli.options import FLAG, MANY, REQUIRED, REST, SOME, Parser
from chandlery.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from typing import Any, NoReturn

    from chandlery.config import Settings

_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")


class Arguments:
    """What was given, an attribute for each option and word."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> "Any": ...


def parse(name: str, command: "ModuleType", arguments: list[str], settings: "Settings") -> Arguments:
    """A command's arguments, defaults applied. Raises RequestError (request.usage, request.unknown-flag, config.unknown-key); SystemExit for --help."""
    parser = Parser(f"chandlery {name}", command.SUMMARY)
    command.add_arguments(parser)
    reader = _Reader(parser)
    reader.read(_defaults(name, parser, settings))
    reader.read(arguments)
    return reader.finish()


class _Reader:
    """Fills in the arguments of one command line, argument by argument."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._options = {name: option for option in parser.options for name in option.names}
        self._words: list[str] = []
        self._given: dict[str, Any] = {
            option.dest: [] if option.kind == MANY else False if option.kind == FLAG else option.default for option in parser.options
        }
        # where a command of somebody else's follows, nothing behind our words is a flag of ours
        self._own_words = next((at for at, word in enumerate(parser.words) if word.kind == REST), None)

    def read(self, arguments: list[str]) -> None:
        pending = iter(arguments)
        for argument in pending:
            if self._own_words is not None and len(self._words) >= self._own_words:
                self._words += [argument, *pending]
            elif argument == "--":
                self._words += pending
            elif argument.startswith("--"):
                name, equals, text = argument.partition("=")
                self._take(name, text if equals else None, pending)
            elif argument.startswith("-") and argument != "-":
                self._short(argument, pending)
            else:
                self._words.append(argument)

    def finish(self) -> Arguments:
        left = self._words
        for at, word in enumerate(self._parser.words):
            is_list = word.kind in (SOME, REST)
            if not left and word.kind in (REQUIRED, SOME):
                missing = " ".join(other.metavar for other in self._parser.words[at:] if other.kind in (REQUIRED, SOME))
                raise self._wrong(f"{missing} is missing")
            if left and word.choices and left[0] not in word.choices:
                raise self._wrong(f"{word.metavar} can't be {left[0]!r}: choose from {', '.join(word.choices)}")
            self._given[word.dest] = left if is_list else left[0] if left else word.default
            left = [] if is_list else left[1:]
        if left:
            raise RequestError(f"unexpected argument {left[0]!r}", code="request.usage", hint=f"'{self._parser.prog} --help' shows what it takes")
        arguments = Arguments()
        arguments.__dict__.update(self._given)
        return arguments

    def _short(self, argument: str, pending: "Iterator[str]") -> None:
        """-f VALUE, -fVALUE, -f=VALUE, or booleans in a row of which the last may have a value: -it, -qf FILE."""
        at = 1
        while at < len(argument):
            name, rest = "-" + argument[at], argument[at + 1 :]
            option = self._options.get(name)
            if option is None or option.kind != FLAG or rest.startswith("="):
                self._take(name if option or at > 1 or name == "-h" else argument.partition("=")[0], rest.removeprefix("=") if rest else None, pending)
                return
            self._given[option.dest] = True
            at += 1

    def _take(self, name: str, text: str | None, pending: "Iterator[str]") -> None:
        option = self._options.get(name)
        if option is None:
            if name in ("-h", "--help"):
                self._help()
            hint = nearest(name, list(self._options)) or f"'{self._parser.prog} --help' lists the options"
            raise RequestError(f"unknown flag {name}", code="request.unknown-flag", hint=hint)
        if option.kind == FLAG:
            self._given[option.dest] = text if text is not None and text in option.choices else text is None or self._is_true(name, text)
            return
        if text is None:
            text = next(pending, None)
        if text is None:
            raise self._wrong(f"{name} needs a value")
        if option.choices and text not in option.choices:
            raise self._wrong(f"{name} can't be {text!r}: choose from {', '.join(option.choices)}")
        if option.kind == MANY:
            self._given[option.dest].append(text)
        else:
            self._given[option.dest] = text

    def _is_true(self, name: str, text: str) -> bool:
        if text.lower() not in _TRUE + _FALSE:
            raise RequestError(f"{name} takes true or false, not {text!r}", code="request.usage", hint=f"write {name} or {name}=false")
        return text.lower() in _TRUE

    def _help(self) -> "NoReturn":
        from shutil import get_terminal_size

        from chandlery.cli.help_text import help_text

        print(help_text(self._parser, max(60, get_terminal_size((120, 24)).columns)))
        raise SystemExit(0)

    def _wrong(self, message: str) -> RequestError:
        return RequestError(message, code="request.usage", hint=f"'{self._parser.prog} --help' lists the options")


def _defaults(name: str, parser: Parser, settings: "Settings") -> list[str]:
    """Arguments from the configuration's table of the command, then from the environment."""
    flags = [flag[2:] for option in parser.options for flag in option.names if flag.startswith("--")]
    out: list[str] = []
    for key, text in settings.defaults(name):
        if key not in flags:
            raise RequestError(
                f"the configuration sets {key!r} for 'chandlery {name}', which has no such option", code="config.unknown-key", hint=nearest(key, flags)
            )
        out.append(f"--{key}={text}")
    environment = settings.environment
    for flag in flags:
        text = environment.get("CHANDLERY_" + flag.replace("-", "_").upper(), "")
        out.extend(f"--{flag}={line}" for line in text.split("\n") if line)
    return out


def nearest(word: str, known: list[str]) -> str:
    """ "did you mean X?", or "" where nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1, 0.6)
    return f"did you mean {near[0]}?" if near else ""

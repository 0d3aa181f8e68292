"""Command lines as docker's users type them."""

from types import ModuleType

import pytest

from chandlery.cli import build, run
from chandlery.cli.arguments import Arguments, parse
from chandlery.config import Settings
from chandlery.errors import RequestError


def _parse(command: ModuleType, *arguments: str, environment: dict[str, str] | None = None, defaults: tuple[tuple[str, str], ...] = ()) -> Arguments:
    name = command.__name__.rsplit(".", 1)[1]
    return parse(name, command, list(arguments), Settings(environment or {}, "/nowhere", commands=((name, defaults),)))


@pytest.mark.parametrize("given", [("-t", "a", "."), ("-ta", "."), ("-t=a", "."), ("--tag", "a", "."), ("--tag=a", "."), (".", "--tag=a"), ("-qt", "a", ".")])
def test_a_value_may_be_given_in_every_way(given: tuple[str, ...]) -> None:
    arguments = _parse(build, *given)
    assert arguments.tag == ["a"]
    assert arguments.context == "."


@pytest.mark.parametrize(
    ("given", "expected"), [(["--push"], True), (["--push=true"], True), (["--push", "--push=false"], False), (["--push=false", "--push"], True), ([], False)]
)
def test_booleans_take_a_value_after_an_equals_sign_and_the_last_one_counts(given: list[str], expected: bool) -> None:
    assert _parse(build, *given, ".").push is expected


def test_a_value_may_look_like_a_flag_or_be_empty() -> None:
    arguments = _parse(build, "--build-arg", "--x=-y", "--target=", "-f", "-", "-")
    assert (arguments.build_arg, arguments.target, arguments.file, arguments.context) == (["--x=-y"], "", "-", "-")


def test_nothing_behind_two_dashes_is_a_flag() -> None:
    assert _parse(build, "-q", "--", "-strange-directory").context == "-strange-directory"


def test_what_stands_behind_an_image_is_its_commands() -> None:
    arguments = _parse(run, "-it", "-e", "A=1", "debian", "ls", "-e", "--rm", "--")
    assert (arguments.interactive, arguments.tty, arguments.env) == (True, True, ["A=1"])
    assert (arguments.image, arguments.command) == ("debian", ["ls", "-e", "--rm", "--"])


def test_a_flag_wins_over_the_environment_and_that_over_the_configuration() -> None:
    environment, defaults = {"CHANDLERY_PROGRESS": "plain", "CHANDLERY_LABEL": "b=2\nc=3"}, (("progress", "tty"), ("label", "a=1"), ("no-cache", "true"))
    arguments = _parse(build, "--label", "d=4", ".", environment=environment, defaults=defaults)
    assert (arguments.progress, arguments.no_cache, arguments.label) == ("plain", True, ["a=1", "b=2", "c=3", "d=4"])
    assert _parse(build, "--no-cache=false", "--progress=quiet", ".", environment=environment, defaults=defaults).progress == "quiet"


def test_a_boolean_flag_may_know_words_of_its_own() -> None:
    assert _parse(build, "--no-cache=steps", ".").no_cache == "steps"
    assert _parse(build, "--no-cache", "steps").context == "steps"
    with pytest.raises(RequestError):
        _parse(build, "--no-cache=volumes", ".")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["--tga", "x", "."], "request.unknown-flag"),
        (["-Z", "."], "request.unknown-flag"),
        (["-qZ", "."], "request.unknown-flag"),
        (["--tag"], "request.usage"),
        ([".", "-t"], "request.usage"),
        (["a", "b"], "request.usage"),
        (["--push=maybe", "."], "request.usage"),
    ],
)
def test_what_cannot_be_understood_is_refused(given: list[str], code: str) -> None:
    with pytest.raises(RequestError) as raised:
        _parse(build, *given)
    assert raised.value.code == code


def test_the_nearest_flag_is_named() -> None:
    with pytest.raises(RequestError) as raised:
        _parse(build, "--no-cahce", ".")
    assert "--no-cache" in raised.value.hint


def test_help_names_every_option_that_has_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parse(build, "--help")
    shown = capsys.readouterr().out
    assert "  -t, --tag NAME[:TAG]" in shown
    assert "      --no-cache " in shown
    assert "  -h, --help" in shown
    assert "--squash " not in shown.partition("Not supported")[0]

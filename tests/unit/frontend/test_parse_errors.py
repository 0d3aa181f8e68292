"""What a Dockerfile's author gets wrong: one code each, at its line and column, with the line shown."""

import pytest

from chandlery.errors import DockerfileError
from chandlery.frontend.dockerfile.parse import parse


def refused(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert caught.value.where
    return caught.value


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("FOO x", "unknown-instruction"), ("RUNN x", "unknown-instruction"), ("RUN --foo x", "unknown-flag"), ("RUN --mount x", "flag"),
        ("RUN --network=a --network=b x", "flag"), ("RUN --network=foo x", "network"), ("RUN --security=foo x", "security"),
        ("RUN [1]", "json"),
        ("RUN [\"a\", null]", "json"), ("RUN --mount=from=$x,target=/y z", "variable-in-from"), ("RUN --mount= x", "bad-mount"),
        ("RUN --mount=a\\\"b x", "bad-mount"),
        ("COPY a", "syntax"), ("COPY", "syntax"), ('COPY ["a"]', "syntax"), ("COPY --link=x a b", "flag"), ("COPY --link= a b", "flag"),
        ("COPY --chown a b", "flag"),
        ("COPY --checksum=x a b", "unknown-flag"), ("ADD --from=x a b", "unknown-flag"), ("COPY a <<E\nx\nE", "heredoc"),
        ("RUN <<E\nx", "heredoc"),
        ("ENV", "syntax"), ("ENV a", "syntax"), ("ENV =b", "syntax"), ("ENV a=b c", "syntax"), ("LABEL a", "syntax"),
        ("ENV --x a=b", "unknown-flag"),
        ("ARG", "syntax"), ("ARG =x", "syntax"), ("EXPOSE", "syntax"), ("USER", "syntax"), ("WORKDIR", "syntax"), ("STOPSIGNAL", "syntax"),
        ("MAINTAINER", "syntax"),
        ("VOLUME", "syntax"), ('VOLUME [""]', "syntax"), ("VOLUME []", "syntax"), ("SHELL sh -c", "json"), ("SHELL []", "syntax"),
        ("SHELL", "syntax"),
        ("HEALTHCHECK", "syntax"), ("HEALTHCHECK NONE x", "syntax"), ("HEALTHCHECK CMD", "syntax"), ("HEALTHCHECK FOO x", "syntax"),
        ("HEALTHCHECK --interval=5 CMD x", "duration"), ("HEALTHCHECK --interval=1us CMD x", "duration"),
        ("HEALTHCHECK --interval=-5s CMD x", "duration"),
        ("HEALTHCHECK --retries=-1 CMD x", "syntax"), ("HEALTHCHECK --retries=a CMD x", "syntax"),
        ("HEALTHCHECK --foo=1 CMD x", "unknown-flag"),
        ("ONBUILD", "syntax"), ("ONBUILD FROM x", "onbuild"), ("ONBUILD MAINTAINER x", "onbuild"), ("ONBUILD onbuild RUN x", "onbuild"),
        ("ONBUILD ENV x", "syntax"),
        ("FROM", "syntax"), ("FROM a b", "syntax"), ("FROM a as b c", "syntax"), ("FROM a AS 1b", "stage-name"),
        ("FROM --foo=x a", "unknown-flag"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_refused_by_code_and_place(line: str, code: str) -> None:
    error = refused(f"FROM x\n{line}\n")
    assert error.code == f"dockerfile.{code}"
    assert error.where.startswith("Dockerfile:2:")
    assert f"2 | {line.splitlines()[0]}" in error.excerpt


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("RUN x\nFROM a\n", "no-stage"), ("ARG A\n", "no-stage"), ("ENV a=b\nFROM x\n", "no-stage"),
        ("# check=foo=1\nFROM a\n", "directive"),
        ("# check=skip\nFROM a\n", "directive"), ("# check=skip=all;error=perhaps\nFROM a\n", "directive"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused(text: str, code: str) -> None:
    assert refused(text).code == f"dockerfile.{code}"


@pytest.mark.parametrize("check", ["skip=all", "skip=A, B;error=true", "experimental=all;error=0"])
def test_a_good_check_directive_is_accepted(check: str) -> None:
    assert parse(f"# check={check.replace(' ', '')}\nFROM a\n").check


def test_the_excerpt_marks_the_word() -> None:
    error = refused("FROM x\n  RUN --netwrok=none \\\n    true\n")
    assert error.where == "Dockerfile:2:7"
    assert error.excerpt.splitlines() == ["  |", "2 |   RUN --netwrok=none \\", "  |       ^^^^^^^^^"]
    assert "network" in error.hint


def test_a_word_on_a_later_line_is_found() -> None:
    assert refused("FROM x\nRUN --mount=type=cache,target=/x \\\n  --nope=1 a\n").where == "Dockerfile:3:3"


def test_the_nearest_instruction_is_suggested() -> None:
    assert "COPY" in refused("FROM x\nCOPPY a b\n").hint


def test_a_variable_in_from_shows_the_way_out() -> None:
    assert "FROM ${X} AS cache" in refused("FROM x\nRUN --mount=from=${X},target=/y z\n").hint


def test_syntax_errors_come_before_errors_of_instructions() -> None:
    assert refused("FROM x\nFOO\nENV a\n").where.startswith("Dockerfile:3:")


def test_the_first_error_of_the_file_is_the_one_shown() -> None:
    assert refused("FROM x\nENV a\nRUN <<E\nx\n").where.startswith("Dockerfile:2:")

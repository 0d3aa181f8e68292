"""Logical lines: directives, continuations, comments, heredocs."""

import pytest

from chandlery.errors import DockerfileError
from chandlery.frontend.dockerfile.lines import read


def texts(source: str) -> list[str]:
    return [line.text for line in read(source, "Dockerfile").lines]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("FROM a\nRUN b\n", ["FROM a", "RUN b"]), ("FROM a", ["FROM a"]), ("\n\n  FROM a  \n", ["FROM a  "]), ("\tFROM a\n", ["FROM a"]),
        ("RUN a \\\n  b\n", ["RUN a   b"]), ("RUN a\\\nb\n", ["RUN ab"]), ("RUN a \\ \t\n b\n", ["RUN a  b"]),
        ("RUN a \\\\\n", ["RUN a \\\\"]),
        ("RUN a \\\n# c\n\n b\n", ["RUN a  b"]), ("RUN a \\\n  # c\n b\nX", ["RUN a  b", "X"]), ("RUN a \\\n", ["RUN a "]),
        ("RUN \\\n \\\n a\n", ["RUN   a"]),
        ("\\\nFROM a\n", ["FROM a"]), ("RUN a # b\n", ["RUN a # b"]), ("# c\nFROM a\n#d\n", ["FROM a"]), ("\ufeffFROM a\n", ["FROM a"]),
        ("FROM a\r\nRUN b \\\r\n c\r\n", ["FROM a", "RUN b  c"]), ("\xa0FROM a\n", ["FROM a"]), ("RUN a \\ b\n", ["RUN a \\ b"]),
    ],
)  # fmt: skip
def test_lines_are_joined(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


@pytest.mark.parametrize(
    ("head", "escape"),
    [
        ("# escape=`\n", "`"), ("#escape=`\n", "`"), ("  #  EsCaPe  =  `  \n", "`"), ("\ufeff# escape=`\n", "`"), ("# escape=\\\n", "\\"),
        ("\n# escape=`\n", "\\"), ("# c\n# escape=`\n", "\\"), ("# other=x\n# escape=`\n", "\\"), ("# syntax=x\n# escape=`\n", "`"),
        ("#!/usr/bin/env x\n# escape=`\n", "\\"), ("FROM a\n# escape=`\n", "\\"), ("# escape =\n", "\\"),
    ],
)  # fmt: skip
def test_the_escape_directive_counts_only_at_the_top(head: str, escape: str) -> None:
    assert read(head + "FROM a\n", "Dockerfile").escape == escape


def test_a_backtick_continues_lines_where_it_is_the_escape() -> None:
    assert texts("# escape=`\nRUN a `\n b\\\nRUN c\n") == ["RUN a  b\\", "RUN c"]


def test_syntax_and_check_directives_are_kept() -> None:
    lines = read("# syntax=docker/dockerfile:1\n# check=skip=all\nFROM a\n", "Dockerfile")
    assert (lines.syntax, lines.check) == ("docker/dockerfile:1", "skip=all")


def test_a_syntax_directive_may_follow_a_shebang() -> None:
    assert read("#!/x\n# syntax=y\nFROM a\n", "Dockerfile").syntax == "y"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("", "dockerfile.empty"), ("\n # c\n", "dockerfile.empty"), ("# escape=x\nFROM a\n", "dockerfile.directive"),
        ("# escape=`\n# escape=`\nFROM a\n", "dockerfile.directive"), ("# syntax=a\n# syntax=b\nFROM a\n", "dockerfile.directive"),
        ("FROM a\nRUN " + "x" * 65536 + "\n", "dockerfile.syntax"), ("FROM a\nRUN <<E\nx\n", "dockerfile.heredoc"),
        ("RUN <<E\n E\n", "dockerfile.heredoc"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused(source: str, code: str) -> None:
    with pytest.raises(DockerfileError) as refused:
        read(source, "Dockerfile")
    assert refused.value.code == code
    assert refused.value.where.startswith("Dockerfile:")


@pytest.mark.parametrize(("length", "is_refused"), [(65531, False), (65532, True)])
def test_a_line_may_have_65536_bytes_with_its_end(length: int, is_refused: bool) -> None:
    source = "FROM a\nRUN " + "x" * length
    assert len(read(source + "\n" if length < 65532 else source[:-1], "Dockerfile").lines) == 2
    if is_refused:
        with pytest.raises(DockerfileError):
            read(source, "Dockerfile")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("RUN <<EOF\na\n  b\nEOF\n", [("EOF", "a\n  b\n", True)]), ("COPY <<'E' /x\n$a\nE\n", [("E", "$a\n", False)]),
        ("RUN <<-E\n\ta\n\tE\n", [("E", "\ta\n", True)]), ("RUN a <<A <<-\"B\"\n1\nA\n2\nB\n", [("A", "1\n", True), ("B", "2\n", False)]),
        ("RUN << EOF\na\nEOF\n", [("EOF", "a\n", True)]), ("RUN 3<<EOF\nEOF\n", [("EOF", "", True)]),
        ("ADD <<E x\r\na\r\nE\r\n", [("E", "a\r\n", True)]),
        ("ONBUILD RUN <<E\na\nE\n", [("E", "a\n", True)]), ("RUN <<\"A B\"\nx\nA B\n", [("A B", "x\n", False)]),
        ("RUN x\\\n <<E\na\\\nE\n", [("E", "a\\\n", True)]),
        ("RUN echo '<<E'\n", []), ("RUN [\"<<E\"]\n", []), ("RUN a <<<E\n", []), ("CMD <<E\n", []), ("ENV a=<<E\n", []),
        ("RUN a << 'b\n", []),
    ],
)  # fmt: skip
def test_heredocs_are_taken_with_their_line(source: str, expected: list[tuple[str, str, bool]]) -> None:
    (line,) = read(source, "Dockerfile").lines
    assert [(heredoc.name, heredoc.content, heredoc.expands) for heredoc in line.heredocs] == expected


def test_a_chomping_heredoc_loses_leading_tabs_only() -> None:
    (line,) = read("COPY <<-E /x\n\t\ta\n\t b\n  c\n\tE\n", "Dockerfile").lines
    assert line.heredocs[0].chomped == "a\n b\n  c\n"


def test_an_empty_continuation_line_is_noted() -> None:
    first, second = read("RUN a \\\n\n b\nRUN c\n", "Dockerfile").lines
    assert (first.has_empty_continuation, second.has_empty_continuation) == (True, False)


def test_a_line_knows_where_it_stands() -> None:
    _, second = read("FROM a\n  RUN b \\\n  c\n", "D").lines
    assert (str(second.source), second.source.end_line) == ("D:2:3", 3)

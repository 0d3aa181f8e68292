"""Excerpts: what a message shows of the file, and what it suggests."""

import pickle

import pytest

from chandlery.errors import DockerfileError
from chandlery.frontend.dockerfile.excerpt import locate, nearest, render
from chandlery.frontend.dockerfile.parse import parse
from chandlery.graph.source_range import SourceRange

TEXT = "FROM a\n  RUN x \\\n\ty --z\n"


@pytest.mark.parametrize(
    ("token", "expected"), [("x", (2, 7, 8)), ("--z", (3, 4, 7)), ("a", (2, 3, 0)), ("", (2, 3, 0)), ("FROM", (2, 3, 0)), ("RUN", (2, 3, 6))]
)
def test_a_token_is_found_in_its_own_instruction_only(token: str, expected: tuple[int, int, int]) -> None:
    found = locate(TEXT, SourceRange("D", 2, 3, 3), token)
    assert (found.line, found.column, found.end_column) == expected


def test_one_line_is_marked_under_its_word() -> None:
    assert render(TEXT, SourceRange("D", 3, 4, 3, 7)).splitlines() == ["  |", "3 |  y --z", "  |    ^^^"]


def test_several_lines_are_marked_at_the_first() -> None:
    assert render(TEXT, SourceRange("D", 2, 3, 3)).splitlines() == ["  |", "2 |   RUN x \\", "  |   ^^^^^^^", "3 |  y --z"]


def test_long_excerpts_are_cut() -> None:
    text = "\n".join(f"line {number}" for number in range(1, 31))
    rows = render(text, SourceRange("D", 8, 1, 20)).splitlines()
    assert (rows[1], rows[-2], rows[-1]) == (" 8 | line 8", "13 | line 13", "   | ...")


def test_a_place_outside_the_file_shows_nothing() -> None:
    assert render("a", SourceRange("D", 5)) == ""


@pytest.mark.parametrize(
    ("wrong", "expected"), [("COPPY", "COPY"), ("coppy", "COPY"), ("ENTRYPIONT", "ENTRYPOINT"), ("ADDDD", "ADD"), ("ADDDDD", ""), ("COPY", ""), ("zzz", "")]
)
def test_nearest(wrong: str, expected: str) -> None:
    assert nearest(wrong, ("COPY", "ADD", "ENTRYPOINT")) == expected


def test_a_placed_error_pickles() -> None:
    with pytest.raises(DockerfileError) as refused:
        parse("FROM a\nFOO\n")
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (type(copy), copy.where, copy.excerpt, copy.code) == (DockerfileError, "Dockerfile:2:1", refused.value.excerpt, refused.value.code)

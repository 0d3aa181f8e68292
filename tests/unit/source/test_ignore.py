"""`.dockerignore` against the rules of the reference and the cases that moby/patternmatcher is known for."""

import pytest

from chandlery.errors import InputError
from chandlery.source.ignore import parse


@pytest.mark.parametrize(
    ("text", "excluded", "kept"),
    [
        ("", [], ["a", "a/b"]),
        ("# a comment\n\n  \n", [], ["# a comment", "a"]),
        (" # not a comment", ["# not a comment"], ["a"]),
        ("\ufeffa", ["a"], ["b"]),
        ("  a  ", ["a"], ["aa"]),
        ("/a/b/", ["a/b", "a/b/c"], ["a", "a/bc", "x/a/b"]),
        ("./a/../b", ["b"], ["a"]),
        ("*/temp*", ["somedir/temporary.txt", "somedir/temp"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temporary.txt"], ["a/temp", "a/b/c/temp"]),
        ("temp?", ["tempa", "tempb"], ["temp", "tempab", "temp/a"]),
        ("**/*.go", ["a.go", "x/a.go", "x/y/z/a.go"], ["a.goo", "a.g"]),
        ("**", ["a", "a/b"], []),
        ("**/foo", ["foo", "a/foo", "a/b/foo/c"], ["afoo", "foob"]),
        ("foo/**", ["foo/a", "foo/a/b"], ["foo", "food/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "ab"]),
        ("a/**/*.txt", ["a/1.txt", "a/b/c/1.txt"], ["b/1.txt", "a/txt"]),
        ("abc.def", ["abc.def"], ["abcdef", "abcZdef"]),
        ("a(b)c|d", ["a(b)c|d"], ["abc", "d"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[^a-c]x", ["dx"], ["ax"]),
        ("[!a]x", ["!x", "ax"], ["bx"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("[[]x", ["[x"], ["x"]),
        ("*.md\n!README.md", ["a.md"], ["README.md", "docs/a.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md", "README-x.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README.md", "README-secret.md"]),
        ("docs\n!docs/a", ["docs", "docs/b", "docs/ab"], ["docs/a", "docs/a/x"]),
        ("*\n!src/**", ["a", "lib/a"], ["src/a", "src/b/c"]),
        ("*\n!src\nsrc/*.o", ["a", "src/x.o"], ["src", "src/x.c"]),
        ("!a", [], ["a"]),
        ("! a", [], ["a"]),
        ("a\n!  /a/b", ["a/c"], ["a/b"]),
        ("dir\n!dir/**/*.txt", ["dir/a", "dir/x/a"], ["dir/a.txt", "dir/x/y/a.txt"]),
        ("..", [], ["a"]),
        (".", [], ["a"]),
        ("/", [], ["a"]),
        ("über/*", ["über/ä"], ["uber/a"]),
        ("a**b", ["ab", "a/x/b"], ["axb"]),
    ],
)
def test_a_path_is_excluded_as_the_reference_says(text: str, excluded: list[str], kept: list[str]) -> None:
    ignore = parse(text)
    assert [path for path in (*excluded, *kept) if ignore.excludes(path)] == excluded


def test_the_root_is_never_excluded() -> None:
    assert not parse("**\n*\n.").excludes("")


@pytest.mark.parametrize("text", ["!", "a\n!\n", "[a", "[]a]", "a[b-]", "x\\", "[z-a]"])
def test_a_malformed_pattern_names_its_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, file="x.dockerignore")
    assert caught.value.code == "ignore.malformed"
    assert f"x.dockerignore:{len(text.rstrip().splitlines())}:" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "directory", "is_possible"),
    [
        ("node_modules", "node_modules", False),
        ("node_modules\n!src", "node_modules", False),
        ("node_modules\n!node_modules/a", "node_modules", True),
        ("node_modules\n!node_modules", "node_modules", True),
        ("a\n!a/b/c", "a", True),
        ("a\n!a/b/c", "a/b", True),
        ("a\n!a/b/c", "a/x", False),
        ("!node_modules/a\nnode_modules", "node_modules", False),
        ("a\n!**/*.txt", "a", True),
        ("a\n!ab/c", "a", False),
        ("a\n!a/*", "a", True),
    ],
)
def test_an_excluded_directory_is_entered_only_if_something_may_come_back(text: str, directory: str, is_possible: bool) -> None:
    ignore = parse(text)
    state = ignore.root_state
    parts = directory.split("/")
    for depth in range(1, len(parts) + 1):
        _, state = ignore.step("/".join(parts[:depth]), state)
    assert ignore.may_reinclude_below(directory, state) is is_possible

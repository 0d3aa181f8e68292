"""Wildcards as Go's filepath.Match has them, a component at a time."""

import pytest

from chandlery.snapshot.globs import compile_component, has_wildcards


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        ("*", "abc", True), ("a*", "a", True), ("a*", "abc", True), ("*c", "abc", True), ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False), ("ab[c]", "abc", True), ("ab[b-d]", "abc", True), ("ab[e-g]", "abc", False), ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True), ("a\\*b", "a*b", True), ("a\\*b", "ab", False), ("a?b", "a☺b", True), ("a[^a]b", "a☺b", True), ("a???b", "a☺b", False),
        ("[a-ζ]*", "α", True), ("*[a-ζ]", "A", False), ("[\\]a]", "]", True), ("[\\-]", "-", True), ("[x\\-]", "-", True), ("[x\\-]", "z", False),
        ("[]a]", "]", False), ("[-]", "-", False), ("[x-]", "x", False), ("[-x]", "x", False), ("[", "a", False), ("[^bc", "a", False),
        ("a[", "a", False), ("*x", "xxx", True), ("**", "ab", True), ("a.b", "axb", False), ("arr[[]0].txt", "arr[0].txt", True), ("x\\", "x", False),
    ],
)  # fmt: skip
def test_a_component_matches_as_in_go(pattern: str, name: str, is_match: bool) -> None:
    assert bool(compile_component(pattern)(name)) is is_match


@pytest.mark.parametrize(
    ("component", "answer"), [("a", False), ("a*", True), ("?", True), ("[a", True), ("a\\*", False), ("a\\\\*", True), ("]", False), ("\\", False)]
)
def test_wildcards_are_seen_unless_quoted(component: str, answer: bool) -> None:
    assert has_wildcards(component) is answer

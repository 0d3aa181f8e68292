"""Durations, ports, paths inside an image and Go's texts: the small languages that instructions hold."""

import pytest

from chandlery.errors import DockerfileError
from chandlery.frontend.dockerfile.container_path import clean, copy_target, join, rooted, work_dir
from chandlery.frontend.dockerfile.duration import format_ns, parse_ns
from chandlery.frontend.dockerfile.expose import ports_of
from chandlery.frontend.dockerfile.go_text import plain_list, quoted, quoted_list


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("5s", 5 * 10**9), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), (".5s", 5 * 10**8), ("1.s", 10**9),
        ("2000µs", 2 * 10**6),
        ("2us", 2000),
        ("-1s", -(10**9)), ("+1s", 10**9), ("1h0.001s", 3600 * 10**9 + 10**6), ("", None), ("5", None), (".s", None), ("s", None),
        ("1d", None),
        ("1 s", None),
        ("3000000h", None), ("-", None), ("5s5", None),
    ],
)  # fmt: skip
def test_durations_are_read_as_go_reads_them(text: str, expected: int | None) -> None:
    assert parse_ns(text) == expected


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (0, "0s"), (1, "1ns"), (1500, "1.5µs"), (500 * 10**6, "500ms"), (1_000_001, "1.000001ms"), (10**9, "1s"), (1_500_000_000, "1.5s"),
        (90 * 10**9, "1m30s"),
        (3600 * 10**9, "1h0m0s"), (3601 * 10**9 + 1, "1h0m1.000000001s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_go_writes_them(nanoseconds: int, expected: str) -> None:
    assert format_ns(nanoseconds) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ["80/tcp"]), ("80/UDP", ["80/udp"]), ("80/", ["80/tcp"]), ("8000-8002/sctp", ["8000/sctp", "8001/sctp", "8002/sctp"]),
        ("5-5", ["5/tcp"]),
        ("9:10", ["10/tcp"]), (":80", ["80/tcp"]), ("1.2.3.4:5:6", ["6/tcp"]), ("[::1]:7:8", ["8/tcp"]), ("::1:5:6", ["6/tcp"]),
        ("1-3:4", ["4/tcp"]),
        ("1-2:3-4", ["3/tcp", "4/tcp"]), ("08080", ["8080/tcp"]), ("0", ["0/tcp"]),
    ],
)  # fmt: skip
def test_ports(text: str, expected: list[str]) -> None:
    assert ports_of(text) == expected


@pytest.mark.parametrize("text", ["a", "70000", "80/foo", "5-3", "/tcp", "1-3:4-7", "x:1:2", "80:", "1:2:3:4:5", "-1", "1-", "80/tcp/udp", ""])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(DockerfileError) as refused:
        ports_of(text)
    assert refused.value.code == "dockerfile.port"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("", "."), ("/", "/"), ("//a//b/", "/a/b"), ("a/./b/../c", "a/c"), ("../a", "../a"), ("/../a", "/a"), ("a/..", "."), ("a/../..", "..")],
)
def test_clean(path: str, expected: str) -> None:
    assert clean(path) == expected


@pytest.mark.parametrize(
    ("current", "path", "expected"),
    [("", "a", "/a"), ("/w", "a/../b", "/w/b"), ("/w", "/a/../b/", "/a/../b/"), ("/w", "", "/w"), ("", "", "/"), ("w", "a", "/w/a"), ("/w", ".", "/w")],
)
def test_work_dir_keeps_absolute_paths_as_written(current: str, path: str, expected: str) -> None:
    assert work_dir(current, path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("b", "/w/b"), ("b/", "/w/b/"), (".", "/w/"), ("./", "/w/"), ("", "/w/"), ("/x/../y/", "/y/"), ("/", "/"), ("x/.", "/w/x/"),
        ("..", "/"),
        ("../", "/"), ("/a//b", "/a/b"),
    ],
)  # fmt: skip
def test_copy_target_keeps_the_slash_of_a_directory(path: str, expected: str) -> None:
    assert copy_target("/w", path) == expected


def test_rooted_paths_cannot_climb_out() -> None:
    assert (rooted("../../x"), rooted("a/"), rooted("")) == ("/x", "/a", "/")
    assert (join("", ""), join("a", "", "/b")) == ("", "a/b")


def test_go_texts() -> None:
    assert quoted('a"\\\n\té\x00\x7f\u200b😀') == '"a\\"\\\\\\n\\té\\x00\\x7f\\u200b😀"'
    assert quoted("\udcff\U000e0001") == '"\\xff\\U000e0001"'
    assert (quoted_list(("a", "b c")), plain_list(("a", "b c"))) == ('["a" "b c"]', "[a b c]")

import pytest

from chandlery.cli.display.output_text import Lines, folded, harmless


def test_a_progress_bar_is_folded_to_its_last_state() -> None:
    assert folded(b"\r10%\r20%\r\r") == "20%"
    assert folded(b"windows line\r") == "windows line"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("tab\there", "tab    here"),
        ("a\x1b[2Jb\x1b[10;10Hc", "abc"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
        ("a\x1bPq#0\x1b\\b", "ab"),
        ("\x9b31mred", "31mred"),
        ("bell\x07\x08\x00", "bell"),
        ("\u202eevil", "evil"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("end\x1b", "end"),
    ],
)
def test_nothing_reaches_the_terminal_but_text(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_colours_stay_where_wanted_and_end_with_the_line() -> None:
    assert harmless("\x1b[1;31mred\x1b[2J", keeps_colour=True) == "\x1b[1;31mred\x1b[0m"


def test_nothing_passes_for_a_colour_that_was_none() -> None:
    assert harmless("\x1d[31mx\x1b[1mbold", keeps_colour=True) == "[31mx\x1b[1mbold\x1b[0m"


def test_a_line_without_end_comes_in_pieces() -> None:
    lines = Lines()

    pieces = [line for _ in range(40) for line in lines.feed(b"x" * 4096)]

    assert sum(map(len, pieces)) + len(lines.peek()) == 40 * 4096


def test_a_progress_bar_without_end_takes_no_memory() -> None:
    lines = Lines()

    for number in range(10_000):
        assert lines.feed(b"\r%d of many, many bytes" % number) == []

    assert lines.rest() == ["9999 of many, many bytes"]
    assert lines.rest() == []

import pytest

from chandlery.errors import RequestError
from chandlery.quantities import parse_duration, parse_size, parse_whole


@pytest.mark.parametrize(
    ("text", "expected"), [("512", 512), ("0", 0), ("64m", 64 << 20), ("1.5gb", 3 << 29), ("2GiB", 2 << 30), ("1k", 1024), ("3 MB", 3 << 20), ("7b", 7)]
)
def test_sizes(text, expected):
    assert parse_size(text, "--size") == expected


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "nan", "inf", "1e30", "1.2.3", "ten", "9999999t"])
def test_what_is_no_size(text):
    with pytest.raises(RequestError) as raised:
        parse_size(text, "--size")
    assert raised.value.code == "request.bad-size"


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("1h30m", 5400), ("7d", 604800), ("1.5h", 5400), (" 1H ", 3600)])
def test_durations(text, expected):
    assert parse_duration(text, "--keep") == expected


@pytest.mark.parametrize("text", ["", "5", "h", "1.2.3s", "²s", "-1h", "1h x", "1y"])
def test_what_is_no_duration(text):
    with pytest.raises(RequestError) as raised:
        parse_duration(text, "--keep")
    assert raised.value.code == "request.bad-duration"


def test_whole_numbers():
    assert parse_whole("-5", "--n") == -5
    with pytest.raises(RequestError) as raised:
        parse_whole("1.5", "--n")
    assert raised.value.code == "request.bad-number"

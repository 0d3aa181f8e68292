"""The filters of du and prune."""

import pytest

from chandlery.content.filters import parse_duration, parse_filters
from chandlery.content.usage import Kind, UsageRow
from chandlery.errors import RequestError
from chandlery.values import replace

ROW = UsageRow(Kind.STEP, "abcd", 10, 0.0, 0.0, False, True, "[build 2/4] RUN mvn package")


@pytest.mark.parametrize(
    "text",
    [
        "type=step", "kind==step", "type=regular", "type!=blob", "id=ab", "id=abcd", "id!=b", "id~=^a.*d$", "description=mvn", "description~=mvn +p",
        "shared", "shared=true", "private=false", "inuse=false", "inuse!=true",
    ],
)  # fmt: skip
def test_filters_that_match(text):
    assert parse_filters([text]).match(ROW)
    assert not parse_filters([text, "id=zzz"]).match(ROW)


@pytest.mark.parametrize("text", ["type=blob", "type=exec.cachemount", "id=bc", "description!=mvn", "private", "shared=false", "inuse", "id~=^x"])
def test_filters_that_do_not_match(text):
    assert not parse_filters([text]).match(ROW)


def test_buildkits_names_of_types():
    assert parse_filters(["type=exec.cachemount"]).match(replace(ROW, kind=Kind.VOLUME))
    assert parse_filters(["type=source.git.checkout"]).match(replace(ROW, kind=Kind.GIT))


def test_ages_are_kept_apart_and_the_longest_wins():
    filters = parse_filters(["until=1h", "unused-for=24h"])
    assert filters.unused_for_s == 86400
    assert filters.match(ROW)


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86400), ("1h30m", 5400), ("7d", 604800), ("1.5h", 5400), ("90", 90), ("500ms", 0.5)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["colour=red", "type=shoe", "until=soon", "until=", "inuse=maybe", "id~=(", "type~=s", "=x", "", "until!=24h", "mutable=true"])
def test_unknown_filters_are_refused(text):
    with pytest.raises(RequestError) as caught:
        parse_filters([text])
    assert caught.value.code == "request.bad-filter"

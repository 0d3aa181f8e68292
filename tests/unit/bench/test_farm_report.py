"""The farm's figures: intervals, paired differences from the floor, and the bars."""

import pytest
from bench.farm import options, report
from bench.farm.run import FLOOR, Built
from bench.farm.statistics import estimate

CHOSEN = options.read({"FARM_LINK": "1gbit"})


def built(strategy: str, commit: int, kind: str, seconds: float, **more: object) -> Built:
    values: dict[str, object] = {"bytes_moved": 1, "bytes_stored": 1, "layer_bytes": 125_000_000 if strategy != FLOOR else 0, "is_right": True} | more
    return Built("fresh", strategy, commit, kind, seconds, seconds + 1, **values)  # type: ignore[arg-type]


def test_an_interval_holds_the_median_and_narrows_with_more_values() -> None:
    few, many = estimate([1.0, 2.0, 9.0]), estimate([1.0, 2.0, 9.0] * 30)
    assert few.low <= few.median <= few.high
    assert many.high - many.low < few.high - few.low
    assert few.median == 2.0


def test_one_value_is_its_own_interval_and_is_shown_alone() -> None:
    assert estimate([3.0]) == (3.0, 3.0, 3.0, 1)
    assert estimate([3.0]).text() == "3.0"


def test_the_same_values_give_the_same_interval() -> None:
    values = [1.0, 4.0, 2.0, 8.0, 5.0]
    assert estimate(values) == estimate(values)


def test_seconds_above_the_floor_are_paired_by_commit_and_count_the_push() -> None:
    # floors of 5 and 50 s, a layer of 1 s at link speed: 2 s above each, however far apart the commits are
    runs = [built(FLOOR, 1, "edit", 5), built(FLOOR, 2, "edit", 50), built("ours", 1, "edit", 8), built("ours", 2, "edit", 53)]
    row = next(row for row in report.rows(runs, CHOSEN) if row.strategy == "ours")
    assert row.edit_above_s is not None
    assert row.edit_above_s.median == pytest.approx(2)
    assert row.published_above_s is not None
    assert row.published_above_s.median == pytest.approx(3)


def test_a_failed_build_counts_as_not_right_and_gives_no_seconds() -> None:
    runs = [built(FLOOR, 1, "edit", 5), built("ours", 1, "edit", 0, is_right=False, failure="it broke")]
    row = next(row for row in report.rows(runs, CHOSEN) if row.strategy == "ours")
    assert (row.edit_s, row.right, row.builds) == (None, 0, 1)


def test_the_bars_compare_with_the_best_peer_of_the_run() -> None:
    runs = [built(FLOOR, 1, "edit", 5), built("ours", 1, "edit", 7), built("bk-slow", 1, "edit", 26), built("bk-best", 1, "edit", 10)]
    assert report.bars(report.rows(runs, CHOSEN)) == ["fresh, edit: ours 1.0 s above the floor, the best peer (bk-best) 4.0 s: 0.25x (bar 0.35x)"]


def test_the_markdown_has_a_line_for_each_strategy_and_says_what_was_shaped() -> None:
    runs = [built(FLOOR, 1, "edit", 5), built("ours", 1, "edit", 7)]
    text = report.markdown(runs, CHOSEN, "Two cores.")
    assert "1gbit" in text
    assert [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| fresh")] == [FLOOR, "ours"]


@pytest.mark.parametrize("given", [{"FARM_STRATEGIES": "rubbish"}, {"FARM_SCHEDULES": "sometimes"}, {"FARM_COMMITS": "1"}])
def test_what_is_not_an_option_ends_with_a_sentence(given: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="FARM_"):
        options.read(given)


def test_rates_are_read_as_tc_spells_them() -> None:
    assert options.read({"FARM_LINK": "100mbit"}).link_bytes_s == 12.5e6

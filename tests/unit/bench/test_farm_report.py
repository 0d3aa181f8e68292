"""The farm's figures: intervals, paired differences from the floor, and the bars."""

from pathlib import Path

import pytest
from bench.farm import options, record, report
from bench.farm.history import Kind
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
    assert row.above_s is not None
    assert row.above_s.median == pytest.approx(2)
    assert row.published_above_s is not None
    assert row.published_above_s.median == pytest.approx(3)


def test_a_failed_build_counts_as_not_right_and_gives_no_seconds() -> None:
    runs = [built(FLOOR, 1, "edit", 5), built("ours", 1, "edit", 0, is_right=False, failure="it broke")]
    row = next(row for row in report.rows(runs, CHOSEN) if row.strategy == "ours")
    assert (row.rebuild_s, row.right, row.builds) == (None, 0, 1)


def test_a_commit_whose_floor_was_never_built_is_left_out() -> None:
    runs = [built(FLOOR, 1, "edit", 5), built("ours", 1, "edit", 8), built("ours", 2, "edit", 30)]
    (row,) = (row for row in report.rows(runs, CHOSEN) if row.strategy == "ours")
    assert (row.builds, row.above_s and row.above_s.median) == (1, pytest.approx(2))


def test_kinds_of_commits_have_rows_of_their_own() -> None:
    runs = [built(FLOOR, 1, "edit", 5), built(FLOOR, 2, "dependency", 5), built("ours", 1, "edit", 7), built("ours", 2, "dependency", 9)]
    found = {row.change: row.above_s for row in report.rows(runs, CHOSEN) if row.strategy == "ours"}
    assert {change: estimate.median for change, estimate in found.items() if estimate} == {Kind.EDIT: pytest.approx(1), Kind.DEPENDENCY: pytest.approx(3)}


def test_the_bars_compare_with_the_best_peer_of_the_run() -> None:
    runs = [built(FLOOR, 1, "edit", 5), built("ours", 1, "edit", 7), built("bk-slow", 1, "edit", 26), built("bk-best", 1, "edit", 10)]
    (said,) = report.bars(report.rows(runs, CHOSEN), CHOSEN.link_bytes_s)
    assert "ours 1.0 s above the floor" in said
    assert said.endswith("the best peer (bk-best) 4.0 s: 0.25x (bar 0.35x)")


def test_machines_that_lack_something_are_no_pair_of_those_that_have_the_cache() -> None:
    runs = [built(FLOOR, number, "edit", 5)._replace(schedule="random") for number in (1, 2, 3)]
    runs += [built("ours", number, "edit", 6.25 + 3 * (number == 3), has_cache=number < 3)._replace(schedule="random") for number in (1, 2, 3)]
    (said,) = report.bars(report.rows(runs, CHOSEN), CHOSEN.link_bytes_s)
    assert "0.25 (0.25..0.25) s above the floor with the push, 2 pairs" in said


def test_the_markdown_has_a_line_for_each_strategy_and_says_what_was_shaped() -> None:
    runs = [built(FLOOR, 1, "edit", 5), built("ours", 1, "edit", 7)]
    text = report.markdown(runs, CHOSEN, "Two cores.")
    assert "1gbit" in text
    assert "## Fresh machine: one Java line edited" in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 3


def test_recorded_runs_are_shown_together_each_against_its_own_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    files = []
    for seconds in (5, 50):
        path = record.save([built(FLOOR, 1, "edit", seconds), built("ours", 1, "edit", seconds + 3)], CHOSEN._replace(link="1gbit"))
        files.append(path.rename(path.with_name(f"{seconds}.json")))
    runs, chosen = record.load(options.read({"FARM_RESULTS": " ".join(map(str, files)), "FARM_LINK": "10mbit"}))
    row = next(row for row in report.rows(runs, chosen) if row.strategy == "ours")
    assert (row.builds, chosen.link) == (2, "1gbit")
    assert row.above_s is not None
    assert (row.above_s.low, row.above_s.high) == (pytest.approx(2), pytest.approx(2))


def test_runs_on_different_links_are_not_shown_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    files = []
    for link in ("1gbit", "100mbit"):
        path = record.save([built(FLOOR, 1, "edit", 5)], CHOSEN._replace(link=link))
        files.append(path.rename(path.with_name(f"{link}.json")))
    with pytest.raises(SystemExit, match="different links"):
        record.load(CHOSEN._replace(results=tuple(map(str, files))))


@pytest.mark.parametrize(
    "given",
    [
        {"FARM_STRATEGIES": "rubbish"},
        {"FARM_SCHEDULES": "sometimes"},
        {"FARM_COMMITS": "1"},
        {"FARM_KINDS": "rubbish:2"},
        {"FARM_KINDS": "edit:x"},
        {"FARM_KINDS": "module:2"},
    ],
)
def test_what_is_not_an_option_ends_with_a_sentence(given: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="FARM_"):
        options.read(given)


def test_rates_are_read_as_tc_spells_them() -> None:
    assert options.read({"FARM_LINK": "100mbit"}).link_bytes_s == 12.5e6

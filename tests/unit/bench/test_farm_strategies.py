"""The farm's ways: every strategy of the examples takes part, and what can't says why."""

import pytest
from bench.farm import options, scripts, share, strategies
from bench.farm.builders import Chandlery


def test_every_strategy_of_the_examples_is_a_way() -> None:
    examples = {path.parent.name for path in scripts.EXAMPLES.glob("*/run")}
    assert {kind.directory for kind in scripts.OURS} == examples


def test_names_are_unique_and_all_of_them_can_be_asked_for() -> None:
    names = strategies.known()
    assert len(names) == len(set(names))
    assert options.read({"FARM_STRATEGIES": "all"}).strategies == tuple(names)


def test_ways_whose_builder_or_tool_is_missing_are_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "lacks", lambda: "sshfs")
    made, left_out = strategies.make(["ours", "tar", "bk-copy"], {"chandlery": Chandlery()})
    assert [strategy.name for strategy in made] == ["ours"]
    assert [("(4) tar" in said or "BuildKit" in said, "not installed" in said) for said in left_out] == [(True, True)] * 2
    assert "sshfs" in left_out[0]

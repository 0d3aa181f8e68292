"""The farm's ways: every strategy of the examples takes part, and what can't says why."""

import pytest
from bench.farm import options, scripts, share, strategies
from bench.farm.builders import Buildkit, Chandlery, Docker


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
    assert all("not installed" in said for said in left_out)
    assert "sshfs" in left_out[0]


def test_docker_s_ways_stand_in_for_those_of_a_newer_builder_that_is_not_there() -> None:
    made, left_out = strategies.make(["bk-copy"], {"docker": Docker()})
    assert [strategy.name for strategy in made] == ["docker-copy"]
    assert len(left_out) == 1
    made, left_out = strategies.make(["bk-copy"], {"docker": Docker(), "buildkit": Buildkit()})
    assert ([strategy.name for strategy in made], left_out) == (["bk-copy"], [])
